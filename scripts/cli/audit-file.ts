import * as z from "zod";
import { atomId, recordedEvent, signedCheckpoint, verifyPage } from "../../schema/wire/events.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { type Fault, LogWalk, type VerifyPage, type Walked } from "./log-walk.ts";

/**
 * The file of `ligand audit export` (docs/spec/events.md#export). Persisted contract, version 1: JSON lines. The first line has
 * the pool's checkpoints. Then each line is one row of the record, in order, with the checkpoint that the pool kept for it.
 */
const headLine = z.strictObject({
  v: z.literal(1),
  type: z.literal("ligand_audit"),
  origin: atomId,
  /** The pool's checkpoint of each audience when the export began. */
  checkpoints: z.array(signedCheckpoint),
  starts: verifyPage.shape.starts,
});
const eventLine = recordedEvent.extend({ kept: signedCheckpoint.optional() });

const INVALID_CHECKPOINTS = "The pool's checkpoints are not valid, so its log cannot be exported.";

type Progress = (done: number, of: number) => void;

/** The lines of an export of the pool's whole log, in pieces of one page. Events that come meanwhile are left out. */
export async function* exportLog(
  client: { verifyEvents(since: number): Promise<VerifyPage> },
  progress: Progress,
): AsyncGenerator<{ text: string; events: number }> {
  let page = await client.verifyEvents(0);
  const { origin, starts } = page;
  const head = headLine.safeParse({ v: 1, type: "ligand_audit", origin, checkpoints: page.checkpoints, starts });
  const until = head.data?.checkpoints.find(({ checkpoint }) => checkpoint.audience === "all")?.checkpoint.seq;
  if (!head.success || until === undefined) throw new OperatorError(INVALID_CHECKPOINTS);
  yield { text: `${JSON.stringify(head.data)}\n`, events: 0 };
  while (page.events.length > 0) {
    const checkpoints = z.array(signedCheckpoint).safeParse(page.kept);
    if (!checkpoints.success) throw new OperatorError(INVALID_CHECKPOINTS);
    const kept = new Map(checkpoints.data.map((each) => [each.checkpoint.seq, each]));
    const rows = page.events.filter(({ seq }) => seq <= until);
    const lines = rows.map((row) => `${JSON.stringify({ ...row, kept: kept.get(row.seq) })}\n`);
    yield { text: lines.join(""), events: rows.length };
    progress(Math.min(page.next, until), until);
    if (page.next >= until) return;
    page = await client.verifyEvents(page.next);
  }
}

export type VerifiedExport = { walked: Walked; origin: string } | (Fault & { line: number });

/** Verifies an export without any pool. `expected`: the atom id of the pool whose log it must be. */
export async function verifyExport(
  lines: AsyncIterable<string>,
  progress: Progress,
  expected?: string,
): Promise<VerifiedExport> {
  let line = 0;
  let begun: { walk: LogWalk; until: number; page: VerifyPage } | null = null;
  for await (const text of lines) {
    line += 1;
    if (begun === null) {
      const head = headLine.safeParse(parseJson(text));
      if (!head.success) return { line, seq: 0, what: "it is not the first line of an export" };
      const { origin, checkpoints, starts } = head.data;
      if (expected !== undefined && origin !== expected)
        return { line, seq: 0, what: `it is the log of pool ${origin}` };
      const page: VerifyPage = { origin, checkpoints, events: [], kept: [], next: 0, ...(starts && { starts }) };
      const found = await LogWalk.begin(page);
      if (!("walk" in found)) return { line, ...found };
      begun = { ...found, page };
      continue;
    }
    const row = eventLine.safeParse(parseJson(text));
    const { walk, until, page } = begun;
    // The first line of the file is not an event.
    if (!row.success) return { line, seq: line - 1, what: "it is not an event of an export" };
    const { kept, ...event } = row.data;
    if (event.seq > until) return { line, seq: event.seq, what: "no checkpoint of the file covers it" };
    if (kept !== undefined && kept.checkpoint.seq !== event.seq) {
      return { line, seq: event.seq, what: "its checkpoint is for another event" };
    }
    const fault = await walk.page({ ...page, events: [event], kept: kept === undefined ? [] : [kept] }, until);
    if (fault !== null) return { line, ...fault };
    if (event.seq % PROGRESS_EVENTS === 0) progress(event.seq, until);
  }
  if (begun === null) return { line: 1, seq: 0, what: "the file is empty" };
  const end = begun.walk.end();
  return "walked" in end ? { ...end, origin: begun.page.origin } : { line, ...end };
}

const PROGRESS_EVENTS = 500;
