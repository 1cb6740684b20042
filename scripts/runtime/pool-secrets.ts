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

/** Persisted: `secrets.json` in the state folder, mode 0600. If it is lost, the pool has another atom id and no key is valid. */
const poolSecrets = z.object({
  pool_secret_key: z.base64().length(44),
  admin_token: token,
  metrics_token: token,
});
export type PoolSecrets = z.infer<typeof poolSecrets>;

/** workerd's folder in a state folder: D1 and the objects. */
export const RUNTIME_STATE = "pool";

/** Persisted: this file exists from before a pool's identity is created until its first start is complete. */
export const FIRST_START = "first-start";

/** Whether this start creates the pool, or resumes a first start that was killed. */
export function isFirstStart(stateDir: string): boolean {
  const mark = join(stateDir, FIRST_START);
  // Written before the identity, so that a killed first start is recognized.
  if (!existsSync(secretsFile(stateDir)) && !existsSync(join(stateDir, RUNTIME_STATE))) writePrivateFile(mark, "");
  return existsSync(mark);
}

export function endFirstStart(stateDir: string): void {
  rmSync(join(stateDir, FIRST_START), { force: true });
}

/** The pool's secrets, created on the first start. For an existing record they are not created again: new ones do not fit. */
export function loadSecrets(stateDir: string): PoolSecrets {
  const kept = readSecrets(stateDir);
  if (kept !== undefined) return kept;
  if (existsSync(join(stateDir, RUNTIME_STATE))) {
    throw new OperatorError(
      `${stateDir} holds the record of a pool, but secrets.json, the identity of the pool, is missing. Restore that file ` +
        "from a backup. If an import was interrupted, remove the folder and import again.",
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

/** Creates a bootstrap token (docs/spec/pool.md#command-line). Its holder is `admin`. */
export function newAdminToken(): string {
  return `la_${randomBytes(20).toString("hex")}`;
}

export function newMetricsToken(): string {
  return `lm_${randomBytes(20).toString("hex")}`;
}

/** The secrets in a folder; undefined if there are none. */
export function readSecrets(stateDir: string): PoolSecrets | undefined {
  const file = secretsFile(stateDir);
  const text = readIfPresent(file);
  if (text === undefined) return undefined;
  try {
    return poolSecrets.parse(JSON.parse(text));
  } catch {
    throw new OperatorError(`${file} is damaged. Restore it from a backup.`);
  }
}
