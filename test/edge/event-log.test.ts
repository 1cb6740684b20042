import {
  applyD1Migrations,
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EventLedger } from "../../edge/events/event-ledger.ts";
import type { ReceivedEvent } from "../../edge/events/event-log-rpc.ts";
import { checkpointsKept, eventsAfter } from "../../edge/events/store.ts";
import { poolKeys } from "../../edge/identity/pool-keys.ts";
import type { StoredDraft } from "../../edge/record/stored-draft.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import {
  equivocation,
  GENESIS_CHAIN,
  nextChain,
  openCheckpoint,
  openEvent,
  signEvent,
} from "../../schema/crypto/signed-event.ts";
import type { Audience, SignedEvent, Visibility } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { appendTo } from "./support.ts";

/** The event log inside workerd: order, clock, signatures, and events of other pools. */

const alice = await signerFrom(generateSecretKey());
const bob = await signerFrom(generateSecretKey());
const us = (await poolKeys(env)).atomId;

const log = () => env.EVENT_LOG.getByName("pool");
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const draft = (visibility: Visibility = "public", payload: object = {}): StoredDraft => ({
  type: "overview",
  visibility,
  payload: { ...payload },
});
const opened = async (wire: SignedEvent) => {
  const result = await openEvent(wire);
  if (!result.ok) throw new Error(result.code);
  return result.event;
};
const theirs = (
  signer: Signer,
  { visibility = "public" as Visibility, payload = {} as Record<string, unknown>, aheadMs = 0 } = {},
) =>
  signEvent(signer, {
    type: "worker_joined",
    visibility,
    payload: { n: Math.random(), ...payload },
    hlc: { physical_us: (Date.now() + aheadMs) * 1_000, logical: 0 },
  });
const takeAll = async (events: ReceivedEvent[]) => {
  const taken = await log().receive(events);
  if (!taken.ok) throw new Error(taken.code);
  return taken.results;
};
const take = async (wire: SignedEvent, from: Signer = alice, ttl = 3) =>
  (await takeAll([{ wire, ttl, from: from.id }]))[0];
const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

/** Reads all of an audience, page by page, and makes its chain again. */
async function walked(audience: Audience, limit = 500) {
  let chain = GENESIS_CHAIN;
  const ids: string[] = [];
  for (let since = 0; ; ) {
    const page = await log().read(audience, since, limit);
    for (const { seq, event } of page.events) {
      expect(seq).toBe(ids.length + 1);
      chain = nextChain(chain, event.content_id, sha256);
      ids.push(event.content_id);
    }
    since = page.next;
    if (since < page.head) continue;
    expect(page.checkpoint.checkpoint).toMatchObject({ origin: us, audience, seq: ids.length, chain });
    expect(await openCheckpoint(page.checkpoint)).toMatchObject({ ok: true });
    return ids;
  }
}

