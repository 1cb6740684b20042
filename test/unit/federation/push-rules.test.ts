import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Outcome } from "../../../edge/federation/delivery/delivery-machine.ts";
import {
  acknowledge,
  afterPush,
  NOTHING_SENT,
  nextPush,
  type Push,
  reportedSeq,
  type Sent,
  sentForLog,
} from "../../../edge/federation/sync/push-rules.ts";
import { type PullAnswer, type PushAnswer, pushBody } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { alicesLog, checkpointOf, entry, LOG, page } from "./alices-log.ts";

const NOW = 1_776_358_800_000;

const log = (count: number, bytes = "AAAA") => {
  const names = Array.from({ length: count }, (_, i) => `own${i}`);
  const events = names.map((text, i) => entry(text, i + 1, bytes));
  return (since: number): PullAnswer => ({
    events: events.slice(since, since + LIMITS.eventsPerPull),
    next: count,
    head: count,
    checkpoint: checkpointOf(names),
  });
};
const sentTo = (seq: number, changes: Partial<Sent["delivery"]> = {}): Sent => ({
  logId: LOG,
  seq,
  delivery: { tries: 0, deferrals: 0, nextAtMs: 0, ...changes },
});
const listener = { publicKey: "b1".repeat(32), streaming: false };
const pushed = (given: Sent, answer: PullAnswer, nowMs = NOW): Push => {
  const next = nextPush(given, answer, listener, nowMs);
  return next.type === "push" ? next.push : expect.fail(next.type);
};

describe("the position of a peer in our log", () => {
  it.each<[what: string, given: Sent, since: number, want: number]>([
    ["the number that it asks from", sentTo(3), 5, 5],
    ["never less than it asked from before", sentTo(3), 2, 3],
    ["unchanged, if it asks from beyond our head", sentTo(3), 11, 3],
    ["the number that it asks from, in a renamed log", { ...sentTo(9), logId: "02".repeat(16) }, 5, 5],
    ["0 in a renamed log, if it asks from the beginning", { ...sentTo(9), logId: "02".repeat(16) }, 0, 0],
    ["the number that it asks from, at its first pull", NOTHING_SENT, 5, 5],
  ])("is %s", (_what, given, since, want) => {
    expect(acknowledge(given, { logId: LOG, head: 10 }, since, NOW)).toMatchObject({ logId: LOG, seq: want });
  });

  it("goes back in the admin's view only while the peer asks again for events that it had", () => {
    const log = { logId: LOG, head: 10 };
    const asks = (given: Sent, since: number, nowMs = NOW) => acknowledge(given, log, since, nowMs);
    // Pushes and a stream got further than the peer has asked from itself.
    let sent: Sent = { ...sentTo(6), written: 8 };
    for (const since of [0, 2, 4]) {
      sent = asks(sent, since);
      expect([reportedSeq(sent, 0), sent.startedOver ?? null]).toEqual([8, null]);
    }
    sent = asks(sent, 1);
    expect([reportedSeq(sent, 0), reportedSeq(sent, 3), sent.startedOver]).toEqual([1, 3, { seq: 1, sinceMs: NOW }]);
    expect(asks(sent, 1, NOW + 1)).toBe(sent);
    sent = asks(sent, 3, NOW + 1);
    expect([reportedSeq(sent, 0), sent.startedOver]).toEqual([3, { seq: 3, sinceMs: NOW }]);
    expect(sent.seq, "pushes continue from where they were").toBe(6);
    sent = asks(sent, 9, NOW + 2);
    expect([reportedSeq(sent, 0), sent.startedOver]).toEqual([9, null]);
    expect(reportedSeq(sentForLog(sent, "02".repeat(16)), 0), "of another log").toBe(0);
  });

  it("never goes back while the numbers that the peer asks from grow", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 10 })), (wanted) => {
        let sent = NOTHING_SENT;
        let had = 0;
        for (const since of wanted.toSorted((a, b) => a - b)) {
          sent = acknowledge(sent, { logId: LOG, head: 10 }, since, NOW);
          expect(reportedSeq(sent, 0)).toBeGreaterThanOrEqual(had);
          expect(sent.startedOver ?? null).toBeNull();
          had = reportedSeq(sent, 0);
        }
      }),
    );
  });
});

