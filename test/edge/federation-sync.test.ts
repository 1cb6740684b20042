import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type * as z from "zod";
import { EventLog } from "../../edge/events/event-log-object.ts";
import { maySee } from "../../edge/events/visibility-rules.ts";
import type { StoredDraft } from "../../edge/record/stored-draft.ts";
import { GENESIS_CHAIN, nextChain, openCheckpoint, openEvent } from "../../schema/crypto/signed-event.ts";
import {
  type PeerAudience,
  type PulledEvent,
  peerAudience,
  pullAnswer,
  type SignedEvent,
  type Visibility,
} from "../../schema/wire/events.ts";
import type { peerDetails, TrustLevel } from "../../schema/wire/federation.ts";
import { freshPool, outcome, type PeerDouble, peerAt, setPolicy } from "./peer-double.ts";
import { admin, appendTo, eventually } from "./support.ts";

/** Which events leave towards which peer, by pull, stream and push (docs/spec/events.md#sync), and that none is lost. */

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
// Stay below the rates of registrations and requests.
beforeEach(() => pass(60_000));
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const EVENTS = "/api/federation/events";
const STREAM = "/api/federation/stream";
const log = () => env.EVENT_LOG.getByName("pool");
const heads = () => log().heads();
const trust = (peer: PeerDouble, level: number) => admin("PUT", `/peers/${peer.id}/trust`, { level }, 200);
const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
const write = async (visibility: Visibility, payload: object = {}, n = 1): Promise<SignedEvent[]> => {
  const draft: StoredDraft = { type: "overview", visibility, payload: { ...payload } };
  const appended = await appendTo(
    log(),
    Array.from({ length: n }, () => draft),
  );
  return appended.map(({ event }) => event);
};
const ids = (events: readonly SignedEvent[]) => events.map(({ content_id }) => content_id);

async function pull(peer: PeerDouble, query: string) {
  const response = await peer.send("GET", `${EVENTS}?${query}`);
  return response.status === 200 ? pullAnswer.parse(await response.json()) : outcome(response);
}

