import { describe, expect, it } from "vitest";
import { GENESIS_CHAIN } from "../../../schema/crypto/signed-event.ts";
import type { RecordedEvent, SignedCheckpoint } from "../../../schema/wire/events.ts";
import { type Fault, LogWalk, type VerifyPage } from "../../../scripts/cli/log-walk.ts";
import { checkpoints, events, heads, honest, other, sign } from "./recorded-log.ts";

/** Verifies the log in pages of two. */
async function walk(log: VerifyPage) {
  const begun = await LogWalk.begin(log);
  if (!("walk" in begun)) return begun;
  for (let at = 0; at < log.events.length; at += 2) {
    const some = log.events.slice(at, at + 2);
    const kept = log.kept.filter((each) => some.some(({ seq }) => seq === (each as SignedCheckpoint).checkpoint.seq));
    const fault = await begun.walk.page({ ...log, events: some, kept }, begun.until);
    if (fault !== null) return fault;
  }
  return begun.walk.end();
}

it("an honest log has no fault, and its events are counted", async () => {
  expect(await walk(honest)).toEqual({ walked: { events: 6, public: 2, peers: 1, of_others: 3, checkpoints: 4 } });
});

it("reads as far as the log reached at the start", async () => {
  const cut = { all: heads.all, public: heads.public, peers: heads.peers };
  const five = events[4];
  const signedCheckpoints = await Promise.all([
    sign("all", { seq: 5, chain: five?.chain ?? "" }),
    sign("public", cut.public),
    sign("peers", cut.peers),
  ]);
  expect(await walk({ ...honest, checkpoints: signedCheckpoints })).toMatchObject({ walked: { events: 5 } });
});

it("an empty log has no fault", async () => {
  const start = { seq: 0, chain: GENESIS_CHAIN };
  const signedCheckpoints = await Promise.all(
    (["all", "public", "peers"] as const).map((audience) => sign(audience, start)),
  );
  const empty = { ...honest, checkpoints: signedCheckpoints, events: [], kept: [] };
  expect(await walk(empty)).toMatchObject({ walked: { events: 0, checkpoints: 3 } });
});

describe("the first fault is named", async () => {
  const at = (seq: number, change: (row: RecordedEvent) => Partial<RecordedEvent>) =>
    events.map((row) => (row.seq === seq ? { ...row, ...change(row) } : row));
  const inEvent = (seq: number, change: Partial<RecordedEvent["event"]>) =>
    at(seq, (row) => ({ event: { ...row.event, ...change } }));
  const [first, second] = events;
  if (!first || !second) throw new Error("no events");

  it.each<[what: string, change: Partial<VerifyPage>, want: Fault]>([
    [
      "a gap",
      { events: events.filter(({ seq }) => seq !== 3) },
      { seq: 3, what: "it is missing; the next event is 4" },
    ],
    [
      "another signature",
      { events: inEvent(2, { signature: first.event.signature }) },
      { seq: 2, what: "events/invalid-signature" },
    ],
    ["other bytes", { events: inEvent(2, { event_bytes: "e30=" }) }, { seq: 2, what: "events/malformed" }],
    [
      "another id",
      { events: inEvent(2, { content_id: "0".repeat(64) }) },
      { seq: 2, what: "events/content-hash-mismatch" },
    ],
    ["no event", { events: inEvent(2, { content_id: "x" }) }, { seq: 2, what: "events/malformed" }],
    [
      "a swapped event",
      { events: at(1, () => ({ ...second, seq: 1, public_seq: null })) },
      { seq: 1, what: "its chain does not continue the chain of the events before it" },
    ],
    [
      "a chain made up",
      { events: at(4, () => ({ chain: "0".repeat(64) })) },
      { seq: 4, what: "its chain does not continue the chain of the events before it" },
    ],
    [
      "a type that is not the event's",
      { events: at(4, () => ({ type: "x" })) },
      { seq: 4, what: "its type in the record differs from the signed event" },
    ],
    [
      "a time that is not the event's",
      { events: at(4, () => ({ hlc: { physical_us: 1, logical: 0 } })) },
      { seq: 4, what: "its time in the record differs from the signed event" },
    ],
    [
      "a private event in public",
      { events: at(1, () => ({ public_seq: 1 })) },
      { seq: 1, what: "it does not belong in the public log" },
    ],
    [
      "another pool's in the part for peers",
      { events: at(6, () => ({ peers_seq: 2 })) },
      { seq: 6, what: "it does not belong in the log for peers" },
    ],
    [
      "a public one of ours that is not in public",
      { events: at(2, () => ({ public_seq: null })) },
      { seq: 2, what: "it is missing from the public log" },
    ],
    [
      "a wrong number in public",
      { events: at(4, () => ({ public_seq: 3 })) },
      { seq: 4, what: "its number in the public log is not the next one" },
    ],
    [
      "a cut end",
      { events: events.slice(0, 4) },
      { seq: 5, what: "the record ends here, but the pool signed the whole log up to event 6" },
    ],
    [
      "a checkpoint that is not signed",
      { checkpoints: [{ ...checkpoints[0], signature: "0".repeat(128) }, ...checkpoints.slice(1)] },
      { seq: 0, what: "a checkpoint of the pool is not valid: events/invalid-signature" },
    ],
    ["no checkpoint", { checkpoints: [] }, { seq: 0, what: "the pool did not send a checkpoint for each audience" }],
    [
      "another pool's checkpoint",
      { checkpoints: [await sign("all", heads.all, other)] },
      { seq: 0, what: "a checkpoint belongs to another pool" },
    ],
    [
      "another chain at the end",
      { checkpoints: [await sign("all", { ...heads.all, chain: "1".repeat(64) }), ...checkpoints.slice(1)] },
      { seq: 6, what: "the pool's checkpoint has another chain for event 6 of the whole log" },
    ],
    [
      "another chain signed before",
      { kept: [await sign("all", { seq: 3, chain: "1".repeat(64) })] },
      { seq: 3, what: "an earlier checkpoint of the pool has another chain for this event" },
    ],
  ])("%s", async (_what, change, want) => expect(await walk({ ...honest, ...change })).toEqual(want));
});
