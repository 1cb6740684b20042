import { bundlePool } from "./pool-bundle.ts";
import type { PoolCode } from "./pool-code.ts";
import { readPoolConfig } from "./pool-config.ts";

/**
 * Makes the pool's Worker from the sources of a clone. Packages do not contain this module, because it needs wrangler
 * and esbuild.
 *
 * @param configPath wrangler.toml
 * @param main another entry of the Worker than the one that wrangler.toml names
 */
export async function poolFromSources(configPath: string, main?: string): Promise<PoolCode> {
  const config = await readPoolConfig(configPath);
  const { vars, worker, crons, migrationsDir } = config;
  return { vars, worker, crons, migrationsDir, script: await bundlePool(main ?? config.main, config.define) };
}