/** A stream that the peer reads as far as the test asks for. */
class Reading {
  readonly events: PulledEvent[] = [];
  ended = false;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  constructor(response: Response) {
    this.#reader = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Reads until there are `n` events, or the stream ends. */
  async until(n: number): Promise<this> {
    while (this.events.length < n && !this.ended) await this.#read();
    return this;
  }

  /** Reads until the stream ends. */
  async untilEnd(): Promise<void> {
    while (!this.ended) await this.#read();
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }

  async #read(): Promise<void> {
    const step = await this.#reader.read().catch(() => ({ done: true, value: undefined }) as const);
    this.ended = step.done;
    const frames = (this.#text + (step.value ?? "")).split("\n\n");
    this.#text = frames.pop() ?? "";
    for (const frame of frames) {
      const [, seq, data] = /^id: (\d+)\ndata: (.*)$/s.exec(frame) ?? [];
      if (data === undefined) continue;
      const event = JSON.parse(data) as PulledEvent;
      expect(event.seq).toBe(Number(seq));
      this.events.push(event);
    }
  }
}

const follow = async (peer: PeerDouble, query: string, headers: Record<string, string> = {}) =>
  new Reading(await peer.send("GET", `${STREAM}?${query}`, undefined, { headers }));

describe("the events that leave towards a peer", () => {
  const KINDS = [
    "private",
    "direct to it",
    "direct to another",
    "peers",
    "public",
    "another's public",
    "another's peers",
    "with no relays left",
  ];
  type Way = "pull" | "stream" | "push";

  /** Writes one event of each kind. Content id to name. */
  async function everything(reader: PeerDouble, other: PeerDouble): Promise<Record<string, string>> {
    const [own] = await Promise.all([
      appendTo(log(), [
        { type: "overview", visibility: "private", payload: {} },
        { type: "overview", visibility: "direct", payload: { peer: reader.id } },
        { type: "overview", visibility: "direct", payload: { peer: other.id } },
        { type: "overview", visibility: "peers", payload: {} },
        { type: "overview", visibility: "public", payload: {} },
      ]),
    ]);
    const theirs = await Promise.all([other.event(), other.event({ visibility: "peers" }), other.event()]);
    await other.push(theirs.slice(0, 2));
    await other.push(theirs.slice(2), 0);
    const all = [...own.map(({ event }) => event), ...theirs];
    return Object.fromEntries(all.map(({ content_id }, i) => [content_id, KINDS[i] ?? ""]));
  }

  /** Which of these events left, by each way. */
  async function left(reader: PeerDouble, since: Record<PeerAudience, number>, named: Record<string, string>) {
    const ways: Record<Way, string[]> = { pull: [], stream: [], push: [] };
    const note = (way: Way, events: readonly SignedEvent[]) => {
      ways[way].push(...ids(events).flatMap((id) => named[id] ?? []));
    };
    // Push first: a peer that reads a stream is not pushed to.
    await reader.bond().notifyOfNewEvents();
    const { public: open, peers } = await heads();
    const readable = { public: open - since.public, peers: peers - since.peers };
    for (const audience of peerAudience.options) {
      const page = await pull(reader, `audience=${audience}&since=${since[audience]}`);
      if (typeof page !== "string")
        note(
          "pull",
          page.events.map(({ event }) => event),
        );
      const response = await reader.send("GET", `${STREAM}?audience=${audience}&since=${since[audience]}`);
      if (response.status !== 200) continue;
      const reading = await new Reading(response).until(readable[audience]);
      note(
        "stream",
        reading.events.map(({ event }) => event),
      );
      await reading.cancel();
    }
    note("push", reader.received);
    for (const way of Object.values(ways)) way.sort();
    return ways;
  }

  const OPEN = ["another's public", "public"];
  const BONDED = ["another's public", "peers", "public"];
  it.each<[granted: TrustLevel, received: TrustLevel, read: string[], pushed: string[]]>([
    [0, 0, [], []],
    [1, 3, [], []],
    // The peer may read, but it has not granted us that we may push.
    [2, 0, OPEN, []],
    [2, 2, OPEN, OPEN],
    [2, 3, OPEN, OPEN],
    [3, 0, OPEN, []],
    [3, 2, OPEN, OPEN],
    [3, 3, BONDED, BONDED],
  ])("granted %i, received %i", async (granted, received, read, pushed) => {
    const other = await peerAt(3, 3);
    const reader = await peerAt(granted);
    await reader.push([await reader.grant(received)]);
    const before = await heads();
    const named = await everything(reader, other);
    if (pushed.length > 0) {
      await eventually(async () => {
        await reader.bond().notifyOfNewEvents();
        return ids(reader.received).filter((id) => id in named).length >= pushed.length;
      });
    }
    const ways = await left(reader, before, named);
    expect(ways).toEqual({ pull: read, stream: read, push: pushed });
  });
});

/** An action of this pool, a peer or an admin. */
type Step =
  | { do: "write"; visibility: Visibility; to: number }
  /** A peer sends an event: its own, or another's that it relays. */
  | { do: "bring"; by: number | null; of: number; visibility: Visibility; to: number; ttl: number }
  | { do: "grant"; peer: number; level: TrustLevel }
  | { do: "receive"; peer: number; level: TrustLevel };

it("an event for one peer never leaves towards another, for any sequence of events, grants and revocations", async () => {
  const PEERS = 3;
  const RUNS = 4;
  const peers: PeerDouble[] = [];
  for (let i = 0; i < PEERS; i++) peers.push(await peerAt(1));
  const known = new Map<string, { visibility: Visibility; ours: boolean; to: unknown }>();
  const effective = async (peer: PeerDouble) => (await peer.seen()).effective;
  const note = (event: SignedEvent, visibility: Visibility, ours: boolean, to: unknown) =>
    known.set(event.content_id, { visibility, ours, to });

  async function take(step: Step): Promise<void> {
    const at = (i: number) => peers[i] as PeerDouble;
    pass(1_000);
    switch (step.do) {
      case "write": {
        const payload = step.visibility === "direct" ? { peer: at(step.to).id } : {};
        const [event] = await write(step.visibility, payload);
        return void (event && note(event, step.visibility, true, payload.peer));
      }
      case "bring": {
        const payload = step.visibility === "direct" ? { peer: at(step.to).id } : {};
        const event = await at(step.of).event({ visibility: step.visibility, payload });
        note(event, step.visibility, false, payload.peer);
        return void (await at(step.by ?? step.of).pushed([event], step.ttl));
      }
      case "grant":
        return void (await trust(at(step.peer), step.level));
      case "receive":
        return void (await at(step.peer).pushed([await at(step.peer).grant(step.level)]));
      default:
        return step satisfies never;
    }
  }

  /** The events that left towards a peer since the last call. Reads each audience by pull and by stream. */
  async function left(
    peer: PeerDouble,
    since: Record<PeerAudience, number>,
    from: Record<PeerAudience, number>,
    streams: Reading[],
  ) {
    const events = peer.received.splice(0);
    for (const audience of peerAudience.options) {
      const page = await pull(peer, `audience=${audience}&since=${since[audience]}`);
      if (typeof page === "string") continue;
      since[audience] = page.next;
      events.push(...page.events.map(({ event }) => event));
      const reading = await follow(peer, `audience=${audience}&since=${from[audience]}`);
      streams.push(reading);
      events.push(...(await reading.until(page.head - from[audience])).events.map(({ event }) => event));
    }
    await peer.bond().notifyOfNewEvents();
    return events;
  }

  const level = fc.constantFrom<TrustLevel>(0, 1, 2, 3);
  const peer = fc.nat(PEERS - 1);
  const visibility = fc.constantFrom<Visibility>("private", "direct", "peers", "public");
  const steps = fc.array(
    fc.oneof(
      fc.record({ do: fc.constant("write" as const), visibility, to: peer }),
      fc.record({
        do: fc.constant("bring" as const),
        by: fc.option(peer),
        of: peer,
        visibility,
        to: peer,
        ttl: fc.nat(4),
      }),
      fc.record({
        do: fc.constant("bring" as const),
        by: fc.constant(null),
        of: peer,
        visibility,
        to: peer,
        ttl: fc.constant(3),
      }),
      fc.record({ do: fc.constant("grant" as const), peer, level }),
      fc.record({ do: fc.constant("receive" as const), peer, level }),
    ),
    { minLength: 10, maxLength: 15 },
  );
  let seen = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (given) => {
      const from = await heads();
      const since = peers.map(() => ({ public: from.public, peers: from.peers }));
      const streams: Reading[] = [];
      const trusts = await Promise.all(peers.map(effective));
      const bonds = peers.flatMap((_, peer) => [
        { do: "grant", peer, level: 3 } as const,
        { do: "receive", peer, level: 3 } as const,
      ]);
      // Every bonded peer sees these, so that no run is empty.
      const shown = [
        { do: "write", visibility: "public", to: 0 } as const,
        { do: "write", visibility: "peers", to: 0 } as const,
      ];
      for (const step of [...bonds, ...shown, ...given]) {
        await take(step);
        for (const [i, one] of peers.entries()) {
          const now = await effective(one);
          const before = trusts[i] ?? 0;
          trusts[i] = now;
          for (const { content_id } of await left(one, since[i] ?? from, from, streams)) {
            const event = known.get(content_id);
            // Not an event of this test, such as a grant.
            if (event === undefined) continue;
            seen += 1;
            const may = maySee(
              { ...event, payload: { peer: event.to } },
              { atomId: one.id, trust: Math.max(now, before) },
            );
            expect(may, `${JSON.stringify(event)} towards peer ${i} at ${before}, then ${now}`).toBe(true);
          }
        }
      }
      await Promise.all(streams.map((stream) => stream.cancel()));
    }),
    { numRuns: RUNS },
  );
  // At least two events in each run, each by pull and by stream.
  expect(seen).toBeGreaterThanOrEqual(RUNS * 2 * PEERS * 2);
});

