import { randomBytes } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, renameSync, rmSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import * as z from "zod";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import { signerFrom } from "../../schema/crypto/ed25519.ts";
import { type BackupRow, poolSettings, recordTable, rowsOfTable } from "../../schema/wire/backup.ts";
import { poolNameOf } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import type { AdminClient } from "./admin-client.ts";
import { seal, unseal } from "./sealed-file.ts";

/** The identity of a pool. For a pool on Cloudflare only the secret key is known, if its operator kept it. */
const identity = z.strictObject({
  pool_secret_key: z.base64().length(44),
  admin_token: z.string().optional(),
  metrics_token: z.string().optional(),
  client_key: z.string().optional(),
});
export type Identity = z.infer<typeof identity>;

/** Persisted: the lines of an export, gzipped and sealed. First the head, then rows, then an end with the number of rows. */
const line = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("head"),
    v: z.literal(1),
    exported_at: z.iso.datetime(),
    atom_id: z.string(),
    identity,
    settings: poolSettings,
  }),
  rowsOfTable.extend({ type: z.literal("rows") }),
  z.strictObject({ type: z.literal("end"), rows: z.int() }),
]);
type Line = z.infer<typeof line>;
export type ExportHead = Extract<Line, { type: "head" }>;

/** Progress and cancellation of an export or import. */
export interface Watched {
  progress(done: number, total: number | null): void;
  signal: AbortSignal;
}
const PAGE = LIMITS.backupPageRows;

/** Exports a running pool into a new file of mode 0600. Returns the number of rows. */
export async function exportPool(
  admin: AdminClient,
  identityOf: (atomId: string) => Promise<Identity>,
  file: string,
  passphrase: string,
  { progress, signal }: Watched,
): Promise<{ atom_id: string; rows: number }> {
  if (existsSync(file)) throw new OperatorError(`${file} already exists. Choose another file.`);
  const head = await admin.exportHead();
  const secrets = await identityOf(head.atom_id);
  const { tables, metering, events, settings, atom_id } = head;
  const total = Object.values(tables).reduce((sum, rows) => sum + rows.length, 0) + metering.rows + events.rows;
  let rows = 0;
  const part = `${file}.${randomBytes(4).toString("hex")}.part`;

  async function* lines(): AsyncGenerator<string> {
    const write = (each: Line) => `${JSON.stringify(each)}\n`;
    const page = (table: z.infer<typeof recordTable>, some: BackupRow[]) => {
      rows += some.length;
      progress(rows, total);
      return write({ type: "rows", table, rows: some });
    };
    yield write({ type: "head", v: 1, exported_at: new Date().toISOString(), atom_id, identity: secrets, settings });
    for (const [table, all] of Object.entries(tables)) {
      for (let at = 0; at < all.length; at += PAGE) yield page(recordTable.parse(table), all.slice(at, at + PAGE));
    }
    for (let after: number | null = 0; after !== null; ) {
      const found = await admin.exportMetering(after, metering.until);
      if (found.rows.length > 0) yield page("metering", found.rows);
      after = found.next;
    }
    for (let after: number | null = 0; after !== null; ) {
      const found = await admin.exportEvents(after, events.until);
      if (found.rows.length > 0) yield page("events", found.rows);
      after = found.next;
    }
    yield write({ type: "end", rows });
  }

  try {
    await pipeline(
      Readable.from(lines()),
      createGzip(),
      (source: AsyncIterable<Buffer>) => seal(source, passphrase),
      createWriteStream(part, { mode: 0o600, flags: "wx", flush: true }),
      { signal },
    );
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw readable(error, file);
  }
  return { atom_id, rows };
}

/** Verifies a whole export before anything is imported: every chunk, every line and the number of rows. */
export async function checkExport(
  file: string,
  passphrase: string,
  signal: AbortSignal,
): Promise<{ head: ExportHead; rows: number }> {
  let head: ExportHead | undefined;
  let rows = 0;
  let ended = false;
  await readExport(file, passphrase, signal, async (each) => {
    if (ended || (each.type === "head") !== (head === undefined))
      throw new OperatorError(`${file} is damaged: its parts are in the wrong order. Use another copy of it.`);
    if (each.type === "head") head = each;
    if (each.type === "rows") rows += each.rows.length;
    if (each.type === "end") ended = each.rows === rows;
  });
  if (head === undefined || !ended) throw new OperatorError(`${file} is not complete. Use another copy of it.`);
  const key = fromBase64(head.identity.pool_secret_key);
  if (!key || (await signerFrom(key)).id !== head.atom_id) {
    throw new OperatorError(`${file} is damaged: its key does not match its atom id. Use another copy of it.`);
  }
  return { head, rows };
}

/** Refuses a pool that already has rows. */
export async function refuseOccupied(admin: AdminClient): Promise<void> {
  const { tables, metering } = await admin.exportHead();
  const rows = Object.values(tables).reduce((sum, some) => sum + some.length, 0) + metering.rows;
  if (rows > 0) throw new OperatorError(`That pool is not empty (rows: ${rows}). Import into a new pool.`);
}

/** Imports the rows of an export into an empty pool of the same identity. */
export async function importRows(
  admin: AdminClient,
  file: string,
  passphrase: string,
  total: number,
  { progress, signal }: Watched,
): Promise<void> {
  let done = 0;
  await readExport(file, passphrase, signal, async (each) => {
    if (each.type === "head") {
      await admin.changePool({ ...each.settings, name: poolNameOf(each.settings.name) });
    } else if (each.type === "rows") {
      await admin.importRows(each.table, each.rows);
      done += each.rows.length;
      progress(done, total);
    }
  });
}

async function readExport(
  file: string,
  passphrase: string,
  signal: AbortSignal,
  take: (each: Line) => Promise<void>,
): Promise<void> {
  try {
    await pipeline(
      createReadStream(file),
      (source: AsyncIterable<Buffer>) => unseal(source, passphrase),
      createGunzip(),
      async (source: AsyncIterable<Buffer>) => {
        for await (const text of linesOf(source)) {
          const parsed = line.safeParse(JSON.parse(text));
          if (!parsed.success) {
            throw new OperatorError(`A newer version of Ligand made ${file}. Update Ligand.`);
          }
          await take(parsed.data);
        }
      },
      { signal },
    );
  } catch (error) {
    throw readable(error, file);
  }
}

async function* linesOf(source: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let held = "";
  for await (const bytes of source) {
    held += decoder.decode(bytes, { stream: true });
    const lines = held.split("\n");
    held = lines.pop() ?? "";
    yield* lines;
  }
  if (held !== "") yield held;
}

/** Turns errors of the file system into sentences. Other errors stay as they are. */
function readable(error: unknown, file: string): unknown {
  if (!(error instanceof Error) || error instanceof OperatorError || !("code" in error)) return error;
  const code = String(error.code);
  if (code === "ABORT_ERR") return new OperatorError("Cancelled. Run the command again to start over.");
  if (code.startsWith("Z_")) return new OperatorError(`${file} is damaged. Use another copy of it.`);
  return /^E[A-Z]+$/.test(code)
    ? new OperatorError(`Cannot use ${file} (${code}). Check the path and its permissions.`)
    : error;
}
