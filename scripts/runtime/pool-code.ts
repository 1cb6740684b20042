import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { IS_PACKAGE } from "../../worker-agent/cli/shared/is-package.ts";
import type { PoolConfig } from "./pool-config.ts";

/** The pool's Worker as one module, and how it runs. */
export interface PoolCode extends Pick<PoolConfig, "vars" | "worker" | "crons" | "migrationsDir"> {
  readonly script: string;
}

const fromHere = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** The folder of the ready-made Worker, which `npm run build` writes. Only a package has it. */
const READY_MADE = fromHere("pool");

export interface PoolSources {
  /** By default the repository's wrangler.toml. */
  configPath?: string | undefined;
  main?: string | undefined;
}

/**
 * Loads the pool's Worker. A package contains it ready-made, so that an operator installs neither wrangler nor esbuild,
 * and runs the Worker that was tested. A clone makes it from its sources.
 */
export async function loadPoolCode({ configPath, main }: PoolSources): Promise<PoolCode> {
  if (IS_PACKAGE && configPath === undefined && main === undefined) {
    const settings = JSON.parse(readFileSync(join(READY_MADE, "settings.json"), "utf8")) as Omit<
      PoolCode,
      "script" | "migrationsDir"
    >;
    const script = readFileSync(join(READY_MADE, "worker.js"), "utf8");
    return { ...settings, script, migrationsDir: fromHere("schema/db/migrations") };
  }
  const { poolFromSources } = await import("./pool-sources.ts");
  return poolFromSources(configPath ?? fromHere("wrangler.toml"), main);
}
