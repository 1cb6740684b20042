import { randomBytes } from "node:crypto";
import { join } from "node:path";
import * as z from "zod";
import { OperatorError } from "./operator-error.ts";
import { readIfPresent, writePrivateFile } from "./private-files.ts";

/** Persisted: `secrets.json` in the state folder, mode 0600. Lost, the pool has another atom id and no key is valid. */
const poolSecrets = z.object({
  pool_secret_key: z.base64().length(44),
  admin_token: z.string().min(32),
  metrics_token: z.string().min(32),
});
export type PoolSecrets = z.infer<typeof poolSecrets>;

/** The pool's secrets; made on the first start and kept. */
export function loadSecrets(stateDir: string): PoolSecrets {
  const kept = readSecrets(stateDir);
  if (kept !== undefined) return kept;
  const secrets: PoolSecrets = {
    pool_secret_key: randomBytes(32).toString("base64"),
    admin_token: newAdminToken(),
    metrics_token: newMetricsToken(),
  };
  saveSecrets(stateDir, secrets);
  return secrets;
}

export function saveSecrets(stateDir: string, secrets: PoolSecrets): void {
  writePrivateFile(secretsFile(stateDir), `${JSON.stringify(secrets, null, 2)}\n`);
}

export function secretsFile(stateDir: string): string {
  return join(stateDir, "secrets.json");
}

/** The bootstrap token (SPEC 12): whoever shows it is `admin`. */
export function newAdminToken(): string {
  return `la_${randomBytes(20).toString("hex")}`;
}

export function newMetricsToken(): string {
  return `lm_${randomBytes(20).toString("hex")}`;
}

/** The secrets of a folder that has some. */
export function readSecrets(stateDir: string): PoolSecrets | undefined {
  const file = secretsFile(stateDir);
  const text = readIfPresent(file);
  if (text === undefined) return undefined;
  try {
    return poolSecrets.parse(JSON.parse(text));
  } catch {
    throw new OperatorError(`${file} cannot be read as the pool's secrets. Restore it from a backup.`);
  }
}