describe("the next push", () => {
  const ten = log(10);
  const theirs = { ...listener, publicKey: alicesLog.publicKey };
  it.each<[what: string, given: Sent, answer: PullAnswer, peer: typeof listener, want: object]>([
    [
      "has the events that the peer lacks",
      sentTo(8),
      ten(8),
      listener,
      { type: "push", push: { seqs: [9, 10], upTo: 10 } },
    ],
    ["starts at the beginning", NOTHING_SENT, ten(0), listener, { type: "push", push: { logId: LOG, upTo: 10 } }],
    [
      "starts again in a renamed log",
      { ...sentTo(8), logId: "02".repeat(16) },
      ten(0),
      listener,
      { type: "push", push: { upTo: 10 } },
    ],
    ["is empty without new events", sentTo(10), ten(10), listener, { type: "nothing" }],
    ["is empty for a page of another position", sentTo(8), ten(7), listener, { type: "nothing" }],
    ["is empty while a stream is open", sentTo(8), ten(8), { ...listener, streaming: true }, { type: "nothing" }],
    ["waits until its time", sentTo(8, { nextAtMs: NOW + 1 }), ten(8), listener, { type: "wait", untilMs: NOW + 1 }],
    ["goes at its time", sentTo(8, { nextAtMs: NOW }), ten(8), listener, { type: "push" }],
    [
      "does not wait after a backward clock step",
      sentTo(8, { nextAtMs: NOW + LIMITS.circuitOpenMs + 1 }),
      ten(8),
      listener,
      { type: "push" },
    ],
    ["skips the peer's own events", sentTo(8), ten(8), theirs, { type: "skipped", sent: sentTo(10) }],
    ["is limited in its number of events", sentTo(8), log(500)(8), listener, { type: "push", push: { upTo: 108 } }],
  ])("%s", (_what, given, answer, peer, want) => {
    expect(nextPush(given, answer, peer, NOW)).toMatchObject(want);
  });

  it("leaves out the peer's own events between others", () => {
    const mixed = page(["own", "bob's", "own two", "bob's two"], 0);
    expect(pushed(NOTHING_SENT, mixed)).toMatchObject({
      seqs: [1, 3],
      upTo: 4,
      body: { events: [{ ttl: 3 }, { ttl: 3 }] },
    });
  });

  it("fits the wire limits and fills them, for events of any size", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: Math.floor(LIMITS.eventBytes / 3) }), {
      minLength: 1,
      maxLength: 150,
      size: "max",
    });
    fc.assert(
      fc.property(sizes, (groups) => {
        const events = groups.map((each, i) => entry(`own${i}`, i + 1, "AAAA".repeat(each)));
        const answer = { events, next: events.length, head: events.length, checkpoint: page([], 0).checkpoint };
        const { body, upTo } = pushed(NOTHING_SENT, answer);
        expect(pushBody.safeParse(body).error).toBeUndefined();
        const bytes = JSON.stringify(body).length;
        expect(bytes).toBeLessThanOrEqual(LIMITS.federatedBodyBytes);
        const left = events[upTo];
        if (left && upTo < LIMITS.eventsPerPush) {
          expect(bytes + JSON.stringify({ event: left.event, ttl: 3 }).length + 1).toBeGreaterThan(
            LIMITS.federatedBodyBytes,
          );
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe("after a push", () => {
  const given = sentTo(4);
  const push = pushed(given, log(10)(4));
  const errors = (...each: [at: number, code: string][]) =>
    each.map(([at, code]) => ({ content_id: push.body.events[at - 5]?.event.content_id ?? "", code }));
  const answer = (changes: Partial<PushAnswer> = {}): PushAnswer => ({
    accepted: 6,
    duplicates: 0,
    rejected: 0,
    errors: [],
    receiver_hlc: { physical_us: 1, logical: 0 },
    receiver_head_seq: 9,
    ...changes,
  });
  const answered = (status: number, retryAfterSeconds: number | null = null): Outcome => ({
    type: "answered",
    status,
    retryAfterSeconds,
  });
  const unreachable: Outcome = { type: "unreachable" };

  it.each<[what: string, answer: PushAnswer, seq: number, nextAtMs: number]>([
    ["all accepted", answer(), 10, NOW],
    ["some refused", answer({ errors: errors([5, "events/forbidden"], [7, "events/invalid-signature"]) }), 10, NOW],
    ["all refused", answer({ accepted: 0, errors: errors([5, "events/unknown-origin"]) }), 10, NOW],
    [
      "one ahead of the peer's clock",
      answer({ errors: errors([7, "events/excessive-drift"]) }),
      6,
      NOW + LIMITS.eventStallMs,
    ],
    [
      "two of them: the first counts",
      answer({ errors: errors([9, "events/excessive-drift"], [5, "events/excessive-drift"]) }),
      4,
      NOW + LIMITS.eventStallMs,
    ],
    ["one that was not pushed", answer({ errors: [{ content_id: "else", code: "events/excessive-drift" }] }), 10, NOW],
  ])("%s", (_what, body, seq, nextAtMs) => {
    const sent = afterPush(
      { ...given, delivery: { tries: 4, deferrals: 4, nextAtMs: 0 } },
      push,
      body,
      answered(200),
      NOW,
      0.5,
    );
    expect(sent).toEqual(sentTo(seq, { nextAtMs }));
  });

  it.each<[what: string, tries: number, outcome: Outcome, wantTries: number, wantMs: number]>([
    ["no answer", 0, unreachable, 1, 2_500],
    ["no answer again", 1, unreachable, 2, 8_500],
    ["no answer several times", 7, unreachable, 8, LIMITS.circuitOpenMs],
    ["no answer more often than a delivery tries", 9, unreachable, 9, LIMITS.circuitOpenMs],
    ["endpoint not found", 0, answered(404), 9, LIMITS.circuitOpenMs],
    ["rate-limited", 0, answered(429, 7), 0, 7_000],
    ["an unreadable success", 0, { type: "garbled" }, 1, 2_500],
    ["refused as a whole", 0, answered(401), 1, 2_500],
  ])("the push waits and is not given up: %s", (_what, tries, outcome, wantTries, wantMs) => {
    const sent = afterPush(sentTo(4, { tries }), push, null, outcome, NOW, 0.5);
    expect(sent).toMatchObject({ logId: LOG, seq: 4, delivery: { tries: wantTries, nextAtMs: NOW + wantMs } });
  });

  it.each<[what: string, now: Sent, want: Sent]>([
    ["the peer has asked from a later number", sentTo(12), sentTo(12, { nextAtMs: NOW })],
    ["our log has a new name", { ...sentTo(1), logId: "02".repeat(16) }, { ...sentTo(1), logId: "02".repeat(16) }],
    ["nothing was stored", NOTHING_SENT, sentTo(10, { nextAtMs: NOW })],
  ])("the stored position counts, if meanwhile %s", (_what, now, want) => {
    expect(afterPush(now, push, answer(), answered(200), NOW, 0.5)).toEqual(want);
  });

  it("a peer that accepts everything but early events gets every event, with any pages and any lost answers", () => {
    const schedule = fc.infiniteStream(
      fc.record({ lost: fc.boolean(), early: fc.nat({ max: 30 }), ack: fc.nat({ max: 30 }) }),
    );
    fc.assert(
      fc.property(fc.nat({ max: 30 }), schedule, (count, rounds) => {
        const pages = log(count);
        const has = new Set<string>();
        let [sent, nowMs, round] = [NOTHING_SENT, NOW, 0];
        while (sent.seq < count) {
          const { lost, early, ack } = rounds.next().value;
          nowMs += LIMITS.circuitOpenMs;
          // From round 100 on, the peer answers and no event is early.
          const tame = ++round > 100;
          const push = pushed(sentForLog(sent, LOG), pages(sentForLog(sent, LOG).seq), nowMs);
          const wrong = tame ? [] : push.body.events.filter((_, i) => i === early);
          for (const { event } of push.body.events)
            if (!wrong.some((each) => each.event === event)) has.add(event.content_id);
          const errors = wrong.map(({ event }) => ({ content_id: event.content_id, code: "events/excessive-drift" }));
          const before = sent;
          sent = afterPush(sent, push, lost && !tame ? null : answer({ errors }), unreachable, nowMs, 0.5);
          expect(sent.seq).toBeGreaterThanOrEqual(before.seq);
          for (const { event, seq } of pages(0).events)
            if (seq <= sent.seq) expect(has.has(event.content_id)).toBe(true);
          if (ack <= sent.seq) sent = acknowledge(sent, { logId: LOG, head: count }, ack, NOW);
        }
        expect(has.size).toBe(count);
      }),
    );
  });
});