describe("a page", () => {
  it("comes with a valid checkpoint, and its events agree with the checkpoint", async () => {
    const peer = await peerAt(3, 3);
    await write("public", {}, 7);
    await write("peers", {}, 3);
    for (const audience of peerAudience.options) {
      let chain = GENESIS_CHAIN;
      for (let since = 0, head = 1; since < head; ) {
        const page = await pull(peer, `audience=${audience}&since=${since}&limit=4`);
        if (typeof page === "string") throw new Error(page);
        for (const { seq, event } of page.events) {
          expect(seq).toBe(since + 1);
          expect(await openEvent(event)).toMatchObject({ ok: true });
          chain = nextChain(chain, event.content_id, sha256);
          since = seq;
        }
        expect(page.next).toBe(since);
        head = page.head;
        expect(await openCheckpoint(page.checkpoint)).toMatchObject({ ok: true, checkpoint: { audience, seq: head } });
        if (since === head) expect(page.checkpoint.checkpoint.chain).toBe(chain);
      }
    }
  });

  it("shows the position of its reader, and a repeated pull writes nothing", async () => {
    const peer = await peerAt(2);
    await write("public", {}, 3);
    const { public: head } = await heads();
    const written = async (since: number) => {
      const put = await runInDurableObject(peer.bond(), (_bond, { storage }) => vi.spyOn(storage.kv, "put"));
      await pull(peer, `since=${since}`);
      const sent = put.mock.calls.flatMap(([key, value]) => (key === "sent:public" ? [value as { seq: number }] : []));
      put.mockRestore();
      return sent.map(({ seq }) => seq);
    };
    expect(await written(head - 1)).toEqual([head - 1]);
    expect(await written(head - 1)).toEqual([]);
    expect(await written(head - 2), "a smaller number does not change where we push from").toEqual([head - 1]);
    expect(await written(head - 2)).toEqual([]);
    expect(await written(head + 1), "beyond our head").toEqual([]);
    expect(await written(head)).toEqual([head]);
  });

  it.each(["audience=all", "audience=direct", "since=-1", "since=x", "limit=0", "limit=501", "more=1"])(
    "with %s is refused",
    async (query) => expect(await pull(await peerAt(2), query)).toBe("400 http/invalid-body"),
  );

  it("and a stream are refused to every peer without accept_reads", async () => {
    const peer = await peerAt(2);
    await setPolicy({ accept_reads: false });
    expect(await pull(peer, "since=0")).toBe("403 federation/reads-off");
    expect(await peer.outcomeOf("GET", STREAM)).toBe("403 federation/reads-off");
    await setPolicy({ accept_reads: true });
    expect(await pull(peer, "since=0")).toMatchObject({ events: expect.any(Array) });
  });
});

