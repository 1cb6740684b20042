import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env } from "cloudflare:workers";
import type { Env } from "../../edge/env.ts";

declare global {
  namespace Cloudflare {
    interface Env extends PoolEnv {
      TEST_MIGRATIONS: D1Migration[];
    }
  }
}
type PoolEnv = Env;

await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
