import { randomBytes } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { readIfPresent } from "../../worker-agent/cli/shared/read-if-present.ts";
import { secretProblem } from "../../worker-agent/secret-text.ts";
import { writePrivateFile } from "./private-files.ts";

const token = z
  .string()
  .min(32)
  .refine((text) => secretProblem(text) === null);

/** Persisted: `secrets.json` in the state folder, mode 0600. Lost, the pool has another atom id and no key is valid. */
const poolSecrets = z.object({
  pool_secret_key: z.base64().length(44),
  admin_token: token,
  metrics_token: token,
});
export type PoolSecrets = z.infer<typeof poolSecrets>;

/** What workerd keeps in a state folder: the record, and the objects that decide. */
export const RUNTIME_STATE = "pool";

/** Persisted: there from before a pool's identity is made until its first start has done all that only it does. */
export const FIRST_START = "first-start";

/** Whether this start makes the pool here, or goes on with one that was killed while it made it. */
export function isFirstStart(stateDir: string): boolean {
  const mark = join(stateDir, FIRST_START);
  // Written first: a pool whose start was killed after its identity was made would have had its first start.
  if (!existsSync(secretsFile(stateDir)) && !existsSync(join(stateDir, RUNTIME_STATE))) writePrivateFile(mark, "");
  return existsSync(mark);
}

export function endFirstStart(stateDir: string): void {
  rmSync(join(stateDir, FIRST_START), { force: true });
}

/** The pool's secrets; made on the first start and kept. Where there is a record, other secrets would open none of it. */
export function loadSecrets(stateDir: string): PoolSecrets {
  const kept = readSecrets(stateDir);
  if (kept !== undefined) return kept;
  if (existsSync(join(stateDir, RUNTIME_STATE))) {
    throw new OperatorError(
      `${stateDir} holds the record of a pool and no secrets.json, which is its identity. Restore that file from a ` +
        "backup; where an import was broken off, remove the folder and import again.",
    );
  }
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

/** The bootstrap token (docs/spec/pool.md#command-line): whoever shows it is `admin`. */
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
