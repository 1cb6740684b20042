import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  advance,
  type EventBatch,
  type Followed,
  NOTHING_FOLLOWED,
  receivePage,
  receiveStreamed,
} from "../../../edge/federation/sync/followed-log-rules.ts";
import type { EventRefusal, IncomingResult } from "../../../edge/federation/sync/incoming-rules.ts";
import { equivocation, GENESIS_CHAIN } from "../../../schema/crypto/signed-event.ts";
import { type PullAnswer, type PulledEvent, pullAnswer } from "../../../schema/wire/events.ts";
import {
  accepted,
  alicesLog,
  batchOf,
  bob,
  chainOf,
  checkpointOf,
  codeOf,
  entry,
  follow,
  hexOf,
  LOG,
  page,
  refused,
  sha256,
} from "./alices-log.ts";

const TEXTS = ["one", "two", "bob's", "four", "five"];
const atTwo = follow(NOTHING_FOLLOWED, page(TEXTS.slice(0, 2), 0));

describe("a page", () => {
  const ofFive = page(TEXTS, 2);
  const [third, fourth, fifth] = ofFive.events as [PulledEvent, PulledEvent, PulledEvent];
  const other = ["one", "two", "another"];
  it.each<[what: string, given: Followed, answer: PullAnswer, code: string, seq: number]>([
    ["the first page", NOTHING_FOLLOWED, page(TEXTS, 0), "ok", 5],
    ["the first page of an empty log", NOTHING_FOLLOWED, page([], 0), "ok", 0],
    ["the next page", atTwo, ofFive, "ok", 5],
    ["a page with some of the events", atTwo, page(TEXTS, 2, 1), "ok", 3],
    ["a page without new events", atTwo, page(TEXTS.slice(0, 2), 2), "ok", 2],
    ["a page that was handled before", atTwo, page(TEXTS, 0), "out-of-step", 2],
    ["a page that begins too far ahead", atTwo, page(TEXTS, 3), "out-of-step", 2],
    ["an empty page, the answer to an older pull", atTwo, page(["one"], 1), "out-of-step", 2],
    ["a page with a gap", atTwo, { ...ofFive, events: [third, fifth] }, "out-of-step", 2],
    ["a page that repeats an event", atTwo, { ...ofFive, events: [third, third] }, "out-of-step", 2],
    ["a page in another order", atTwo, { ...ofFive, events: [fourth, third, fifth] }, "out-of-step", 2],
    ["a page whose `next` is not its last event", atTwo, { ...ofFive, next: 4 }, "out-of-step", 2],
    ["a page whose head is not the head of its checkpoint", atTwo, { ...ofFive, head: 9 }, "malformed", 2],
    [
      "a page that goes beyond its head",
      atTwo,
      { ...ofFive, head: 4, checkpoint: checkpointOf(TEXTS.slice(0, 4)) },
      "malformed",
      2,
    ],
    [
      "a page with the checkpoint of another pool",
      atTwo,
      { ...ofFive, checkpoint: checkpointOf(TEXTS, LOG, { origin: bob }) },
      "malformed",
      2,
    ],
    [
      "a page with the checkpoint of another audience",
      atTwo,
      { ...ofFive, checkpoint: checkpointOf(TEXTS, LOG, { audience: "peers" }) },
      "malformed",
      2,
    ],
    [
      "a page of a log that lost its last events",
      follow(NOTHING_FOLLOWED, page(TEXTS, 0, 2)),
      page(TEXTS.slice(0, 3), 2),
      "rolled-back",
      2,
    ],
    [
      "a page that does not agree with its checkpoint",
      atTwo,
      { ...ofFive, events: [third, fifth, fourth].map((each, i) => ({ ...each, seq: i + 3 })) },
      "chain-mismatch",
      2,
    ],
    [
      "a page that does not agree with an earlier checkpoint",
      follow(NOTHING_FOLLOWED, page(TEXTS.slice(0, 3), 0, 2)),
      page([...other, "four", "five"], 2),
      "chain-mismatch",
      0,
    ],
    ["a page whose checkpoint contradicts our position", atTwo, { ...page(["one", "else"], 2) }, "equivocation", 2],
    ["a page of a renamed log, after the beginning", atTwo, page(TEXTS, 2, 500, "02".repeat(16)), "new-log", 0],
    [
      "a page of a shorter log with another name",
      follow(atTwo, ofFive),
      page(["one"], 5, 500, "02".repeat(16)),
      "new-log",
      0,
    ],
    ["a page of a log that lost events that we have", follow(atTwo, ofFive), page(["one"], 5), "rolled-back", 5],
    ["a page of an empty log with another name", atTwo, page([], 0, 500, "02".repeat(16)), "ok", 0],
  ])("%s", (_what, given, answer, code, seq) => {
    const step = receivePage(given, alicesLog, answer, sha256);
    expect(codeOf(step)).toBe(code);
    expect(follow(given, answer).cursor.seq).toBe(seq);
  });

  it("of a log with another name rewinds the cursor to the beginning, and its chain is checked again", () => {
    const renamed = "02".repeat(16);
    const begun = follow(atTwo, page(TEXTS, 2, 500, renamed));
    expect(begun).toMatchObject({ logId: renamed, cursor: { seq: 0, chain: GENESIS_CHAIN }, verified: null });
    const all = follow(begun, page(TEXTS, 0, 500, renamed));
    expect(all).toMatchObject({ cursor: { seq: 5, chain: chainOf(TEXTS) }, verified: checkpointOf(TEXTS, renamed) });
  });

  it("moves the cursor back to the last verified position, and forward again when the chain agrees", () => {
    const forgedAhead = advance(atTwo, batchOf(atTwo, [entry("forged", 3)]), accepted(1)).followed;
    expect(forgedAhead.cursor.seq).toBe(3);
    const back = follow(forgedAhead, page(TEXTS, 3));
    expect(back).toMatchObject({ cursor: { seq: 2, chain: chainOf(TEXTS.slice(0, 2)) } });
    expect(follow(forgedAhead, page(TEXTS.slice(0, 3), 3)).cursor.seq).toBe(2);
    expect(follow(back, page(TEXTS, 2)).verified).toEqual(checkpointOf(TEXTS));
  });
});