describe("a stream", () => {
  it("that is resumed by its signed since has no gap and no repetition, after any number of drops", async () => {
    const peer = await peerAt(2);
    const { public: from } = await heads();
    const written: string[] = [];
    const read: PulledEvent[] = [];
    for (let round = 0; round < 5; round++) {
      const reading = await follow(peer, `since=${from + read.length}`);
      written.push(...ids(await write("public", {}, 3)));
      read.push(...(await reading.until(1 + round)).events);
      written.push(...ids(await write("public", {}, 2)));
      await reading.cancel();
    }
    const last = await follow(peer, `since=${from + read.length}`);
    read.push(...(await last.until(written.length - read.length)).events);
    expect(read.map(({ seq }) => seq)).toEqual(written.map((_, i) => from + i + 1));
    expect(ids(read.map(({ event }) => event))).toEqual(written);
    await last.cancel();
  });

  it("resumes from Last-Event-ID when the signed query has no since", async () => {
    const peer = await peerAt(2);
    const { public: from } = await heads();
    await write("public", {}, 3);
    const first = async (query: string) => {
      const reading = await follow(peer, query, { "last-event-id": String(from + 2) });
      const [event] = (await reading.until(1)).events;
      await reading.cancel();
      return (event?.seq ?? 0) - from;
    };
    expect(await first("audience=public")).toBe(3);
    expect(await first(`since=${from + 1}`)).toBe(2);
  });

  it("shows our admin the position of its reader, which goes back only when the reader rewinds", async () => {
    const peer = await peerAt(2);
    await write("public", {}, 3);
    const { public: head } = await heads();
    const sent = async () => {
      const { sync } = (await peer.seen()) as unknown as z.infer<typeof peerDetails>;
      return sync.find(({ audience }) => audience === "public")?.sent;
    };
    const is = (seq: number, streaming: boolean, startedOver: boolean) =>
      eventually(async () => {
        const now = await sent();
        return now?.seq === seq && now.streaming === streaming && (now.started_over_ms !== null) === startedOver;
      });
    await pull(peer, "since=0");
    const reading = await follow(peer, "since=0");
    await reading.until(head);
    await is(head, true, false);
    // The trust ends, and so does the stream. The written position counts until the reader asks from another.
    await trust(peer, 1);
    await reading.untilEnd();
    await is(head, false, false);
    await trust(peer, 2);
    await pull(peer, `since=${head - 2}`);
    await is(head, false, false);
    const again = await follow(peer, `since=${head - 1}`);
    await is(head, true, false);
    await again.cancel();
    await pull(peer, "since=0");
    await eventually(async () => (await sent())?.started_over_ms !== null);
    await pull(peer, `since=${head}`);
    await eventually(async () => (await sent())?.started_over_ms === null);
    expect((await sent())?.seq).toBe(head);
  });

  it("ends when the peer opens another", async () => {
    const peer = await peerAt(3, 3);
    const [first, bonded] = [await follow(peer, "since=0"), await follow(peer, "audience=peers&since=0")];
    const second = await follow(peer, "since=0");
    await first.untilEnd();
    const { public: open } = await heads();
    expect((await second.until(open)).ended).toBe(false);
    expect(bonded.ended).toBe(false);
    await Promise.all([second.cancel(), bonded.cancel()]);
  });
});