describe("an event of ours", () => {
  it("is signed, numbered in its audiences, and in D1", async () => {
    const appended = await appendTo(log(), [
      draft("private"),
      draft("public", { text: "Pôle Nord ❄" }),
      draft("peers"),
      draft("direct", { peer: alice.id }),
      draft("public"),
    ]);
    expect(appended.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    const second = appended[1];
    expect(second && (await opened(second.event))).toMatchObject({ origin: us, payload: { text: "Pôle Nord ❄" } });
    expect(await walked("public")).toEqual([appended[1], appended[4]].map((each) => each?.content_id));
    expect(await walked("peers")).toEqual([appended[2]?.content_id]);
    expect(await walked("all")).toEqual(appended.map((each) => each.content_id));
    expect(await log().flushRecords()).toBe(true);
    const { results } = await env.DB.prepare(
      "SELECT seq, content_id, public_seq, peers_seq, ttl FROM events ORDER BY seq",
    ).all();
    expect(results).toEqual(
      [
        { public_seq: null, peers_seq: null, ttl: 0 },
        { public_seq: 1, peers_seq: null, ttl: LIMITS.eventTtl },
        { public_seq: null, peers_seq: 1, ttl: 0 },
        { public_seq: null, peers_seq: null, ttl: 0 },
        { public_seq: 2, peers_seq: null, ttl: LIMITS.eventTtl },
      ].map((places, i) => ({ seq: appended[i]?.seq, content_id: appended[i]?.content_id, ...places })),
    );
  });

  it("shares a commit with concurrent calls; each caller gets its own events", async () => {
    const writers = Array.from({ length: 64 }, (_, writer) => writer);
    const appended = await runInDurableObject(log(), async (object, state) => {
      const commits = vi.spyOn(state.storage, "transactionSync");
      const made = await Promise.all(
        writers.map((writer) => appendTo(object, [draft("public", { writer }), draft("peers", { writer })])),
      );
      expect(commits.mock.calls.length).toBeLessThan(writers.length / 2);
      return made;
    });
    expect(appended.flatMap((each) => each.map(({ seq }) => seq)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 128 }, (_, i) => i + 1),
    );
    for (const [writer, [first, second]] of appended.entries()) {
      expect(first && (await opened(first.event)).payload).toEqual({ writer });
      expect(second?.seq).toBe((first?.seq ?? 0) + 1);
    }
    expect(await walked("public", 7)).toHaveLength(64);
  });

  it("that cannot be signed fails its own call and no other", async () => {
    // Asked in the object: what is refused there is an error of the caller, not of the object.
    await runInDurableObject(log(), async (object) => {
      const outcomes = await Promise.allSettled([
        appendTo(object, [draft("peers")]),
        appendTo(object, [draft("peers", { text: "x".repeat(LIMITS.eventBytes) })]),
        appendTo(object, [draft("direct")]),
        appendTo(object, [draft("peers")]),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled"]);
    });
    expect(await walked("peers")).toHaveLength(2);
    expect(await walked("all")).toHaveLength(2);
  });
});

describe("a draft with a key", () => {
  const keyed = (key: string, visibility: Visibility = "public"): StoredDraft => ({
    ...draft(visibility, { key }),
    key,
  });

  it("becomes one event, however often it is sent: the answer is the same, and nothing else changes", async () => {
    const drafts = [keyed("a"), keyed("b", "peers"), keyed("c", "private")];
    const first = await appendTo(log(), drafts);
    const heads = await log().heads();
    await evictDurableObject(log());
    expect(await appendTo(log(), drafts)).toEqual(first);
    expect(await appendTo(log(), [keyed("b", "peers")])).toEqual([first[1]]);
    expect(await log().heads()).toMatchObject({ all: heads.all, public: heads.public, peers: heads.peers });
    const [fourth] = await appendTo(log(), [draft()]);
    expect(fourth?.seq).toBe(4);
    expect(await log().flushRecords()).toBe(true);
    const { results } = await env.DB.prepare("SELECT count(*) AS n FROM events").all();
    expect(results).toEqual([{ n: 4 }]);
  });

  it("that is sent many times at once becomes one event", async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => appendTo(log(), [keyed("a"), keyed("b")])));
    expect(new Set(answers.map((each) => JSON.stringify(each))).size).toBe(1);
    expect(await walked("all")).toHaveLength(2);
  });

  it("whose event could not be stored has no event, and is accepted later", async () => {
    vi.spyOn(EventLedger.prototype, "insert").mockImplementationOnce(() => {
      throw new Error("the disk is full");
    });
    await runInDurableObject(log(), async (object) => {
      await expect(appendTo(object, [keyed("a")])).rejects.toThrow("the disk is full");
    });
    expect(await appendTo(log(), [keyed("a")])).toMatchObject([{ seq: 1 }]);
  });

  it("is in the log once, in the order of first sending, in any history of sendings", async () => {
    // The sender has a queue. It sends the first drafts, and removes them at the answer, unless it crashes before that.
    const sending = fc.record({ added: fc.nat(5), sent: fc.integer({ min: 1, max: 7 }), crashes: fc.boolean() });
    const sendings = fc.array(sending, { maxLength: 12 });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(sendings, fc.nat(11), async (times, evictedAfter) => {
        run += 1;
        const { all: since } = await log().heads();
        let [pending, made]: [string[], number] = [[], 0];
        const first = new Set<string>();
        for (const [i, { added, sent, crashes }] of [...times, { added: 0, sent: 100, crashes: false }].entries()) {
          for (let each = 0; each < added; each++) pending.push(`${run}:${made++}`);
          const keys = pending.slice(0, sent);
          const appended = await appendTo(
            log(),
            keys.map((key) => keyed(key)),
          );
          const events = await Promise.all(appended.map(({ event }) => opened(event)));
          expect(events.map(({ payload }) => payload.key)).toEqual(keys);
          for (const key of keys) first.add(key);
          if (!crashes) pending = pending.slice(sent);
          if (i === evictedAfter) await evictDurableObject(log());
        }
        const { events } = await log().read("all", since, 500);
        const logged = await Promise.all(events.map(({ event }) => opened(event)));
        expect(logged.map(({ payload }) => payload.key)).toEqual([...first]);
        expect(made).toBe(first.size);
      }),
      { numRuns: 10 },
    );
  });
});