describe("events from a stream", () => {
  it.each<[what: string, events: PulledEvent[], code: string]>([
    ["the next page", [entry("bob's", 3)], "ok"],
    ["the next two events", [entry("bob's", 3), entry("four", 4)], "ok"],
    ["an event that was handled before", [entry("two", 2)], "out-of-step"],
    ["an event too far ahead", [entry("four", 4)], "out-of-step"],
  ])("%s", (_what, events, code) => {
    expect(codeOf(receiveStreamed(atTwo, alicesLog, events, sha256))).toBe(code);
  });

  it("are compared with the newest checkpoint of a page", () => {
    const given = follow(NOTHING_FOLLOWED, page(TEXTS.slice(0, 3), 0, 2));
    expect(codeOf(receiveStreamed(given, alicesLog, [entry("bob's", 3)], sha256))).toBe("ok");
    expect(codeOf(receiveStreamed(given, alicesLog, [entry("forged", 3)], sha256))).toBe("chain-mismatch");
  });
});

describe("the cursor moves", () => {
  const HERE: IncomingResult = { ok: true, content_id: "", outcome: "duplicate" };
  const HELD: IncomingResult = { ok: true, content_id: "", outcome: "held" };
  const DRIFT = refused("events/excessive-drift");
  it.each<[what: string, results: IncomingResult[], seq: number, stalled: boolean]>([
    ["over accepted events", accepted(5), 5, false],
    ["over duplicates", [HERE, HERE, HERE, HERE, HERE], 5, false],
    ["over held events", [HELD, HELD, HELD, HELD, HELD], 5, false],
    ["up to the first event that is ahead of our clock", [HERE, DRIFT, HERE, HERE, HERE], 1, true],
    ["not at all, if that is the first event", [DRIFT, HERE, HERE, HERE, HERE], 0, true],
    ["over an invalid signature", [HERE, refused("events/invalid-signature"), HERE, HERE, HERE], 5, false],
    ["over a wrong content id", [HERE, refused("events/content-hash-mismatch"), HERE, HERE, HERE], 5, false],
    ["over a malformed event", [HERE, refused("events/malformed"), HERE, HERE, HERE], 5, false],
    ["over a forbidden event", [HERE, refused("events/forbidden"), HERE, HERE, HERE], 5, false],
    [
      "over an event of another origin that we do not trust",
      [HERE, HERE, refused("events/unknown-origin"), HERE, HERE],
      5,
      false,
    ],
    [
      "not over the peer's own event after our trust has ended",
      [HERE, refused("events/unknown-origin"), HERE, HERE, HERE],
      1,
      true,
    ],
    ["only as far as there are results", accepted(3), 3, true],
  ])("%s", (_what, results, seq, stalled) => {
    const step = receivePage(NOTHING_FOLLOWED, alicesLog, page(TEXTS, 0), sha256);
    if (!step.ok) expect.fail(step.code);
    const after = advance(step.followed, step.batch, results);
    expect(after).toMatchObject({ stalled, followed: { cursor: { seq, chain: chainOf(TEXTS.slice(0, seq)) } } });
    expect(after.followed.verified).toEqual(seq === 5 ? checkpointOf(TEXTS) : null);
  });

  const renamed = "02".repeat(16);
  const atOne = follow(NOTHING_FOLLOWED, page(TEXTS, 0, 1));
  const [second, third] = [entry("two", 2), entry("bob's", 3)];
  it.each<[what: string, batch: EventBatch, now: Followed]>([
    ["another page was faster", batchOf(atOne, [second]), atTwo],
    [
      "another page was faster, with another chain",
      batchOf({ ...NOTHING_FOLLOWED, logId: LOG, cursor: { seq: 2, chain: hexOf("else") } }, [third]),
      atTwo,
    ],
    ["the log has another name", batchOf(atTwo, [third]), follow(atTwo, page(TEXTS, 2, 500, renamed))],
    [
      "the log has another name, and nothing is followed yet",
      batchOf(follow(NOTHING_FOLLOWED, page([], 0)), [entry("one", 1)]),
      follow(NOTHING_FOLLOWED, page([], 0, 500, renamed)),
    ],
    ["the peer has shown two histories", batchOf(atTwo, [third]), follow(atTwo, page(["one", "else"], 2))],
    ["our admin has reset the cursor", batchOf(atTwo, [third]), NOTHING_FOLLOWED],
  ])("not at all, if meanwhile %s", (_what, batch, now) => {
    expect(advance(now, batch, accepted(batch.steps.length))).toEqual({ followed: now, stalled: false });
  });

  it("to a position that a checkpoint contradicts, but does not verify it", () => {
    const withCheckpoint = follow(atTwo, { ...page(TEXTS.slice(0, 3), 2, 0) });
    expect(withCheckpoint.newest?.checkpoint.seq).toBe(3);
    const { followed } = advance(withCheckpoint, batchOf(atTwo, [entry("forged", 3)]), accepted(1));
    expect(followed).toMatchObject({ cursor: { seq: 3 }, verified: atTwo.verified });
    expect(codeOf(receiveStreamed(followed, alicesLog, [], sha256))).toBe("chain-mismatch");
  });
});