describe("a stream ends within a second", () => {
  const open = async () => {
    const peer = await peerAt(3, 3);
    const at = await heads();
    const open = peerAudience.options.map((audience) => follow(peer, `audience=${audience}&since=${at[audience]}`));
    return { peer, readings: await Promise.all(open) };
  };
  // A fake clock: the check that ends the stream has run at most twice.
  beforeAll(() => {
    vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  });
  afterAll(() => {
    vi.useFakeTimers({ toFake: ["Date"] });
  });

  it.each<[when: string, change: object]>([
    ["the kill switch is turned off", { federation: "off" }],
    ["accept_reads is turned off", { accept_reads: false }],
    ["the policy asks for a stronger tier", { min_auth_tier: "hardware-attested" }],
  ])("when %s", async (_when, change) => {
    const { peer, readings } = await open();
    await setPolicy(change);
    await runInDurableObject(peer.bond(), () => vi.advanceTimersByTimeAsync(1_000));
    await Promise.all(readings.map((reading) => reading.untilEnd()));
    await setPolicy({ federation: "on", accept_reads: true, min_auth_tier: "device-bound" });
  });
});

describe("a reader that reads nothing", () => {
  const PAGES = 8;
  let peer: PeerDouble;
  beforeAll(async () => {
    // No other peer reads here.
    await freshPool();
    peer = await peerAt(2);
    const text = "x".repeat(60_000);
    for (let i = 0; i < 5 * PAGES; i++) await write("public", { text }, 10);
  });

  it("makes the pool read a bounded number of pages, and loses no event", async () => {
    const read = vi.spyOn(EventLog.prototype, "read");
    const reading = await follow(peer, "since=0");
    // Wait long enough that an unbounded stream would have read every page. Buffers on the way hold some megabytes.
    await eventually(async () => read.mock.calls.length > 0);
    for (let i = 0; i < 5 * PAGES; i++) await peer.seen();
    expect(read.mock.calls.length).toBeLessThan(PAGES / 2);
    const { public: head } = await heads();
    const { events } = await reading.until(head);
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: head }, (_, i) => i + 1));
    expect(read.mock.calls.length).toBeGreaterThanOrEqual(PAGES);
    await reading.cancel();
    read.mockRestore();
  });

  it("is cut off when the kill switch is turned off or its trust ends", async () => {
    const isStreaming = async () =>
      (await admin<{ sync: { sent: { streaming: boolean } }[] }>("GET", `/peers/${peer.id}`)).sync[0]?.sent.streaming;
    for (const turn of [() => setPolicy({ federation: "off" }), () => trust(peer, 1)]) {
      const reading = await follow(peer, "since=0");
      expect(await isStreaming()).toBe(true);
      await turn();
      pass(1_000);
      await eventually(async () => !(await isStreaming()));
      await reading.cancel();
      await setPolicy({ federation: "on" });
    }
  });
});
