import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { RecordOutbox } from "../../edge/record/record-outbox.ts";
import type { EventRow } from "../../schema/db/events.ts";

/** The log in D1 (docs/spec/events.md#the-log): its triggers, and the retries of the outbox. */

const row = (seq: number, change: Partial<EventRow> = {}): EventRow => ({
  seq,
  contentId: `id-${seq}`,
  type: "overview",
  origin: "a",
  visibility: "private",
  publicSeq: seq,
  peersSeq: null,
  chain: "c",
  hlcPhysicalUs: 1_776_358_800_000_000 + seq,
  hlcLogical: 0,
  bytes: "e30=",
  pubkey: "p",
  signature: "s",
  ttl: 0,
  receivedFrom: null,
  takenAtMs: 1,
  ...change,
});

const all = async () => (await env.DB.prepare("SELECT * FROM events ORDER BY seq").all()).results;

/** An outbox in an object of its own, with the D1 that the test passes. */
const withOutbox = (name: string, rows: EventRow[], db: D1Database = env.DB) =>
  runInDurableObject(env.ACCOUNT.getByName(name), async (_account, state) => {
    const outbox = new RecordOutbox(state.storage, db);
    for (const each of rows) outbox.put("events", each);
    const flushed = await outbox.flush();
    return { flushed, ...outbox.held() };
  });

const FLUSHED = { flushed: true, waiting: 0, refused: 0 };

it("arrives through the outbox, with times as exact as they were", async () => {
  expect(await withOutbox("fresh", [row(1), row(2), row(3, { publicSeq: null })])).toEqual(FLUSHED);
  expect(await all()).toMatchObject([
    { seq: 1, content_id: "id-1", hlc_physical_us: 1_776_358_800_000_001, received_from: null },
    { seq: 2, public_seq: 2, peers_seq: null },
    { seq: 3, public_seq: null },
  ]);
});

describe("D1 refuses", () => {
  const columns =
    "content_id, type, origin, visibility, public_seq, peers_seq, chain, hlc_physical_us, hlc_logical, bytes, pubkey, signature, ttl, taken_at_ms";
  const values = (seq: number, id: string, publicSeq: number | null = null) =>
    `(seq, ${columns}) VALUES (${seq}, '${id}', 't', 'o', 'public', ${publicSeq}, NULL, 'c', 1, 0, 'b', 'p', 's', 0, 1)`;

  it.each<[what: string, sql: string]>([
    ["a change", "UPDATE events SET bytes = 'x' WHERE seq = 1"],
    ["a change that replaces", "UPDATE OR REPLACE events SET seq = 2 WHERE seq = 1"],
    ["a deletion", "DELETE FROM events WHERE seq = 1"],
    ["a deletion of all", "DELETE FROM events"],
    ["a number again", `INSERT INTO events ${values(1, "other")}`],
    ["a number again, replacing", `INSERT OR REPLACE INTO events ${values(1, "other")}`],
    ["a number again, with REPLACE", `REPLACE INTO events ${values(1, "other")}`],
    ["an event again under another number", `INSERT OR REPLACE INTO events ${values(9, "id-1")}`],
    ["a number of an audience again", `INSERT OR REPLACE INTO events ${values(9, "other", 1)}`],
    ["an upsert", `INSERT INTO events ${values(1, "other")} ON CONFLICT (seq) DO UPDATE SET bytes = excluded.bytes`],
    ["an insert that would be skipped", `INSERT OR IGNORE INTO events ${values(1, "other")}`],
  ])("%s", async (_what, sql) => {
    const before = await all();
    expect(before).toHaveLength(3);
    await expect(env.DB.prepare(sql).run()).rejects.toThrow(/append-only|already/);
    expect(await all()).toEqual(before);
  });
});

describe("a retried flush", () => {
  it("neither duplicates rows nor fails", async () => {
    const before = await all();
    expect(await withOutbox("again", [row(1), row(2), row(3, { publicSeq: null })])).toEqual(FLUSHED);
    expect(await all()).toEqual(before);
  });

  it("continues with the rows that had not arrived", async () => {
    expect(await withOutbox("half", [row(2), row(3, { publicSeq: null }), row(4), row(5)])).toEqual(FLUSHED);
    expect((await all()).map((each) => each.seq)).toEqual([1, 2, 3, 4, 5]);
  });

  it("after an answer that was lost", async () => {
    let lost = 0;
    const forgetful = {
      prepare: (sql: string) => env.DB.prepare(sql),
      batch: async (statements: D1PreparedStatement[]) => {
        const done = await env.DB.batch(statements);
        if (lost++ === 0) throw new Error("network lost");
        return done;
      },
    } as unknown as D1Database;
    expect(await withOutbox("lost", [row(6)], forgetful)).toEqual({ flushed: false, waiting: 1, refused: 0 });
    expect(await withOutbox("lost", [row(7)], forgetful)).toEqual(FLUSHED);
    expect((await all()).map((each) => each.seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });
});

it("a different row under a number that exists is set aside, and does not block the rows behind it", async () => {
  const before = await all();
  const result = await withOutbox("rewriting", [row(1, { contentId: "other" }), row(8)]);
  expect(result).toEqual({ flushed: true, waiting: 0, refused: 1 });
  expect((await all()).slice(0, -1)).toEqual(before);
  expect((await all()).at(-1)).toMatchObject({ seq: 8 });
});