describe("two histories", () => {
  const [x, y] = [
    ["one", "two", "x"],
    ["one", "two", "y"],
  ] as const;
  const both = (first: readonly string[], second: readonly string[]) =>
    follow(follow(atTwo, page(first, 2)), page(second, 2));
  it.each<[what: string, followed: Followed]>([
    ["one after the other", both(x, y)],
    ["in the other order", both(y, x)],
    ["the first in a refused page", follow(follow(atTwo, page(x, 1)), page(y, 2))],
    [
      "the first with events that do not agree with it",
      follow(follow(atTwo, { ...page(y, 2), checkpoint: checkpointOf(x) }), page(y, 2)),
    ],
    ["of the position of our cursor", follow(follow(NOTHING_FOLLOWED, page(x, 0)), page(y, 0))],
  ])("are proved by their checkpoints: %s", (_what, followed) => {
    const proof = followed.equivocation ?? expect.fail("no proof");
    expect(equivocation(proof[0].checkpoint, proof[1].checkpoint)).toBe(true);
    expect(codeOf(receivePage(followed, alicesLog, page(x, followed.cursor.seq), sha256))).toBe("equivocation");
    expect(codeOf(receiveStreamed(followed, alicesLog, [], sha256))).toBe("equivocation");
    expect(codeOf(receivePage(followed, alicesLog, page(x, 0, 500, "02".repeat(16)), sha256))).toBe("equivocation");
  });
});

