import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import { signerFrom } from "../../schema/crypto/ed25519.ts";
import { START_WITH } from "../../worker-agent/cli/shared/called-as.ts";
import { type Command, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { secretOf } from "../../worker-agent/cli/shared/secrets.ts";
import { stopOnSignal } from "../../worker-agent/cli/shared/stop-signal.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { oneLine } from "../../worker-agent/terminal-text.ts";
import type { Identity, Watched } from "../runtime/pool-backup.ts";
import { ACCESS_OPTIONS, DEFAULT_STATE_DIR } from "./access.ts";
import { readPassphrase } from "./passphrase.ts";
import { admin, print, watched } from "./pool-common.ts";

const OPTIONS = { ...ACCESS_OPTIONS, json: { type: "boolean" } } as const;
const PASSPHRASE_HELP = [
  "The passphrase comes from LIGAND_PASSPHRASE. If that is not set, a terminal prompts for it. The file cannot be opened without it.",
] as const;

export const exportCommand: Command = {
  summary: "Write a pool's identity and record into a file encrypted with a passphrase.",
  usage: "FILE [--state DIR | --pool URL] [--json]",
  help: [
    "--state DIR  the pool on this machine (default: ./state), running or stopped",
    "--pool URL   a pool on another machine. Set LIGAND_ADMIN_TOKEN to its admin token, and LIGAND_POOL_SECRET_KEY to its",
    "             secret key, which a pool never sends",
    "--json       print one JSON value",
    "",
    ...PASSPHRASE_HELP,
  ],
  options: OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [name = ""]) {
    const file = resolve(name);
    if (existsSync(file)) throw new OperatorError(`${file} already exists. Choose another file.`);
    const passphrase = await readPassphrase("new");
    const done = await cancellable(values, "Exported", async (attended) => {
      if (isRemote(values)) {
        const { exportPool } = await import("../runtime/pool-backup.ts");
        return exportPool(admin(values), identityFromEnvironment, file, passphrase, attended);
      }
      const { exportState } = await import("../runtime/local-backup.ts");
      return exportState(stateFolder(values), file, passphrase, { ...attended, log });
    });
    return print(
      values,
      { file, ...done },
      `${pluralize(done.rows, "row")} of pool ${done.atom_id.slice(0, 16)} are in ${file}. Keep the passphrase in a different place.`,
    );
  },
};

export const importCommand: Command = {
  summary: "Restore a pool from an export, with the same identity, keys and tokens.",
  usage: "FILE [--state DIR | --pool URL] [--json]",
  help: [
    "--state DIR  a new folder on this machine (default: ./state)",
    "--pool URL   a new, empty pool on another machine. Set its POOL_SECRET_KEY to that of the export first, and",
    "             LIGAND_ADMIN_TOKEN to its admin token",
    "--json       print one JSON value",
    "",
    ...PASSPHRASE_HELP,
  ],
  options: OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [name = ""], hints) {
    const file = resolve(name);
    const passphrase = await readPassphrase("known");
    const done = await cancellable(values, "Imported", async (attended) => {
      if (!isRemote(values)) {
        const { importState } = await import("../runtime/local-backup.ts");
        return importState(stateFolder(values), file, passphrase, { ...attended, log });
      }
      const { checkExport, importRows, refuseOccupied } = await import("../runtime/pool-backup.ts");
      const { head, rows } = await checkExport(file, passphrase, attended.signal);
      const client = admin(values);
      if ((await client.pool()).atom_id !== head.atom_id) {
        throw new OperatorError(
          `The pool at that URL is not ${head.atom_id}. First set its POOL_SECRET_KEY to that of the export (docs/upgrading.md).`,
        );
      }
      await refuseOccupied(client);
      await importRows(client, file, passphrase, rows, attended).catch((error: unknown) => {
        if (!(error instanceof OperatorError)) throw error;
        const todo =
          "The pool may now hold a part of the export. Create a new Worker and a new D1 database, then import again.";
        throw new OperatorError(`${error.message} ${todo}`, error.code);
      });
      return { atom_id: head.atom_id, rows };
    });
    const next = isRemote(values) ? "" : ` To start it: ${START_WITH} --state ${stateFolder(values)}`;
    return print(
      values,
      done,
      `Restored pool ${done.atom_id.slice(0, 16)} with ${pluralize(done.rows, "row")}.${next}\n` +
        `Its federation is off. To turn it on: ${hints.ligand("federation on")}`,
    );
  },
};

function isRemote(values: Values): boolean {
  return text(values, "state") === undefined && text(values, "pool") !== undefined;
}

function stateFolder(values: Values): string {
  return resolve(text(values, "state") ?? DEFAULT_STATE_DIR);
}

async function identityFromEnvironment(atomId: string): Promise<Identity> {
  const given = secretOf("pool-secret-key", process.env) ?? "";
  const key = fromBase64(given);
  if (key?.length !== 32 || (await signerFrom(key)).id !== atomId) {
    throw new OperatorError(
      "A pool never sends its secret key. Set LIGAND_POOL_SECRET_KEY to the value that POOL_SECRET_KEY has at that pool.",
    );
  }
  return { pool_secret_key: given };
}

/** Ctrl-C cancels the work. A partly written file is removed. */
function cancellable<T>(values: Values, verb: string, work: (attended: Watched) => Promise<T>): Promise<T> {
  const { signal } = stopOnSignal();
  return watched(values, (show) =>
    work({ signal, progress: (done, total) => show(`${verb} ${done}${total === null ? "" : ` of ${total}`} rows`) }),
  );
}

function log(line: string): void {
  if (process.stderr.isTTY) console.error(oneLine(line));
}
