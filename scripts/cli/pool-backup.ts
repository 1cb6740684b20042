import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import { signerFrom } from "../../schema/crypto/ed25519.ts";
import { type Command, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { pluralize } from "../../worker-agent/cli/shared/pluralize.ts";
import { secretOf } from "../../worker-agent/cli/shared/secrets.ts";
import { stopOnSignal } from "../../worker-agent/cli/shared/stop-signal.ts";
import { oneLine } from "../../worker-agent/terminal-text.ts";
import type { Identity, Watched } from "../runtime/pool-backup.ts";
import { ACCESS_OPTIONS, DEFAULT_STATE_DIR } from "./access.ts";
import { readPassphrase } from "./passphrase.ts";
import { admin, print, watched } from "./pool-common.ts";

const OPTIONS = { ...ACCESS_OPTIONS, json: { type: "boolean" } } as const;
const PASSPHRASE_HELP = [
  "The passphrase comes from LIGAND_PASSPHRASE, or is asked for. Without it the file opens for nobody.",
] as const;

export const exportCommand: Command = {
  summary: "Write a pool's identity and record into a file that a passphrase opens.",
  usage: "FILE [--state DIR | --pool URL] [--json]",
  help: [
    "--state DIR  the pool on this machine (default: ./state), running or stopped",
    "--pool URL   one elsewhere, with its admin token in LIGAND_ADMIN_TOKEN; LIGAND_POOL_SECRET_KEY then holds its secret",
    "             key, which it tells nobody",
    "--json       one JSON value instead of words",
    "",
    ...PASSPHRASE_HELP,
  ],
  options: OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [name = ""]) {
    const file = resolve(name);
    if (existsSync(file)) throw new OperatorError(`${file} is there already. Name another file.`);
    const passphrase = await readPassphrase("new");
    const done = await breakable(values, "Exported", async (by) => {
      if (remote(values)) {
        const { exportPool } = await import("../runtime/pool-backup.ts");
        return exportPool(admin(values), identityFromEnvironment, file, passphrase, by);
      }
      const { exportState } = await import("../runtime/local-backup.ts");
      return exportState(folder(values), file, passphrase, { ...by, log: say });
    });
    return print(
      values,
      { file, ...done },
      `${pluralize(done.rows, "row")} of pool ${done.atom_id.slice(0, 16)} in ${file}. Keep its passphrase apart from it.`,
    );
  },
};

export const importCommand: Command = {
  summary: "Make a pool out of an export: the same identity, keys and tokens.",
  usage: "FILE [--state DIR | --pool URL] [--json]",
  help: [
    "--state DIR  a fresh folder on this machine (default: ./state)",
    "--pool URL   a fresh pool elsewhere that has the export's POOL_SECRET_KEY already, with its admin token in LIGAND_ADMIN_TOKEN",
    "--json       one JSON value instead of words",
    "",
    ...PASSPHRASE_HELP,
  ],
  options: OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [name = ""], hints) {
    const file = resolve(name);
    const passphrase = await readPassphrase("known");
    const done = await breakable(values, "Imported", async (by) => {
      if (!remote(values)) {
        const { importState } = await import("../runtime/local-backup.ts");
        return importState(folder(values), file, passphrase, { ...by, log: say });
      }
      const { checkExport, importRows, refuseOccupied } = await import("../runtime/pool-backup.ts");
      const { head, rows } = await checkExport(file, passphrase, by.signal);
      const client = admin(values);
      if ((await client.pool()).atom_id !== head.atom_id) {
        throw new OperatorError(
          `That pool is not ${head.atom_id}: set its POOL_SECRET_KEY to the export's first (docs/upgrading.md says how).`,
        );
      }
      await refuseOccupied(client);
      await importRows(client, file, passphrase, rows, by).catch((error: unknown) => {
        if (!(error instanceof OperatorError)) throw error;
        const todo = "That pool may hold a part now: make a fresh Worker and a fresh D1 database, and import again.";
        throw new OperatorError(`${error.message} ${todo}`, error.code);
      });
      return { atom_id: head.atom_id, rows };
    });
    const next = remote(values) ? "" : ` Start it with: npm start -- --state ${folder(values)}`;
    return print(
      values,
      done,
      `Pool ${done.atom_id.slice(0, 16)} is here again, with ${pluralize(done.rows, "row")}.${next}\n` +
        `Its federation is off until you say: ${hints.ligand("federation on")}`,
    );
  },
};

function remote(values: Values): boolean {
  return text(values, "state") === undefined && text(values, "pool") !== undefined;
}

function folder(values: Values): string {
  return resolve(text(values, "state") ?? DEFAULT_STATE_DIR);
}

async function identityFromEnvironment(atomId: string): Promise<Identity> {
  const given = secretOf("pool-secret-key", process.env) ?? "";
  const key = fromBase64(given);
  if (key?.length !== 32 || (await signerFrom(key)).id !== atomId) {
    throw new OperatorError(
      "A pool tells nobody its secret key. Set LIGAND_POOL_SECRET_KEY to what POOL_SECRET_KEY was set to when it was made.",
    );
  }
  return { pool_secret_key: given };
}

/** Ctrl-C breaks it off, and what was begun is taken away. */
function breakable<T>(values: Values, verb: string, work: (by: Watched) => Promise<T>): Promise<T> {
  const { signal } = stopOnSignal();
  return watched(values, (show) =>
    work({ signal, progress: (done, total) => show(`${verb} ${done}${total === null ? "" : ` of ${total}`} rows`) }),
  );
}

function say(line: string): void {
  if (process.stderr.isTTY) console.error(oneLine(line));
}