describe("the clock", () => {
  it("never goes back when the wall clock steps back and the object is evicted in between", async () => {
    const times: [number, number][] = [];
    const write = async () => {
      const [appended] = await appendTo(log(), [draft()]);
      const { hlc } = await opened(appended?.event as SignedEvent);
      times.push([hlc.physical_us, hlc.logical]);
    };
    await write();
    pass(-3_600_000);
    await write();
    await evictDurableObject(log());
    await write();
    pass(-3_600_000);
    await evictDurableObject(log());
    await write();
    pass(3 * 3_600_000);
    await write();
    const [first] = times[0] ?? [0];
    expect(times).toEqual([
      [first, 0],
      [first, 1],
      [first, 2],
      [first, 3],
      [first + 3_600_000_000, 0],
    ]);
  });

  it("moves past received events: an effect is later than its cause", async () => {
    const cause = await theirs(alice, { aheadMs: 9_000 });
    expect(await take(cause)).toEqual({ ok: true, content_id: cause.content_id, outcome: "accepted" });
    const [answer] = await appendTo(log(), [draft()]);
    const { hlc } = await opened(answer?.event as SignedEvent);
    expect(hlc).toMatchObject({ physical_us: (await opened(cause)).hlc.physical_us, logical: 2 });
  });
});

describe("after an eviction the log", () => {
  it("continues in every audience, under its name, and signs the same checkpoints", async () => {
    await appendTo(log(), [draft("public"), draft("peers"), draft("private")]);
    const before = await log().checkpoints();
    const heads = await log().heads();
    await evictDurableObject(log());
    expect(await log().checkpoints()).toEqual(before);
    expect(await log().heads()).toEqual(heads);
    await appendTo(log(), [draft("public"), draft("peers")]);
    expect(await walked("all")).toHaveLength(5);
    expect(await walked("public")).toHaveLength(2);
    expect(await walked("peers")).toHaveLength(2);
  });

  it("that was given a new name proves no equivocation, whatever its next checkpoints are", async () => {
    await appendTo(log(), [draft()]);
    const before = (await log().read("public", 0, 1)).checkpoint.checkpoint;
    expect(await log().startNewLog("admin", { clockAnew: false })).toMatchObject({ ok: true, before: before.log_id });
    const { log_id } = await log().heads();
    expect(log_id).toMatch(/^[0-9a-f]{32}$/);
    expect(log_id).not.toBe(before.log_id);
    const after = (await log().read("public", 0, 1)).checkpoint.checkpoint;
    expect(after).toMatchObject({ seq: 1, chain: before.chain, log_id });
    expect(equivocation(before, { ...after, chain: GENESIS_CHAIN })).toBe(false);
  });
});

