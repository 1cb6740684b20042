import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import type { V4WorkerOptions } from "miniflare";
import * as z from "zod";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { CACHE_FOLDER, readCached } from "./cache-folder.ts";
import { writePrivateFile } from "./private-files.ts";

/** Miniflare's version 4 options for the Worker, without sources, variables and name. */
export type WorkerBindings = Pick<
  V4WorkerOptions,
  "compatibilityDate" | "compatibilityFlags" | "d1Databases" | "durableObjects"
>;

export interface PoolConfig {
  /** Absolute path of the Worker's entry file. */
  main: string;
  define: Record<string, string>;
  vars: Record<string, unknown>;
  worker: WorkerBindings;
  /** Absolute path of the migrations of the D1 database bound as `DB`. */
  migrationsDir: string;
  /** The cron triggers of the Worker. */
  crons: readonly Cron[];
}

export interface Cron {
  /** The expression in wrangler.toml. */
  cron: string;
  everyMs: number;
}

/** The parts of wrangler.toml that the runner uses, as wrangler parses them. */
const wranglerConfig = z.object({
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  define: z.record(z.string(), z.string()),
  vars: z.record(z.string(), z.json()),
  d1_databases: z.array(z.object({ binding: z.string(), migrations_dir: z.string().optional() })),
  triggers: z.object({ crons: z.array(z.string()).default([]) }),
  durable_objects: z.object({ bindings: z.array(z.object({ name: z.string(), class_name: z.string() })) }),
});

/** Bindings that the runner does not support. A Worker would fail when it first uses one. */
const UNSUPPORTED = ["ai", "hyperdrive", "kv_namespaces", "r2_buckets", "services", "vectorize", "workflows"] as const;

/**
 * Reads the Worker's configuration from wrangler.toml. The Worker's name and the database's id do not decide where this
 * machine stores its state. So nothing is lost when the Worker is renamed.
 */
export async function readPoolConfig(configPath: string): Promise<PoolConfig> {
  const raw = await readWranglerConfig(configPath);
  const unsupported = UNSUPPORTED.filter((kind) =>
    Array.isArray(raw[kind]) ? raw[kind].length > 0 : raw[kind] !== undefined,
  );
  if (unsupported.length > 0)
    throw new OperatorError(
      `${configPath}: the pool on one machine does not support ${unsupported.join(", ")} yet. Remove these bindings.`,
    );
  const config = wranglerConfig.parse(raw);
  const migrations = config.d1_databases.find((database) => database.binding === "DB")?.migrations_dir;
  if (migrations === undefined)
    throw new OperatorError(`${configPath} has no D1 database with the binding DB and a migrations_dir. Add one.`);
  return {
    main: config.main,
    define: config.define,
    vars: config.vars,
    worker: {
      compatibilityDate: config.compatibility_date,
      compatibilityFlags: config.compatibility_flags,
      d1Databases: Object.fromEntries(config.d1_databases.map(({ binding }) => [binding, `ligand-${binding}`])),
      durableObjects: Object.fromEntries(
        config.durable_objects.bindings.map(({ name, class_name: className }) => [
          name,
          { className, useSQLite: true, unsafeUniqueKey: `ligand-${className}` },
        ]),
      ),
    },
    migrationsDir: resolve(dirname(configPath), migrations),
    crons: config.triggers.crons.map((cron) => cronOf(cron, configPath)),
  };
}

/** Only expressions that a timer can run: every N minutes, where N divides 60. */
function cronOf(cron: string, configPath: string): Cron {
  const minutes = Number(/^\*\/(\d{1,2}) \* \* \* \*$/.exec(cron)?.[1]);
  if (60 % minutes === 0) return { cron, everyMs: minutes * 60_000 };
  throw new OperatorError(
    `${configPath}: the pool on one machine cannot run the cron trigger "${cron}". Use one such as "*/5 * * * *".`,
  );
}

/** wrangler.toml as this version of wrangler reads it. The result is cached, because loading wrangler takes longer than a start. */
async function readWranglerConfig(configPath: string): Promise<Record<string, unknown>> {
  const version = readFileSync(createRequire(import.meta.url).resolve("wrangler/package.json"), "utf8");
  const key = createHash("sha256").update(JSON.stringify([configPath, readFileSync(configPath, "utf8"), version]));
  const file = join(CACHE_FOLDER, `wrangler-config-${key.digest("hex").slice(0, 32)}.json`);
  const cached = z.record(z.string(), z.unknown()).safeParse(readCached(file));
  if (cached.success) return cached.data;
  const { unstable_readConfig } = await import("wrangler");
  const config = { ...unstable_readConfig({ config: configPath }) };
  try {
    writePrivateFile(file, JSON.stringify(config));
  } catch {
    // Without a cache, or if another start writes it at the same moment, the next start reads it again.
  }
  return config;
}
