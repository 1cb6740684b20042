import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SignedCheckpoint } from "../../../schema/wire/events.ts";
import { exportLog, verifyExport } from "../../../scripts/cli/audit-file.ts";
import type { VerifyPage } from "../../../scripts/cli/log-walk.ts";
import { linesOf } from "../../../scripts/runtime/file-lines.ts";
import { honest, other, sign, us } from "./recorded-log.ts";

/** An export of a log as JSON lines, verified without the pool. */

/** Answers with pages of two events, as a pool does with more. */
const served = (log: VerifyPage) => ({
  verifyEvents: async (since: number): Promise<VerifyPage> => {
    const events = log.events.slice(since, since + 2);
    const next = events.at(-1)?.seq ?? since;
    const kept = log.kept.filter((each) => {
      const { seq } = (each as SignedCheckpoint).checkpoint;
      return seq > since && seq <= next;
    });
    return { ...log, events, kept, next };
  },
});

async function exported(log: VerifyPage): Promise<string[]> {
  let text = "";
  for await (const piece of exportLog(served(log), () => {})) text += piece.text;
  expect(text.endsWith("\n")).toBe(true);
  return text.trimEnd().split("\n");
}

async function* each(lines: readonly string[]) {
  yield* lines;
}
const verify = (lines: readonly string[], expected?: string) => verifyExport(each(lines), () => {}, expected);

const lines = await exported(honest);
/** The export with one line changed. */
const bent = (line: number, bend: (row: Record<string, unknown>) => unknown) =>
  lines.map((text, i) => (i + 1 === line ? JSON.stringify(bend(JSON.parse(text))) : text));
const without = (line: number) => lines.filter((_, i) => i + 1 !== line);

it("has a line for the pool's checkpoints and one for each event, and verifies", async () => {
  expect(lines).toHaveLength(7);
  expect(lines.slice(1).map((line) => JSON.parse(line).seq)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(await verify(lines)).toEqual({
    origin: us.id,
    walked: { events: 6, public: 2, peers: 1, of_others: 3, checkpoints: 4 },
  });
});

it("ends where the pool's checkpoints end, though the log grows meanwhile", async () => {
  const five = honest.events[4];
  const first = honest.checkpoints as SignedCheckpoint[];
  const checkpoints = [await sign("all", { seq: 5, chain: five?.chain ?? "" }), ...first.slice(1)];
  const grown = await exported({ ...honest, checkpoints });
  expect(grown).toHaveLength(6);
  expect(await verify(grown)).toMatchObject({ walked: { events: 5 } });
});

it("an empty log has only the first line", async () => {
  const checkpoints = await Promise.all(
    (["all", "public", "peers"] as const).map((audience) => sign(audience, { seq: 0, chain: "00".repeat(32) })),
  );
  const empty = await exported({ ...honest, checkpoints, events: [], kept: [] });
  expect(empty).toHaveLength(1);
  expect(await verify(empty)).toMatchObject({ walked: { events: 0 } });
});

describe("the first fault is named with its line", () => {
  const inEvent = (row: Record<string, unknown>, change: object) => ({
    ...row,
    event: { ...(row.event as object), ...change },
  });

  it.each<[what: string, file: readonly string[], want: object]>([
    ["no line", [], { line: 1, what: "the file is empty" }],
    ["another file", ["hello", ...lines], { line: 1, what: "it is not the first line of an export" }],
    ["the first line missing", without(1), { line: 1, what: "it is not the first line of an export" }],
    ["text in the middle", lines.with(3, "hello"), { line: 4, seq: 3, what: "it is not an event of an export" }],
    [
      "an unknown member",
      bent(4, (row) => ({ ...row, note: 1 })),
      { line: 4, what: "it is not an event of an export" },
    ],
    ["an event missing", without(4), { line: 4, seq: 3, what: "it is missing; the next event is 4" }],
    [
      "two events swapped",
      [...lines.slice(0, 2), lines[3] ?? "", lines[2] ?? "", ...lines.slice(4)],
      { line: 3, seq: 2 },
    ],
    ["an event twice", [...lines.slice(0, 3), ...lines.slice(2)], { line: 4, seq: 3 }],
    ["the end missing", lines.slice(0, -1), { line: 6, seq: 6 }],
    [
      "one event more",
      [...lines, JSON.stringify({ ...JSON.parse(lines[6] ?? ""), seq: 7 })],
      { line: 8, seq: 7, what: "no checkpoint of the file covers it" },
    ],
    [
      "other bytes",
      bent(5, (row) => inEvent(row, { event_bytes: "e30=" })),
      { line: 5, seq: 4, what: "events/malformed" },
    ],
    [
      "another signature",
      bent(5, (row) => inEvent(row, { signature: "0".repeat(128) })),
      { line: 5, seq: 4, what: "events/invalid-signature" },
    ],
    ["another chain", bent(5, (row) => ({ ...row, chain: "0".repeat(64) })), { line: 5, seq: 4 }],
    ["another type beside the bytes", bent(5, (row) => ({ ...row, type: "other" })), { line: 5, seq: 4 }],
    [
      "a checkpoint at another event",
      bent(5, (row) => ({ ...row, kept: JSON.parse(lines[3] ?? "").kept })),
      { line: 5, seq: 4, what: "its checkpoint is for another event" },
    ],
    [
      "another origin",
      bent(1, (head) => ({ ...head, origin: other.id })),
      { line: 1, seq: 0, what: "a checkpoint belongs to another pool" },
    ],
    [
      "two checkpoints only",
      bent(1, (head) => ({ ...head, checkpoints: (head.checkpoints as unknown[]).slice(1) })),
      { line: 1 },
    ],
  ])("%s", async (_what, file, want) => expect(await verify(file)).toMatchObject(want));
});

it("can be required to be of one pool", async () => {
  expect(await verify(lines, us.id)).toMatchObject({ origin: us.id });
  expect(await verify(lines, other.id)).toEqual({ line: 1, seq: 0, what: `it is the log of pool ${us.id}` });
});

describe("the lines of a file", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "ligand-audit-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  async function read(content: string): Promise<string[]> {
    const file = join(folder, "audit.jsonl");
    writeFileSync(file, content);
    return Array.fromAsync(linesOf(file));
  }

  it.each<[content: string, want: string[]]>([
    ["", []],
    ["a\nb\n", ["a", "b"]],
    ["a\nb", ["a", "b"]],
    ["a\n\nb\n", ["a", "", "b"]],
  ])("%j", async (content, want) => expect(await read(content)).toEqual(want));

  it("are the same across the pieces in which a file is read", async () => {
    const long = Array.from({ length: 400 }, (_, i) => `${i}é`.repeat(200));
    expect(await read(long.join("\n"))).toEqual(long);
  });

  it("are bounded: a file without line ends is refused", async () => {
    await expect(read("x".repeat(3 * 1024 * 1024))).rejects.toThrow("it has a line that is too long");
  });

  it("name the reason when there is no such file", async () => {
    await expect(Array.fromAsync(linesOf(join(folder, "none")))).rejects.toThrow("no such file or folder");
  });
});