describe("an event of another pool", () => {
  it("is taken once, however often it arrives, and relayed with a ttl that is one less", async () => {
    const wire = await theirs(alice);
    expect(await take(wire)).toMatchObject({ outcome: "accepted" });
    expect(await take(wire, bob)).toMatchObject({ outcome: "duplicate" });
    expect(
      (
        await takeAll([
          { wire, ttl: 3, from: alice.id },
          { wire, ttl: 3, from: alice.id },
        ])
      ).map((each) => each.ok && each.outcome),
    ).toEqual(["duplicate", "duplicate"]);
    const page = await log().read("public", 0, 10);
    expect(page.events).toEqual([{ seq: 1, event: wire, ttl: 2 }]);
    expect(await walked("all")).toEqual([wire.content_id]);
  });

  it.each<[ttl: number, passedOn: number[]]>([
    [900, [2]],
    [3, [2]],
    [1, [0]],
    [0, []],
  ])("that arrived with ttl %i is relayed with %j", async (ttl, passedOn) => {
    await take(await theirs(alice), bob, ttl);
    expect((await log().read("public", 0, 10)).events.map((each) => each.ttl)).toEqual(passedOn);
    expect((await log().heads()).all).toBe(1);
  });

  it.each<[what: string, wire: () => Promise<SignedEvent>, want: object]>([
    [
      "for peers is taken over its origin's own bond",
      () => theirs(alice, { visibility: "peers" }),
      { outcome: "accepted" },
    ],
    [
      "for peers is not taken over another bond",
      () => theirs(bob, { visibility: "peers" }),
      { code: "events/forbidden" },
    ],
    [
      "to us directly is taken",
      () => theirs(alice, { visibility: "direct", payload: { peer: us } }),
      { outcome: "accepted" },
    ],
    [
      "to another directly is not",
      () => theirs(alice, { visibility: "direct", payload: { peer: bob.id } }),
      { code: "events/forbidden" },
    ],
    ["of its own audit is not", () => theirs(alice, { visibility: "private" }), { code: "events/forbidden" }],
    ["that is public may be relayed", () => theirs(bob), { outcome: "accepted" }],
    [
      "in our name that we did not write is not taken",
      async () => theirs((await poolKeys(env)).signer),
      { code: "events/forbidden" },
    ],
    [
      "from a future beyond 60 s is refused",
      () => theirs(alice, { aheadMs: 60_001 }),
      { code: "events/excessive-drift" },
    ],
    ["10 s ahead is taken", () => theirs(alice, { aheadMs: 10_000 }), { outcome: "accepted" }],
  ])("%s", async (_what, wire, want) => {
    expect(await take(await wire())).toMatchObject(want);
    // What is not public is never in an audience that others read.
    expect((await log().heads()).peers).toBe(0);
  });

  it("that is held uses only its sender's share: events of another peer are held beside it", async () => {
    const ahead = (signer: Signer, n: number) =>
      Promise.all(Array.from({ length: n }, () => theirs(signer, { aheadMs: 20_000 })));
    const bring = async (signer: Signer, wires: SignedEvent[]) => {
      const results = await takeAll(wires.map((wire) => ({ wire, ttl: 3, from: signer.id })));
      return results.filter((each) => each.ok && each.outcome === "held").length;
    };
    expect(await bring(alice, await ahead(alice, LIMITS.heldEventsPerSender + 5))).toBe(LIMITS.heldEventsPerSender);
    expect(await bring(bob, await ahead(bob, 3))).toBe(3);
    pass(20_000);
    for (let due = true; due; ) due = await runDurableObjectAlarm(log());
    expect((await log().heads()).all).toBe(LIMITS.heldEventsPerSender + 3);
    expect(await bring(alice, await ahead(alice, 1)), "there is room again").toBe(1);
  });

  it("is taken at its sender's rate: beyond it nothing is examined, and events of another peer are taken", async () => {
    const made = (signer: Signer, n: number) => Promise.all(Array.from({ length: n }, () => theirs(signer)));
    const bring = (signer: Signer, wires: SignedEvent[]) =>
      log().receiveAtRate(
        wires.map((wire) => ({ wire, ttl: 3, from: signer.id })),
        60,
      );
    const first = await made(alice, 90);
    const { results, waitMs } = await bring(alice, first);
    expect([results?.length, waitMs]).toEqual([90, 30_000]);
    expect(await bring(alice, await made(alice, 1))).toEqual({ results: null, waitMs: 30_000 });
    expect((await bring(bob, await made(bob, 1))).results).toMatchObject([{ outcome: "accepted" }]);
    pass(30_000);
    for (let again = 0; again < 3; again++) {
      expect((await bring(alice, first)).results?.every((each) => each.ok && each.outcome === "duplicate")).toBe(true);
    }
    expect(await bring(alice, await made(alice, 1))).toMatchObject({ results: [{ outcome: "accepted" }] });
    expect((await log().heads()).all).toBe(92);
  });

  it("that is held is released, wherever the object dies between the commit and the alarm", async () => {
    const early = await theirs(alice, { aheadMs: 20_000 });
    const turns = await runInDurableObject(log(), async (object, { storage }) => {
      let isOver = false;
      const seen: boolean[] = [];
      const commit = storage.transactionSync.bind(storage);
      vi.spyOn(storage, "transactionSync").mockImplementation((change) => {
        queueMicrotask(() => {
          isOver = true;
        });
        return commit(change);
      });
      const arm = storage.setAlarm.bind(storage);
      vi.spyOn(storage, "setAlarm").mockImplementation((at) => {
        seen.push(isOver);
        return arm(at);
      });
      await object.receive([{ wire: early, ttl: 3, from: alice.id }]);
      vi.restoreAllMocks();
      return seen;
    });
    expect(turns, "armed in the turn of the commit").toEqual([false]);
    // As an earlier release left it.
    await runInDurableObject(log(), (_, { storage }) => storage.deleteAlarm());
    await evictDurableObject(log());
    expect((await log().heads()).all).toBe(0);
    pass(20_000);
    expect(await runDurableObjectAlarm(log())).toBe(true);
    expect((await log().heads()).all).toBe(1);
  });

  it("of this pool that comes back is a duplicate", async () => {
    const [own] = await appendTo(log(), [draft()]);
    expect(await take(own?.event as SignedEvent)).toMatchObject({ outcome: "duplicate" });
  });

  it("that is between 10 and 60 s ahead is held, and invisible until it is due", async () => {
    const wire = await theirs(alice, { aheadMs: 60_000 });
    expect(await take(wire)).toMatchObject({ outcome: "held" });
    expect(await take(wire, bob)).toMatchObject({ outcome: "duplicate" });
    expect(await log().heads()).toMatchObject({ all: 0, public: 0 });
    const [own] = await appendTo(log(), [draft()]);
    expect((await opened(own?.event as SignedEvent)).hlc.physical_us).toBe(Date.now() * 1_000);

    await evictDurableObject(log());
    pass(49_000);
    await runDurableObjectAlarm(log());
    expect((await log().heads()).all).toBe(1);
    pass(1_000);
    await runDurableObjectAlarm(log());
    expect((await log().read("public", 1, 10)).events).toEqual([{ seq: 2, event: wire, ttl: 2 }]);
    expect(await take(wire)).toMatchObject({ outcome: "duplicate" });
    const [answer] = await appendTo(log(), [draft()]);
    expect((await opened(answer?.event as SignedEvent)).hlc).toMatchObject({ logical: 2 });
  });
});