const texts = fc.uniqueArray(fc.stringMatching(/^(bob|own)[a-z]{1,3}$/), { maxLength: 24 });
const limits = fc.infiniteStream(fc.integer({ min: 1, max: 6 }));

/** How our log answers an event: a number of temporary refusals, then always the same. */
interface Fate {
  before: EventRefusal;
  times: number;
  lastly: "taken" | "refused";
}
const TEMPORARY: EventRefusal[] = ["events/excessive-drift", "events/unknown-origin"];
const FOR_EVER: EventRefusal[] = [
  "events/invalid-signature",
  "events/content-hash-mismatch",
  "events/malformed",
  "events/forbidden",
];

describe("for any log", () => {
  it("the cursor passes no event that would be accepted later, and reaches the end", () => {
    const fate: fc.Arbitrary<Fate> = fc.record({
      before: fc.constantFrom(...TEMPORARY),
      times: fc.nat({ max: 3 }),
      lastly: fc.constantFrom("taken", "refused"),
    });
    const streamed = fc.infiniteStream(fc.boolean());
    fc.assert(
      fc.property(
        texts,
        fc.array(fate, { minLength: 24, maxLength: 24 }),
        limits,
        streamed,
        (log, fates, limit, viaStream) => {
          let followed = NOTHING_FOLLOWED;
          const left = fates.map((each) => each.times);
          const taken = new Set<number>();
          const resultOf = (seq: number): IncomingResult => {
            const its = fates[seq - 1] as Fate;
            // Unknown origin is temporary for the peer's own events only.
            const before = log[seq - 1]?.startsWith("bob") ? "events/excessive-drift" : its.before;
            if ((left[seq - 1] ?? 0) > 0) {
              left[seq - 1] = (left[seq - 1] ?? 0) - 1;
              return refused(before);
            }
            if (its.lastly === "refused") return refused(FOR_EVER[seq % FOR_EVER.length] ?? "events/malformed");
            taken.add(seq);
            return accepted(1)[0] as IncomingResult;
          };
          for (let round = 0; round < 200 && (round === 0 || followed.cursor.seq < log.length); round++) {
            const since = followed.cursor.seq;
            const answer = page(log, since, limit.next().value);
            const step =
              followed.logId !== null && viaStream.next().value
                ? receiveStreamed(followed, alicesLog, answer.events, sha256)
                : receivePage(followed, alicesLog, answer, sha256);
            if (!step.ok) expect.fail(step.code);
            const results = answer.events.map(({ seq }) => resultOf(seq));
            const after = advance(step.followed, step.batch, results);
            for (let seq = since + 1; seq <= after.followed.cursor.seq; seq++) {
              expect(taken.has(seq) || fates[seq - 1]?.lastly === "refused").toBe(true);
              expect(left[seq - 1]).toBe(0);
            }
            expect(after.stalled).toBe(after.followed.cursor.seq < answer.next);
            followed = after.followed;
          }
          expect(followed.cursor).toEqual({ seq: log.length, chain: chainOf(log) });
          const closed = follow(followed, page(log, log.length));
          expect(closed.verified).toEqual(checkpointOf(log));
        },
      ),
    );
  });

  it("a repeated page changes nothing", () => {
    fc.assert(
      fc.property(texts, limits, (log, limit) => {
        let followed = NOTHING_FOLLOWED;
        do {
          const answer = page(log, followed.cursor.seq, limit.next().value);
          followed = follow(followed, answer);
          const again = receivePage(followed, alicesLog, answer, sha256);
          expect(again.followed).toEqual(followed);
          if (answer.events.length > 0) expect(codeOf(again)).toBe("out-of-step");
        } while (followed.cursor.seq < log.length);
      }),
    );
  });

  it("changed, missing, added or swapped events are detected at the next checkpoint, and following recovers", () => {
    const tampering = fc.record({ at: fc.nat(), with: fc.constantFrom("change", "drop", "add", "swap") });
    fc.assert(
      fc.property(texts, tampering, limits, fc.boolean(), (log, how, limit, viaStream) => {
        fc.pre(log.length >= 2);
        const at = how.at % (log.length - 1);
        const lie = [...log];
        if (how.with === "change") lie[at] = "own-forged";
        if (how.with === "drop") lie.splice(at, 1);
        if (how.with === "add") lie.splice(at, 0, "own-added");
        if (how.with === "swap") [lie[at], lie[at + 1]] = [log[at + 1] as string, log[at] as string];
        // The head and its checkpoint are the true ones.
        const streamedFrom = (since: number) => {
          const events = page(lie, since, limit.next().value).events.filter(({ seq }) => seq <= log.length);
          return { ...page(log, log.length), events, next: since + events.length };
        };
        let followed = follow(NOTHING_FOLLOWED, page(log, 0, at === 0 ? 1 : at));
        const honest = followed.cursor.seq;
        let code = "ok";
        while (code === "ok" && followed.cursor.seq < log.length) {
          const answer = streamedFrom(followed.cursor.seq);
          if (answer.events.length === 0) break;
          const step = viaStream
            ? receiveStreamed(followed, alicesLog, answer.events, sha256)
            : receivePage(followed, alicesLog, answer, sha256);
          code = codeOf(step);
          followed = step.ok
            ? advance(step.followed, step.batch, accepted(answer.events.length)).followed
            : step.followed;
        }
        if (at >= honest) {
          expect(followed.verified).not.toEqual(checkpointOf(log));
          expect(code).toBe(how.with === "drop" ? "ok" : "chain-mismatch");
        }
        for (let round = 0; round < 60 && followed.verified?.checkpoint.seq !== log.length; round++) {
          followed = follow(followed, page(log, followed.cursor.seq));
        }
        expect(followed).toMatchObject({
          cursor: { seq: log.length, chain: chainOf(log) },
          verified: checkpointOf(log),
        });
      }),
    );
  });

  it("of two histories in any order, at most one is verified, and a peer that shows both is caught", () => {
    const forks = fc.record({
      common: texts,
      x: fc.array(fc.constantFrom("own-x", "bob-x"), { minLength: 1, maxLength: 8 }),
      y: fc.array(fc.constantFrom("own-y", "bob-y"), { minLength: 1, maxLength: 8 }),
    });
    const anyPages = fc.array(
      fc.record({ fork: fc.constantFrom("x", "y"), head: fc.nat(), limit: fc.integer({ min: 1, max: 9 }) }),
      {
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(forks, anyPages, ({ common, x, y }, pages) => {
        const stories = { x: [...common, ...x.map((t, i) => t + i)], y: [...common, ...y.map((t, i) => t + i)] };
        const whole = {
          x: stories.x.map((_, i) => chainOf(stories.x.slice(0, i + 1))),
          y: stories.y.map((_, i) => chainOf(stories.y.slice(0, i + 1))),
        };
        let followed = NOTHING_FOLLOWED;
        const believed = new Set<string>();
        for (const { fork, head, limit } of pages) {
          const story = stories[fork as "x" | "y"].slice(0, head % (stories[fork as "x" | "y"].length + 1));
          const before = followed;
          const answer = page(story, Math.min(followed.cursor.seq, story.length), limit);
          followed = follow(followed, answer);
          const { verified, newest } = before;
          const caught = [verified, newest].some(
            (each) => each && equivocation(each.checkpoint, answer.checkpoint.checkpoint),
          );
          expect(followed.equivocation !== null).toBe(before.equivocation !== null || caught);
          if (followed.verified && followed.verified.checkpoint.seq > common.length) {
            believed.add(whole.x.includes(followed.verified.checkpoint.chain) ? "x" : "y");
          }
        }
        expect(believed.size).toBeLessThanOrEqual(1);
      }),
    );
  });
});

it("a page fits the wire limits", () => {
  expect(pullAnswer.safeParse(page(TEXTS, 0)).error).toBeUndefined();
  expect(pullAnswer.safeParse({ ...page(TEXTS, 0), events: Array(501).fill(entry("one", 1)) }).success).toBe(false);
});
