import { readdirSync, statSync } from "node:fs";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { isOursAlone } from "../../worker-agent/state/state-folder.ts";
import { adminClient } from "./admin-client.ts";
import { type Credentials, credentialsFile, readCredentials } from "./credentials.ts";
import { untilUp } from "./local-network.ts";
import { checkExport, exportPool, importRows, type Watched } from "./pool-backup.ts";
import { startPool } from "./pool-runtime.ts";
import { newAdminToken, newMetricsToken, type PoolSecrets, readSecrets, saveSecrets } from "./pool-secrets.ts";
import { writePrivateFile } from "./private-files.ts";
import type { LogLine } from "./supervised-runtime.ts";

/** What an export or import needs while it runs a pool. */
export interface Attended extends Watched {
  log: LogLine;
}

/** Exports the pool of a state folder. If the pool is not running, it runs during the export. */
export async function exportState(stateDir: string, file: string, passphrase: string, attended: Attended) {
  const secrets = readSecrets(stateDir);
  if (secrets === undefined)
    throw new OperatorError(`There is no pool in ${stateDir}. Name a pool with --state or --pool.`);
  const credentials = readCredentials(stateDir);
  const identity = { ...secrets, ...(credentials && { client_key: credentials.client_key }) };
  const write = (url: string) =>
    exportPool(adminClient(url, secrets.admin_token), async () => identity, file, passphrase, attended);
  if (credentials && (await isRunning(credentials))) return write(credentials.url);
  return withPool(stateDir, secrets, attended, write);
}

/**
 * Restores a pool from an export, in an empty folder. `secrets.json` is written last. No pool starts without that file, so an
 * incomplete import never runs. A failed import removes what it made.
 */
export async function importState(
  stateDir: string,
  file: string,
  passphrase: string,
  attended: Attended,
): Promise<{ atom_id: string; rows: number }> {
  await refuseUsedFolder(stateDir);
  const { head, rows } = await checkExport(file, passphrase, attended.signal);
  const { pool_secret_key, admin_token, metrics_token, client_key } = head.identity;
  const secrets: PoolSecrets = {
    pool_secret_key,
    admin_token: admin_token ?? newAdminToken(),
    metrics_token: metrics_token ?? newMetricsToken(),
  };
  await withPool(stateDir, secrets, attended, async (url) => {
    await importRows(adminClient(url, secrets.admin_token), file, passphrase, rows, attended);
    if (client_key !== undefined) {
      const credentials: Credentials = { url, atom_id: head.atom_id, admin_token: secrets.admin_token, client_key };
      writePrivateFile(credentialsFile(stateDir), `${JSON.stringify(credentials, null, 2)}\n`);
    }
    saveSecrets(stateDir, secrets);
  });
  return { atom_id: head.atom_id, rows };
}

/** Refuses a folder that is not empty, or that others can read. */
async function refuseUsedFolder(stateDir: string): Promise<void> {
  // A path that is not a folder is refused when it is opened.
  if (statSync(stateDir, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  if (!(await isOursAlone(stateDir))) {
    throw new OperatorError(
      `Other users can read ${stateDir}, so it must not hold keys. Name a new folder with --state.`,
    );
  }
  const found = readdirSync(stateDir).sort();
  if (found.length === 0) return;
  const what = found.includes("secrets.json") ? "already holds a pool" : "is not empty";
  throw new OperatorError(`${stateDir} ${what} (${found.join(", ")}). Name a new folder with --state.`);
}

/** Runs the pool of a folder during `use`. */
async function withPool<T>(
  stateDir: string,
  secrets: PoolSecrets,
  { log, signal }: Attended,
  use: (url: string) => Promise<T>,
): Promise<T> {
  const pool = await startPool({ stateDir, secrets, port: 0, log });
  let done: T;
  try {
    await untilUp(pool.url, AbortSignal.any([signal, AbortSignal.timeout(START_MS)]));
    done = await use(pool.url);
  } catch (error) {
    await pool.abandon();
    throw error;
  }
  await pool.stop();
  return done;
}
const START_MS = 30_000;

/** Whether the pool of these credentials answers at their URL. */
async function isRunning({ url, atom_id, admin_token }: Credentials): Promise<boolean> {
  try {
    return (await adminClient(url, admin_token).pool()).atom_id === atom_id;
  } catch {
    return false;
  }
}