it("an import appends the events of an export to a fresh log, which keeps its own name, once", async () => {
  const own = await appendTo(log(), [draft("public"), draft("peers"), draft("private")]);
  const foreign = [await theirs(alice), await theirs(bob)];
  await take(foreign[0] as SignedEvent, alice, 3);
  await take(foreign[1] as SignedEvent, alice, 0);
  await log().flushRecords();
  const rows = await eventsAfter(env.DB, 0);
  const before = await log().heads();

  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
  const [first] = await appendTo(log(), [draft("private")]);
  const [third] = rows.slice(2);
  expect(await log().restore(third ? [...rows, { ...third, signature: "0".repeat(128) }] : [])).toBe(false);
  expect((await log().heads()).all).toBe(1);
  for (let i = 0; i < 2; i++) expect(await log().restore(rows)).toBe(true);
  const heads = await log().heads();
  expect(heads).toMatchObject({ all: before.all + 1, public: before.public, peers: before.peers });
  expect(heads.log_id).not.toBe(before.log_id);
  const ids = [first, ...own].map((each) => each?.content_id);
  expect(await walked("all")).toEqual([...ids, ...foreign.map((each) => each.content_id)]);
  expect((await eventsAfter(env.DB, 1)).map(({ receivedFrom, ttl }) => [receivedFrom, ttl])).toEqual(
    rows.map(({ receivedFrom, ttl }) => [receivedFrom, ttl]),
  );
});

it("ten thousand events sent again change nothing", async () => {
  const wires = await Promise.all(Array.from({ length: 100 }, () => theirs(alice)));
  const push = () => takeAll(wires.map((wire) => ({ wire, ttl: 3, from: alice.id })));
  await push();
  const heads = await log().heads();
  for (let i = 0; i < 100; i++)
    expect((await push()).every((each) => each.ok && each.outcome === "duplicate")).toBe(true);
  expect(await log().heads()).toEqual(heads);
});

it("a call that waits for the next event returns at its commit, or at the end of its time", async () => {
  await appendTo(log(), [draft("public")]);
  expect(await log().changed("public", 0, 60_000)).toBe(1);
  const waiting = log().changed("public", 1, 60_000);
  // An event of another audience does not end the wait.
  await appendTo(log(), [draft("private")]);
  await appendTo(log(), [draft("public")]);
  expect(await waiting).toBe(2);
  expect(await log().changed("peers", 0, 0)).toBe(0);
});

it("checkpoints of the log are kept in the record", async () => {
  const [last] = (
    await Promise.all(
      Array.from({ length: 10 }, () =>
        appendTo(
          log(),
          Array.from({ length: LIMITS.checkpointEvents / 10 }, () => draft()),
        ),
      ),
    )
  ).flat();
  expect(last).toBeDefined();
  const [all] = await log().checkpoints();
  await vi.waitFor(
    async () => {
      expect(await log().flushRecords()).toBe(true);
      expect(await checkpointsKept(env.DB, { origin: us, since: 0, until: 1_000 })).toMatchObject([
        { audience: "all", seq: 1_000, signature: all?.signature },
      ]);
    },
    { timeout: 60_000 },
  );
});
