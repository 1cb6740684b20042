import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Outcome } from "../../../edge/federation/delivery/delivery-machine.ts";
import type { PeerTrust } from "../../../edge/federation/peering/trust-rules.ts";
import { recordRefusal } from "../../../edge/federation/sync/follow-refusal-rules.ts";
import {
  advance,
  type EventBatch,
  type Followed,
  type FollowStep,
  NOTHING_FOLLOWED,
  receivePage,
  receiveStreamed,
  type Source,
} from "../../../edge/federation/sync/followed-log-rules.ts";
import { answerPush, type EventRefusal, type IncomingResult } from "../../../edge/federation/sync/incoming-rules.ts";
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
import { mayFollow, originRefusal } from "../../../edge/federation/sync/sync-trust-rules.ts";
import { equivocation, GENESIS_CHAIN, nextChain } from "../../../schema/crypto/signed-event.ts";
import {
  type PeerAudience,
  type PullAnswer,
  type PulledEvent,
  type PushAnswer,
  pullAnswer,
  pushAnswer,
  pushBody,
  type SignedCheckpoint,
  type Visibility,
} from "../../../schema/wire/events.ts";
import type { GrantableLevel, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = 1_776_358_800_000;
const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
const hexOf = (text: string) => createHash("sha256").update(text).digest("hex");
const [alice, bob, us] = ["a1".repeat(32), "b0".repeat(32), "0f".repeat(32)];
const source: Source = { atomId: alice, publicKey: "a2".repeat(32), audience: "public" };

// ---- Alice's log, as she tells it

const LOG = "01".repeat(16);

/** A log is the texts of its events; a text that begins with "bob" is of Bob's. */
function entry(text: string, seq: number, bytes = "AAAA"): PulledEvent {
  const origin_pubkey = text.startsWith("bob") ? "b1".repeat(32) : source.publicKey;
  return {
    seq,
    event: { event_bytes: bytes, origin_pubkey, signature: "00".repeat(64), content_id: hexOf(text) },
    ttl: 3,
  };
}
const chainOf = (texts: readonly string[]) =>
  texts.reduce((chain, text) => nextChain(chain, hexOf(text), sha256), GENESIS_CHAIN);

function said(texts: readonly string[], log_id = LOG, changes: Partial<SignedCheckpoint["checkpoint"]> = {}) {
  const checkpoint = {
    v: 1 as const,
    type: "checkpoint" as const,
    origin: alice,
    log_id,
    audience: "public" as const,
    seq: texts.length,
    chain: chainOf(texts),
    hlc: { physical_us: texts.length, logical: 0, node_id: "a2".repeat(8) },
    ...changes,
  };
  return { checkpoint, origin_pubkey: source.publicKey, signature: "00".repeat(64) } satisfies SignedCheckpoint;
}

function page(texts: readonly string[], since: number, limit = 500, logId = LOG): PullAnswer {
  const events = texts.map((text, i) => entry(text, i + 1)).slice(since, since + limit);
  return { events, next: since + events.length, head: texts.length, checkpoint: said(texts, logId) };
}

const fine = (count: number): IncomingResult[] =>
  Array.from({ length: count }, () => ({ ok: true, content_id: "", outcome: "accepted" }));
const refused = (code: EventRefusal): IncomingResult => ({ ok: false, content_id: "", code });

/** A page whose events are all taken. */
function follow(given: Followed, answer: PullAnswer, arrivals = fine(answer.events.length)): Followed {
  const step = receivePage(given, source, answer, sha256);
  return step.ok ? advance(step.followed, step.batch, arrivals).followed : step.followed;
}
function stretchOf(given: Followed, streamed: PulledEvent[]): EventBatch {
  const step = receiveStreamed(given, source, streamed, sha256);
  return step.ok ? step.batch : expect.fail(step.code);
}
const codeOf = (step: FollowStep) => (step.ok ? "ok" : step.code);

// ---- who listens to whom

const trust = (granted: GrantableLevel, received: TrustLevel, changes: Partial<PeerTrust> = {}): PeerTrust => ({
  granted,
  received,
  receivedAt: null,
  decided: null,
  addedByAdmin: false,
  addedAtMs: NOW,
  revokedAtMs: null,
  removedAtMs: null,
  ...changes,
});

describe("whom we follow", () => {
  const policy = { min_auth_tier: "device-bound" } as const;
  it.each<[granted: GrantableLevel, byReceived: string[]]>([
    //    received: 0, 1, 2, 3, 4
    [0, ["", "", "", "", ""]],
    [1, ["", "", "", "", ""]],
    [2, ["", "", "public", "public", "public"]],
    [3, ["", "", "public", "public,peers", "public,peers"]],
  ])("granted %i", (granted, byReceived) => {
    const audiences: PeerAudience[] = ["public", "peers"];
    const levels: TrustLevel[] = [0, 1, 2, 3, 4];
    const followed = (received: TrustLevel) =>
      audiences.filter((audience) => mayFollow(audience, trust(granted, received), policy)).join();
    expect(levels.map(followed)).toEqual(byReceived);
  });

  it.each<[what: string, peer: PeerTrust | null, tier: "device-bound" | "hardware-attested"]>([
    ["a stranger", null, "device-bound"],
    ["a removed peer", trust(3, 3, { removedAtMs: NOW }), "device-bound"],
    ["one of too weak a tier", trust(3, 3), "hardware-attested"],
  ])("not %s", (_what, peer, min_auth_tier) => expect(mayFollow("public", peer, { min_auth_tier })).toBe(false));
});

const HEARD = null;
const UNKNOWN = "events/unknown-origin";
it.each<[visibility: Visibility, origin: string, ofOrigin: TrustLevel, ofAlice: TrustLevel, want: string | null]>([
  ["public", alice, 2, 2, HEARD],
  ["public", alice, 1, 1, UNKNOWN],
  ["public", bob, 2, 2, HEARD],
  ["public", bob, 1, 3, UNKNOWN],
  ["public", bob, 3, 1, UNKNOWN],
  ["peers", alice, 3, 3, HEARD],
  ["peers", alice, 2, 2, UNKNOWN],
  ["direct", alice, 2, 2, HEARD],
  ["direct", alice, 1, 1, UNKNOWN],
  ["direct", bob, 3, 1, UNKNOWN],
  // What the log has to say of these is for it to say: duplicates, or forbidden.
  ["public", us, 0, 2, HEARD],
  ["private", alice, 0, 0, HEARD],
])("%s, by %s at trust %i, brought by Alice at %i", (visibility, origin, ofOrigin, ofAlice, want) => {
  const trustOf = (id: string) => (id === alice ? ofAlice : ofOrigin);
  const event = { origin, visibility, type: "overview", payload: { peer: us } };
  expect(originRefusal(event, { from: alice, self: us }, trustOf)).toBe(want);
});

it.each<[what: string, changes: object, want: string | null]>([
  ["a grant", {}, HEARD],
  ["a grant of a level that is none", { payload: { peer: us, level: 5 } }, UNKNOWN],
  ["a grant with something beside it", { payload: { peer: us, level: 3, text: "…" } }, UNKNOWN],
  ["a grant to all peers", { visibility: "peers" }, UNKNOWN],
  ["anything else", { type: "overview" }, UNKNOWN],
])("below trust 2 %s is heard or not", (_what, changes, want) => {
  const visibility: Visibility = "direct";
  const event = { origin: alice, visibility, type: "trust_granted", payload: { peer: us, level: 3 }, ...changes };
  expect(originRefusal(event, { from: alice, self: us }, () => 0)).toBe(want);
});

// ---- following

const TEXTS = ["one", "two", "bob's", "four", "five"];
const atTwo = follow(NOTHING_FOLLOWED, page(TEXTS.slice(0, 2), 0));

describe("a page", () => {
  const ofFive = page(TEXTS, 2);
  const [third, fourth, fifth] = ofFive.events as [PulledEvent, PulledEvent, PulledEvent];
  const other = ["one", "two", "another"];
  it.each<[what: string, given: Followed, answer: PullAnswer, code: string, seq: number]>([
    ["the first ever", NOTHING_FOLLOWED, page(TEXTS, 0), "ok", 5],
    ["the first ever, of an empty log", NOTHING_FOLLOWED, page([], 0), "ok", 0],
    ["the next", atTwo, ofFive, "ok", 5],
    ["of some", atTwo, page(TEXTS, 2, 1), "ok", 3],
    ["without anything new", atTwo, page(TEXTS.slice(0, 2), 2), "ok", 2],
    ["seen before", atTwo, page(TEXTS, 0), "out-of-step", 2],
    ["of farther on", atTwo, page(TEXTS, 3), "out-of-step", 2],
    ["empty, of an older question", atTwo, page(["one"], 1), "out-of-step", 2],
    ["with a gap", atTwo, { ...ofFive, events: [third, fifth] }, "out-of-step", 2],
    ["with a repeat", atTwo, { ...ofFive, events: [third, third] }, "out-of-step", 2],
    ["in another order", atTwo, { ...ofFive, events: [fourth, third, fifth] }, "out-of-step", 2],
    ["whose next is not its last", atTwo, { ...ofFive, next: 4 }, "out-of-step", 2],
    ["whose head is not its checkpoint's", atTwo, { ...ofFive, head: 9 }, "malformed", 2],
    ["that leads beyond its head", atTwo, { ...ofFive, head: 4, checkpoint: said(TEXTS.slice(0, 4)) }, "malformed", 2],
    [
      "with another pool's checkpoint",
      atTwo,
      { ...ofFive, checkpoint: said(TEXTS, LOG, { origin: bob }) },
      "malformed",
      2,
    ],
    [
      "with another audience's checkpoint",
      atTwo,
      { ...ofFive, checkpoint: said(TEXTS, LOG, { audience: "peers" }) },
      "malformed",
      2,
    ],
    [
      "of a log that lost its end",
      follow(NOTHING_FOLLOWED, page(TEXTS, 0, 2)),
      page(TEXTS.slice(0, 3), 2),
      "rolled-back",
      2,
    ],
    [
      "that does not lead to its checkpoint",
      atTwo,
      { ...ofFive, events: [third, fifth, fourth].map((each, i) => ({ ...each, seq: i + 3 })) },
      "chain-mismatch",
      2,
    ],
    [
      "that does not lead to an earlier checkpoint",
      follow(NOTHING_FOLLOWED, page(TEXTS.slice(0, 3), 0, 2)),
      page([...other, "four", "five"], 2),
      "chain-mismatch",
      0,
    ],
    ["that says another thing of where we stand", atTwo, { ...page(["one", "else"], 2) }, "equivocation", 2],
    ["of a log with another name, farther on", atTwo, page(TEXTS, 2, 500, "02".repeat(16)), "new-log", 0],
    ["of a shorter log with another name", follow(atTwo, ofFive), page(["one"], 5, 500, "02".repeat(16)), "new-log", 0],
    ["of a log that lost what we followed", follow(atTwo, ofFive), page(["one"], 5), "rolled-back", 5],
    ["of an empty log with another name", atTwo, page([], 0, 500, "02".repeat(16)), "ok", 0],
  ])("%s", (_what, given, answer, code, seq) => {
    const step = receivePage(given, source, answer, sha256);
    expect(codeOf(step)).toBe(code);
    expect(follow(given, answer).cursor.seq).toBe(seq);
  });

  it("of a log with another name is followed from its beginning, and chains are checked again", () => {
    const renamed = "02".repeat(16);
    const begun = follow(atTwo, page(TEXTS, 2, 500, renamed));
    expect(begun).toMatchObject({ logId: renamed, cursor: { seq: 0, chain: GENESIS_CHAIN }, verified: null });
    const all = follow(begun, page(TEXTS, 0, 500, renamed));
    expect(all).toMatchObject({ cursor: { seq: 5, chain: chainOf(TEXTS) }, verified: said(TEXTS, renamed) });
  });

  it("leads back to the last place that held, and on from there when it holds again", () => {
    const astray = advance(atTwo, stretchOf(atTwo, [entry("forged", 3)]), fine(1)).followed;
    expect(astray.cursor.seq).toBe(3);
    const back = follow(astray, page(TEXTS, 3));
    expect(back).toMatchObject({ cursor: { seq: 2, chain: chainOf(TEXTS.slice(0, 2)) } });
    expect(follow(astray, page(TEXTS.slice(0, 3), 3)).cursor.seq).toBe(2);
    expect(follow(back, page(TEXTS, 2)).verified).toEqual(said(TEXTS));
  });
});

describe("what a stream brings", () => {
  it.each<[what: string, events: PulledEvent[], code: string]>([
    ["the next", [entry("bob's", 3)], "ok"],
    ["the next ones", [entry("bob's", 3), entry("four", 4)], "ok"],
    ["one seen before", [entry("two", 2)], "out-of-step"],
    ["one too far", [entry("four", 4)], "out-of-step"],
  ])("%s", (_what, events, code) => {
    expect(codeOf(receiveStreamed(atTwo, source, events, sha256))).toBe(code);
  });

  it("is held against the checkpoint that a page has left", () => {
    const given = follow(NOTHING_FOLLOWED, page(TEXTS.slice(0, 3), 0, 2));
    expect(codeOf(receiveStreamed(given, source, [entry("bob's", 3)], sha256))).toBe("ok");
    expect(codeOf(receiveStreamed(given, source, [entry("forged", 3)], sha256))).toBe("chain-mismatch");
  });
});

describe("how far the cursor goes", () => {
  const HERE: IncomingResult = { ok: true, content_id: "", outcome: "duplicate" };
  const HELD: IncomingResult = { ok: true, content_id: "", outcome: "held" };
  const DRIFT = refused("events/excessive-drift");
  it.each<[what: string, arrivals: IncomingResult[], seq: number, stalled: boolean]>([
    ["over what was taken", fine(5), 5, false],
    ["over what is here", [HERE, HERE, HERE, HERE, HERE], 5, false],
    ["over what waits for our clock", [HELD, HELD, HELD, HELD, HELD], 5, false],
    ["to the first that is too early", [HERE, DRIFT, HERE, HERE, HERE], 1, true],
    ["nowhere, if that is the first", [DRIFT, HERE, HERE, HERE, HERE], 0, true],
    ["over a bad signature", [HERE, refused("events/invalid-signature"), HERE, HERE, HERE], 5, false],
    ["over another hash", [HERE, refused("events/content-hash-mismatch"), HERE, HERE, HERE], 5, false],
    ["over what is no event", [HERE, refused("events/malformed"), HERE, HERE, HERE], 5, false],
    ["over what may not come", [HERE, refused("events/forbidden"), HERE, HERE, HERE], 5, false],
    ["over another's whom we do not trust", [HERE, HERE, refused("events/unknown-origin"), HERE, HERE], 5, false],
    [
      "not over the peer's own once we do not trust it",
      [HERE, refused("events/unknown-origin"), HERE, HERE, HERE],
      1,
      true,
    ],
    ["as far as there are answers", fine(3), 3, true],
  ])("%s", (_what, arrivals, seq, stalled) => {
    const step = receivePage(NOTHING_FOLLOWED, source, page(TEXTS, 0), sha256);
    if (!step.ok) expect.fail(step.code);
    const after = advance(step.followed, step.batch, arrivals);
    expect(after).toMatchObject({ stalled, followed: { cursor: { seq, chain: chainOf(TEXTS.slice(0, seq)) } } });
    expect(after.followed.verified).toEqual(seq === 5 ? said(TEXTS) : null);
  });

  const renamed = "02".repeat(16);
  const atOne = follow(NOTHING_FOLLOWED, page(TEXTS, 0, 1));
  const [second, third] = [entry("two", 2), entry("bob's", 3)];
  it.each<[what: string, stretch: EventBatch, now: Followed]>([
    ["another page was first", stretchOf(atOne, [second]), atTwo],
    [
      "another page was first and led elsewhere",
      stretchOf({ ...NOTHING_FOLLOWED, logId: LOG, cursor: { seq: 2, chain: hexOf("else") } }, [third]),
      atTwo,
    ],
    ["the log has another name", stretchOf(atTwo, [third]), follow(atTwo, page(TEXTS, 2, 500, renamed))],
    [
      "the log has another name, and nothing is followed yet",
      stretchOf(follow(NOTHING_FOLLOWED, page([], 0)), [entry("one", 1)]),
      follow(NOTHING_FOLLOWED, page([], 0, 500, renamed)),
    ],
    ["the peer has told two stories", stretchOf(atTwo, [third]), follow(atTwo, page(["one", "else"], 2))],
    ["our admin had it begin anew", stretchOf(atTwo, [third]), NOTHING_FOLLOWED],
  ])("nowhere when meanwhile %s", (_what, stretch, now) => {
    expect(advance(now, stretch, fine(stretch.steps.length))).toEqual({ followed: now, stalled: false });
  });

  it("to a place that a checkpoint contradicts, unverified", () => {
    const told = follow(atTwo, { ...page(TEXTS.slice(0, 3), 2, 0) });
    expect(told.newest?.checkpoint.seq).toBe(3);
    const { followed } = advance(told, stretchOf(atTwo, [entry("forged", 3)]), fine(1));
    expect(followed).toMatchObject({ cursor: { seq: 3 }, verified: atTwo.verified });
    expect(codeOf(receiveStreamed(followed, source, [], sha256))).toBe("chain-mismatch");
  });
});

describe("two stories", () => {
  const [x, y] = [
    ["one", "two", "x"],
    ["one", "two", "y"],
  ] as const;
  const both = (first: readonly string[], second: readonly string[]) =>
    follow(follow(atTwo, page(first, 2)), page(second, 2));
  it.each<[what: string, followed: Followed]>([
    ["one after the other", both(x, y)],
    ["the other way around", both(y, x)],
    ["the first in a page that is refused", follow(follow(atTwo, page(x, 1)), page(y, 2))],
    [
      "the first with events that do not lead there",
      follow(follow(atTwo, { ...page(y, 2), checkpoint: said(x) }), page(y, 2)),
    ],
    ["of a place where we stood", follow(follow(NOTHING_FOLLOWED, page(x, 0)), page(y, 0))],
  ])("are proved: %s", (_what, followed) => {
    const proof = followed.equivocation ?? expect.fail("no proof");
    expect(equivocation(proof[0].checkpoint, proof[1].checkpoint)).toBe(true);
    expect(codeOf(receivePage(followed, source, page(x, followed.cursor.seq), sha256))).toBe("equivocation");
    expect(codeOf(receiveStreamed(followed, source, [], sha256))).toBe("equivocation");
    expect(codeOf(receivePage(followed, source, page(x, 0, 500, "02".repeat(16)), sha256))).toBe("equivocation");
  });
});

// ---- any history of following

const texts = fc.uniqueArray(fc.stringMatching(/^(bob|own)[a-z]{1,3}$/), { maxLength: 24 });
const limits = fc.infiniteStream(fc.integer({ min: 1, max: 6 }));

/** What the log answers to an event: so many times one thing, then another for ever. */
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

describe("whatever a log says", () => {
  it("the cursor passes no event that is accepted later, and gets to the end", () => {
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
          const arrivalOf = (seq: number): IncomingResult => {
            const its = fates[seq - 1] as Fate;
            // Only of the peer's own does it mean that it may come again.
            const before = log[seq - 1]?.startsWith("bob") ? "events/excessive-drift" : its.before;
            if ((left[seq - 1] ?? 0) > 0) {
              left[seq - 1] = (left[seq - 1] ?? 0) - 1;
              return refused(before);
            }
            if (its.lastly === "refused") return refused(FOR_EVER[seq % FOR_EVER.length] ?? "events/malformed");
            taken.add(seq);
            return fine(1)[0] as IncomingResult;
          };
          for (let round = 0; round < 200 && (round === 0 || followed.cursor.seq < log.length); round++) {
            const since = followed.cursor.seq;
            const answer = page(log, since, limit.next().value);
            const step =
              followed.logId !== null && viaStream.next().value
                ? receiveStreamed(followed, source, answer.events, sha256)
                : receivePage(followed, source, answer, sha256);
            if (!step.ok) expect.fail(step.code);
            const arrivals = answer.events.map(({ seq }) => arrivalOf(seq));
            const after = advance(step.followed, step.batch, arrivals);
            for (let seq = since + 1; seq <= after.followed.cursor.seq; seq++) {
              expect(taken.has(seq) || fates[seq - 1]?.lastly === "refused").toBe(true);
              expect(left[seq - 1]).toBe(0);
            }
            expect(after.stalled).toBe(after.followed.cursor.seq < answer.next);
            followed = after.followed;
          }
          expect(followed.cursor).toEqual({ seq: log.length, chain: chainOf(log) });
          const closed = follow(followed, page(log, log.length));
          expect(closed.verified).toEqual(said(log));
        },
      ),
    );
  });

  it("a page sent again changes nothing", () => {
    fc.assert(
      fc.property(texts, limits, (log, limit) => {
        let followed = NOTHING_FOLLOWED;
        do {
          const answer = page(log, followed.cursor.seq, limit.next().value);
          followed = follow(followed, answer);
          const again = receivePage(followed, source, answer, sha256);
          expect(again.followed).toEqual(followed);
          if (answer.events.length > 0) expect(codeOf(again)).toBe("out-of-step");
        } while (followed.cursor.seq < log.length);
      }),
    );
  });

  it("events that were changed, left out, added or exchanged are found out at the next checkpoint, and it heals", () => {
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
        // The head and what was signed of it are the true log's.
        const told = (since: number) => {
          const events = page(lie, since, limit.next().value).events.filter(({ seq }) => seq <= log.length);
          return { ...page(log, log.length), events, next: since + events.length };
        };
        let followed = follow(NOTHING_FOLLOWED, page(log, 0, at === 0 ? 1 : at));
        const honest = followed.cursor.seq;
        let code = "ok";
        while (code === "ok" && followed.cursor.seq < log.length) {
          const answer = told(followed.cursor.seq);
          if (answer.events.length === 0) break;
          const step = viaStream
            ? receiveStreamed(followed, source, answer.events, sha256)
            : receivePage(followed, source, answer, sha256);
          code = codeOf(step);
          followed = step.ok ? advance(step.followed, step.batch, fine(answer.events.length)).followed : step.followed;
        }
        if (at >= honest) {
          expect(followed.verified).not.toEqual(said(log));
          expect(code).toBe(how.with === "drop" ? "ok" : "chain-mismatch");
        }
        for (let round = 0; round < 60 && followed.verified?.checkpoint.seq !== log.length; round++) {
          followed = follow(followed, page(log, followed.cursor.seq));
        }
        expect(followed).toMatchObject({ cursor: { seq: log.length, chain: chainOf(log) }, verified: said(log) });
      }),
    );
  });

  it("of two stories, in any order and mixed, no more than one is ever believed, and who shows both is caught", () => {
    const forks = fc.record({
      common: texts,
      x: fc.array(fc.constantFrom("own-x", "bob-x"), { minLength: 1, maxLength: 8 }),
      y: fc.array(fc.constantFrom("own-y", "bob-y"), { minLength: 1, maxLength: 8 }),
    });
    const told = fc.array(
      fc.record({ fork: fc.constantFrom("x", "y"), head: fc.nat(), limit: fc.integer({ min: 1, max: 9 }) }),
      {
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(forks, told, ({ common, x, y }, pages) => {
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

// ---- being followed

const log = (count: number, bytes = "AAAA") => {
  const names = Array.from({ length: count }, (_, i) => `own${i}`);
  const events = names.map((text, i) => entry(text, i + 1, bytes));
  return (since: number): PullAnswer => ({
    events: events.slice(since, since + LIMITS.eventsPerPull),
    next: count,
    head: count,
    checkpoint: said(names),
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

describe("what a peer has of our log", () => {
  it.each<[what: string, given: Sent, since: number, want: number]>([
    ["what it asks from", sentTo(3), 5, 5],
    ["no less than it said", sentTo(3), 2, 3],
    ["nothing, if that is beyond our head", sentTo(3), 11, 3],
    ["what it asks from, under a new name", { ...sentTo(9), logId: "02".repeat(16) }, 5, 5],
    ["nothing under a new name, if it begins", { ...sentTo(9), logId: "02".repeat(16) }, 0, 0],
    ["what it asks from, when it comes first", NOTHING_SENT, 5, 5],
  ])("is %s", (_what, given, since, want) => {
    expect(acknowledge(given, { logId: LOG, head: 10 }, since, NOW)).toMatchObject({ logId: LOG, seq: want });
  });

  it("goes back for our admin only while the peer asks again for what it had", () => {
    const log = { logId: LOG, head: 10 };
    const asks = (given: Sent, since: number, nowMs = NOW) => acknowledge(given, log, since, nowMs);
    // It was pushed to, and written to: what it asks below that it never had by its own word.
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
    expect(sent.seq, "what is pushed goes on from where it was").toBe(6);
    sent = asks(sent, 9, NOW + 2);
    expect([reportedSeq(sent, 0), sent.startedOver]).toEqual([9, null]);
    expect(reportedSeq(sentForLog(sent, "02".repeat(16)), 0), "of another log").toBe(0);
  });

  it("never goes back else, whatever is asked in turn", () => {
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
  const theirs = { ...listener, publicKey: source.publicKey };
  it.each<[what: string, given: Sent, answer: PullAnswer, peer: typeof listener, want: object]>([
    ["has what the peer lacks", sentTo(8), ten(8), listener, { type: "push", push: { seqs: [9, 10], upTo: 10 } }],
    ["begins at the beginning", NOTHING_SENT, ten(0), listener, { type: "push", push: { logId: LOG, upTo: 10 } }],
    [
      "begins anew under a new name",
      { ...sentTo(8), logId: "02".repeat(16) },
      ten(0),
      listener,
      { type: "push", push: { upTo: 10 } },
    ],
    ["is none where there is nothing", sentTo(10), ten(10), listener, { type: "nothing" }],
    ["is none of a page from elsewhere", sentTo(8), ten(7), listener, { type: "nothing" }],
    ["is none while a stream is open", sentTo(8), ten(8), { ...listener, streaming: true }, { type: "nothing" }],
    ["waits", sentTo(8, { nextAtMs: NOW + 1 }), ten(8), listener, { type: "wait", untilMs: NOW + 1 }],
    ["has waited", sentTo(8, { nextAtMs: NOW }), ten(8), listener, { type: "push" }],
    [
      "does not wait for a clock that was set back",
      sentTo(8, { nextAtMs: NOW + LIMITS.circuitOpenMs + 1 }),
      ten(8),
      listener,
      { type: "push" },
    ],
    ["tells nobody what is its own", sentTo(8), ten(8), theirs, { type: "skipped", sent: sentTo(10) }],
    ["has at most so many", sentTo(8), log(500)(8), listener, { type: "push", push: { upTo: 108 } }],
  ])("%s", (_what, given, answer, peer, want) => {
    expect(nextPush(given, answer, peer, NOW)).toMatchObject(want);
  });

  it("passes the peer's own between those it has", () => {
    const mixed = page(["own", "bob's", "own two", "bob's two"], 0);
    expect(pushed(NOTHING_SENT, mixed)).toMatchObject({
      seqs: [1, 3],
      upTo: 4,
      body: { events: [{ ttl: 3 }, { ttl: 3 }] },
    });
  });

  it("is what the wire allows, and as much of it, whatever the sizes", () => {
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
    ["all taken", answer(), 10, NOW],
    ["some refused", answer({ errors: errors([5, "events/forbidden"], [7, "events/invalid-signature"]) }), 10, NOW],
    ["all refused", answer({ accepted: 0, errors: errors([5, "events/unknown-origin"]) }), 10, NOW],
    ["one too early", answer({ errors: errors([7, "events/excessive-drift"]) }), 6, NOW + LIMITS.eventStallMs],
    [
      "the first of them",
      answer({ errors: errors([9, "events/excessive-drift"], [5, "events/excessive-drift"]) }),
      4,
      NOW + LIMITS.eventStallMs,
    ],
    ["one that was not sent", answer({ errors: [{ content_id: "else", code: "events/excessive-drift" }] }), 10, NOW],
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
    ["no answer for long", 7, unreachable, 8, LIMITS.circuitOpenMs],
    ["no answer too often", 9, unreachable, 9, LIMITS.circuitOpenMs],
    ["gone", 0, answered(404), 9, LIMITS.circuitOpenMs],
    ["later", 0, answered(429, 7), 0, 7_000],
    ["success that says nothing", 0, { type: "garbled" }, 1, 2_500],
    ["refused as a whole", 0, answered(401), 1, 2_500],
  ])("it waits, and gives nothing up: %s", (_what, tries, outcome, wantTries, wantMs) => {
    const sent = afterPush(sentTo(4, { tries }), push, null, outcome, NOW, 0.5);
    expect(sent).toMatchObject({ logId: LOG, seq: 4, delivery: { tries: wantTries, nextAtMs: NOW + wantMs } });
  });

  it.each<[what: string, now: Sent, want: Sent]>([
    ["the peer has asked from farther on", sentTo(12), sentTo(12, { nextAtMs: NOW })],
    ["our log has a new name", { ...sentTo(1), logId: "02".repeat(16) }, { ...sentTo(1), logId: "02".repeat(16) }],
    ["nothing was stored", NOTHING_SENT, sentTo(10, { nextAtMs: NOW })],
  ])("where meanwhile %s", (_what, now, want) => {
    expect(afterPush(now, push, answer(), answered(200), NOW, 0.5)).toEqual(want);
  });

  it("a peer that takes everything but what is early gets everything, in any pages, with any answers lost", () => {
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
          // In the end it answers, and nothing is early.
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

describe("the answer to a push", () => {
  const receiver = { hlc: { physical_us: 5, logical: 1 }, head: 7 };
  const at = (outcome: "accepted" | "duplicate" | "held"): IncomingResult => ({
    ok: true,
    content_id: hexOf("an event"),
    outcome,
  });
  it.each<[what: string, arrivals: IncomingResult[], status: number, counts: [number, number, number]]>([
    ["all taken", [at("accepted"), at("held")], 200, [2, 0, 0]],
    ["all here", [at("duplicate")], 200, [0, 1, 0]],
    ["one of two", [at("accepted"), refused("events/malformed")], 200, [1, 0, 1]],
    ["none", [refused("events/malformed")], 400, [0, 0, 1]],
    ["none that was not here", [at("duplicate"), refused("events/forbidden")], 400, [0, 1, 1]],
  ])("%s", (_what, arrivals, status, [accepted, duplicates, rejected]) => {
    const answer = answerPush(arrivals, receiver);
    expect(answer).toMatchObject({ status, body: { accepted, duplicates, rejected, receiver_hlc: receiver.hlc } });
    expect(answer.body.errors).toHaveLength(rejected);
    expect(pushAnswer.safeParse(answer.body).error).toBeUndefined();
  });
});

it("a page is what the wire allows", () => {
  expect(pullAnswer.safeParse(page(TEXTS, 0)).error).toBeUndefined();
  expect(pullAnswer.safeParse({ ...page(TEXTS, 0), events: Array(501).fill(entry("one", 1)) }).success).toBe(false);
});

describe("a log that cannot be followed", () => {
  it("is told of once for each reason, when it has lasted since we were last level", () => {
    const told: string[] = [];
    let state: ReturnType<typeof recordRefusal>["unfollowable"] | null = null;
    const again = (reason: "rolled-back" | "chain-mismatch", nowMs: number) => {
      const step = recordRefusal(state, reason, nowMs);
      if (step.shouldNotify) told.push(`${reason} at ${nowMs}`);
      state = step.unfollowable;
    };
    const lasts = LIMITS.followRefusedMs;
    again("rolled-back", 0);
    again("rolled-back", lasts - 1);
    expect(told).toEqual([]);
    // Whoever gives another reason each time has not mended anything.
    for (let i = 0; i < 10; i++) again(i % 2 === 0 ? "chain-mismatch" : "rolled-back", lasts + i);
    expect(told).toEqual([`chain-mismatch at ${lasts}`, `rolled-back at ${lasts + 1}`]);
    expect(state).toMatchObject({ reason: "rolled-back", sinceMs: 0 });
  });

  it("waits its time again when the wall clock has stepped back", () => {
    const { unfollowable } = recordRefusal(null, "malformed", 1_000_000);
    const stepped = recordRefusal(unfollowable, "malformed", 10);
    expect(stepped).toEqual({ unfollowable: { reason: "malformed", sinceMs: 10, told: [] }, shouldNotify: false });
    expect(recordRefusal(stepped.unfollowable, "malformed", 10 + LIMITS.followRefusedMs).shouldNotify).toBe(true);
  });
});
