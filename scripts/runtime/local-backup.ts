import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { adminClient } from "./admin-client.ts";
import { type Credentials, credentialsFile, readCredentials } from "./credentials.ts";
import { untilUp } from "./local-network.ts";
import { OperatorError } from "./operator-error.ts";
import { checkExport, exportPool, importRows, type Progress } from "./pool-backup.ts";
import { startPool } from "./pool-runtime.ts";
import {
  newAdminToken,
  newMetricsToken,
  type PoolSecrets,
  readSecrets,
  saveSecrets,
  secretsFile,
} from "./pool-secrets.ts";
import { writePrivateFile } from "./private-files.ts";
import type { LogLine } from "./supervised-runtime.ts";

/** What a start makes in a state folder, and what a failed import takes away again. */
const MADE = ["secrets.json", "credentials.json", "pool", "lock", "workerd.pid"];

/** Exports the pool of a state folder, as it runs, or run for as long as this takes. */
export async function exportState(
  stateDir: string,
  file: string,
  passphrase: string,
  log: LogLine,
  progress: Progress,
) {
  const secrets = readSecrets(stateDir);
  if (secrets === undefined)
    throw new OperatorError(`There is no pool in ${stateDir}. Name one with --state or --pool.`);
  const credentials = readCredentials(stateDir);
  const identity = { ...secrets, ...(credentials && { client_key: credentials.client_key }) };
  const write = (url: string) =>
    exportPool(adminClient(url, secrets.admin_token), async () => identity, file, passphrase, progress);
  if (credentials && (await answers(credentials))) return write(credentials.url);
  return withPool(stateDir, log, write);
}

/** Makes a pool out of an export, in a folder that holds none. What was made is taken away when it does not succeed. */
export async function importState(
  stateDir: string,
  file: string,
  passphrase: string,
  log: LogLine,
  progress: Progress,
): Promise<{ atom_id: string; rows: number }> {
  const found = MADE.filter((name) => existsSync(join(stateDir, name)));
  if (found.length > 0) {
    throw new OperatorError(
      `${stateDir} holds a pool already (${found.join(", ")}). Name a fresh folder with --state.`,
    );
  }
  const { head, rows } = await checkExport(file, passphrase);
  const { pool_secret_key, admin_token, metrics_token, client_key } = head.identity;
  const secrets: PoolSecrets = {
    pool_secret_key,
    admin_token: admin_token ?? newAdminToken(),
    metrics_token: metrics_token ?? newMetricsToken(),
  };
  try {
    saveSecrets(stateDir, secrets);
    await withPool(stateDir, log, async (url) => {
      await importRows(adminClient(url, secrets.admin_token), file, passphrase, rows, progress);
      if (client_key === undefined) return;
      const credentials: Credentials = { url, atom_id: head.atom_id, admin_token: secrets.admin_token, client_key };
      writePrivateFile(credentialsFile(stateDir), `${JSON.stringify(credentials, null, 2)}\n`);
    });
  } catch (error) {
    for (const name of MADE) rmSync(join(stateDir, name), { recursive: true, force: true });
    throw error;
  }
  return { atom_id: head.atom_id, rows };
}

async function withPool<T>(stateDir: string, log: LogLine, use: (url: string) => Promise<T>): Promise<T> {
  if (!existsSync(secretsFile(stateDir))) throw new OperatorError(`There is no pool in ${stateDir}.`);
  const pool = await startPool({ stateDir, port: 0, log });
  try {
    await untilUp(pool.url, AbortSignal.timeout(START_MS));
    return await use(pool.url);
  } finally {
    await pool.stop();
  }
}
const START_MS = 30_000;

/** Whether what is at that address is the pool of these credentials. */
async function answers({ url, atom_id, admin_token }: Credentials): Promise<boolean> {
  try {
    return (await adminClient(url, admin_token).pool()).atom_id === atom_id;
  } catch {
    return false;
  }
}
