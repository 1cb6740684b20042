import { availableParallelism } from "node:os";
import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

/** Keys of nobody: the pool under test inside workerd. */
const TEST_SECRETS = {
  POOL_SECRET_KEY: Buffer.from(Uint8Array.from({ length: 32 }, (_, i) => i + 1)).toString("base64"),
  ADMIN_TOKEN: "test-admin-token",
  METRICS_TOKEN: "test-metrics-token",
};

/** For machines with other work to do: what a test waits for is an event, and only a test that fails waits this long. */
const PATIENCE = { testTimeout: 300_000, hookTimeout: 300_000 };

export default defineConfig({
  test: {
    // The summary is read by people and by CI alike.
    reporters: ["default"],
    globalSetup: ["test/run-folder.ts"],
    // Files of all projects run beside one another. Many wait for processes and sockets: one more than there are cores.
    maxWorkers: availableParallelism() + 1,
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: ["test/nothing-left.ts"],
          // Pure functions, for the most part: a process of its own costs a file more than its tests.
          isolate: false,
          environment: "node",
          ...PATIENCE,
        },
      },
      {
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: { ...TEST_SECRETS, TEST_MIGRATIONS: await readD1Migrations("schema/db/migrations") },
            },
          })),
        ],
        test: {
          name: "edge",
          include: ["test/edge/**/*.test.ts"],
          setupFiles: ["test/edge/apply-migrations.ts"],
          ...PATIENCE,
          deps: { optimizer: { ssr: { enabled: true, include: ["itty-durable"] } } },
        },
      },
      {
        test: {
          name: "agent",
          include: ["test/agent/**/*.test.ts"],
          setupFiles: ["test/nothing-left.ts"],
          environment: "node",
          ...PATIENCE,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          setupFiles: ["test/nothing-left.ts"],
          environment: "node",
          ...PATIENCE,
        },
      },
    ],
  },
});
