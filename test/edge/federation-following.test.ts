import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { PoolPolicy } from "../../edge/pool/pool-policy-object.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { equivocation, openCheckpoint, openEvent } from "../../schema/crypto/signed-event.ts";
import {
  type PeerAudience,
  peerAudience,
  pullAnswer,
  type SignedEvent,
  signedCheckpoint,
} from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { eventOf, freshPool, OURS, type PeerDouble, peerAt, setPolicy } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/** This pool follows its peers (docs/spec/events.md#sync), also over bad connections and with dishonest peers. */

/** Ends the pauses of followers whose cursor is before an event that is ahead of our clock. */
const stalled: (() => void)[] = [];
/** Ends the pauses of followers whose peer has reached its rate of events. */
const throttled: (() => void)[] = [];
const THROTTLED_AT = 480;
const THROTTLED_MS = 2_500;
const PAUSES = new Map<number, (() => void)[]>([
  [LIMITS.eventStallMs, stalled],
  [THROTTLED_MS, throttled],
]);

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  const { setTimeout: start } = globalThis;
  vi.spyOn(globalThis, "setTimeout").mockImplementation(((run: () => void, ms: number) => {
    const paused = PAUSES.get(ms);
    return paused ? void paused.push(run) : start(run, ms);
  }) as never);
  await freshPool();
});
beforeEach(() => {
  // Stay below the rate of registrations.
  pass(60_000);
  // The shortest possible backoff.
  vi.spyOn(Math, "random").mockReturnValue(0);
});
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const EVENTS = "/api/federation/events";
const STREAM = "/api/federation/stream";
const log = () => env.EVENT_LOG.getByName("pool");
const trust = (peer: PeerDouble, level: number) => admin("PUT", `/peers/${peer.id}/trust`, { level }, 200);

interface Followed {
  seq: number;
  head: number | null;
  streaming: boolean;
  equivocated: boolean;
  refused: { reason: string; since_ms: number } | null;
}
async function followed(peer: PeerDouble, audience: PeerAudience = "public"): Promise<Followed> {
  const { sync } = await admin<{ sync: { audience: string; followed: Followed }[] }>("GET", `/peers/${peer.id}`);
  return sync.find((each) => each.audience === audience)?.followed as Followed;
}
const reached = (peer: PeerDouble, seq: number, audience: PeerAudience = "public") =>
  eventually(async () => (await followed(peer, audience)).seq === seq);
const streaming = (peer: PeerDouble, ...audiences: PeerAudience[]) =>
  eventually(async () => {
    const all = await Promise.all(audiences.map((audience) => followed(peer, audience)));
    return all.every((each) => each.streaming);
  });
/** Every event of our log, in order. */
async function ours(): Promise<SignedEvent[]> {
  const found: SignedEvent[] = [];
  for (let since = 0; ; ) {
    const page = await log().read("all", since, LIMITS.eventsPerPull);
    found.push(...page.events.map(({ event }) => event));
    if (page.next >= page.head) return found;
    since = page.next;
  }
}
const times = async (id: string) => (await ours()).filter(({ content_id }) => content_id === id).length;
/** The `since` of each call for this audience. */
const asked = (peer: PeerDouble, path: string, audience: PeerAudience = "public") =>
  peer
    .called(path)
    .filter(({ method }) => method === "GET")
    .map(({ target }) => new URL(target, "https://x").searchParams)
    .filter((query) => query.get("audience") === audience)
    .map((query) => Number(query.get("since")));
const write = async (peer: PeerDouble, n = 1, audience: PeerAudience = "public") => {
  const events = await Promise.all(Array.from({ length: n }, () => peer.event({ visibility: audience })));
  for (const event of events) peer.log.append(event, audience);
  return events.map(({ content_id }) => content_id);
};
const speak = (peer: PeerDouble) => peer.send("GET", "/api/federation/status");
const stranger = async () => signerFrom(generateSecretKey());

describe("a bonded peer", () => {
  it("is followed by pull and then by stream, each audience on its own, and each event arrives once", async () => {
    const peer = await peerAt(1, 3);
    const before = await write(peer, 3);
    const private_ = await write(peer, 2, "peers");
    await trust(peer, 3);
    await Promise.all([reached(peer, 3), reached(peer, 2, "peers")]);
    await streaming(peer, "public", "peers");
    expect(asked(peer, EVENTS)).toEqual([0]);
    expect(asked(peer, STREAM)).toEqual([3]);
    const after = await write(peer, 2);
    await reached(peer, 5);
    for (const id of [...before, ...private_, ...after]) expect(await times(id)).toBe(1);
    expect(asked(peer, EVENTS), "no more pulls").toEqual([0]);
  });

  it("is followed in the public audience only at trust 2, and only if both pools allow it", async () => {
    const [open, ungranted, bonded] = [await peerAt(2, 2), await peerAt(2, 0), await peerAt(3, 2)];
    for (const peer of [open, ungranted, bonded]) await write(peer);
    await Promise.all([reached(open, 1), reached(bonded, 1)]);
    expect(asked(open, EVENTS, "peers")).toEqual([]);
    expect(asked(bonded, EVENTS, "peers")).toEqual([]);
    expect(ungranted.calls.filter(({ method }) => method === "GET")).toEqual([]);
  });

  it("that drops its stream is pulled from our cursor, and no event is lost or taken twice", async () => {
    const peer = await peerAt(2, 2);
    const written = await write(peer, 2);
    await streaming(peer, "public");
    for (let round = 0; round < 3; round++) {
      peer.log.drop();
      written.push(...(await write(peer, 2)));
      await reached(peer, written.length);
    }
    for (const id of written) expect(await times(id)).toBe(1);
    const since = asked(peer, STREAM);
    expect(since).toEqual([...since].sort((a, b) => a - b));
  });

  it("that was unreachable is followed again without a person", async () => {
    const peer = await peerAt(2, 2);
    await streaming(peer, "public");
    let tries = 0;
    peer.answer = () => {
      tries += 1;
      throw new TypeError("unreachable");
    };
    peer.log.drop();
    const written = await write(peer, 3);
    await eventually(async () => tries >= 2);
    peer.answer = () => undefined;
    await reached(peer, 3);
    for (const id of written) expect(await times(id)).toBe(1);
  });

  it("that calls us is pulled without waiting for the end of the backoff", async () => {
    const peer = await peerAt(2, 2);
    await streaming(peer, "public");
    let tries = 0;
    peer.answer = () => {
      tries += 1;
      throw new TypeError("unreachable");
    };
    peer.log.drop();
    await write(peer);
    await eventually(async () => tries >= 1);
    // The longest backoff: more than a minute.
    vi.spyOn(Math, "random").mockReturnValue(1);
    const spoken = async () => {
      pass(1_000);
      await speak(peer);
    };
    await eventually(async () => tries >= 8 || void (await spoken()));
    peer.answer = () => undefined;
    await eventually(async () => (await followed(peer)).seq === 1 || void (await spoken()));
  });

  it("whose log was restored from a backup is followed from the beginning, and no event is taken twice", async () => {
    const peer = await peerAt(2, 2);
    const kept = await Promise.all([peer.event(), peer.event()]);
    for (const event of kept) peer.log.append(event);
    await write(peer, 3);
    await reached(peer, 5);
    peer.log.startOver(toHex(crypto.getRandomValues(new Uint8Array(16))));
    for (const event of kept) peer.log.append(event);
    const [fresh = ""] = await write(peer);
    await eventually(async () => (await times(fresh)) === 1);
    await reached(peer, 3);
    for (const { content_id } of kept) expect(await times(content_id)).toBe(1);
    expect((await followed(peer)).equivocated).toBe(false);
  });

  it("that writes more events than its rate allows is pulled page by page, and another peer is followed meanwhile", async () => {
    const [peer, other] = [await peerAt(1, 2), await peerAt(2, 2)];
    const [before, after] = [await write(peer, LIMITS.eventsPerPull), await write(peer, 10)];
    await setPolicy({ peer_events_per_minute: THROTTLED_AT });
    // Its grant no longer counts against the rate.
    pass(1_000);
    await trust(peer, 2);
    await reached(peer, before.length);
    const [followAfterThrottle] = await eventually(async () => throttled.length > 0 && throttled.splice(0));
    expect(asked(peer, EVENTS)).toEqual([0]);
    expect(await times(after[0] ?? "")).toBe(0);
    const [heard = ""] = await write(other);
    await reached(other, other.log.state.heads.public.seq);
    expect(await times(heard)).toBe(1);
    pass(THROTTLED_MS);
    await runInDurableObject(peer.bond(), followAfterThrottle ?? (() => expect.fail()));
    await reached(peer, before.length + after.length);
    for (const id of after) expect(await times(id)).toBe(1);
    await setPolicy({ peer_events_per_minute: LIMITS.peerMaxEventsPerMinute });
  });

  it("relays events of more origins than one D1 query can hold", async () => {
    const peer = await peerAt(2, 2);
    const signers = await Promise.all(Array.from({ length: 150 }, stranger));
    const others = [await peerAt(2), await peerAt(2)];
    for (const signer of signers) peer.log.append(await eventOf(signer));
    const relayed = await Promise.all(others.map((other) => other.event()));
    for (const event of relayed) peer.log.append(event);
    const [own = ""] = await write(peer);
    await reached(peer, 153);
    for (const id of [own, ...relayed.map(({ content_id }) => content_id)]) expect(await times(id)).toBe(1);
  });
});

describe.each(["pull", "stream"] as const)("to a peer that we follow by %s", (way) => {
  let [peer, other, reader]: [PeerDouble, PeerDouble, PeerDouble] = [] as never;
  beforeAll(async () => {
    [peer, other, reader] = [await peerAt(3, 3), await peerAt(3, 3), await peerAt(2)];
    await streaming(peer, "public", "peers");
  });

  /** All of it is there at once, for either way alone; its last number. */
  async function publish(events: readonly SignedEvent[]): Promise<number> {
    await streaming(peer, "public");
    // Events after the end of a stream are pulled.
    if (way === "pull") peer.log.drop();
    for (const event of events) peer.log.append(event);
    return peer.log.state.heads.public.seq;
  }
  /** What another peer is given of ours since then. */
  async function relayedSince(since: number): Promise<string[]> {
    const response = await reader.send("GET", `${EVENTS}?since=${since}`);
    return pullAnswer.parse(await response.json()).events.map(({ event }) => event.content_id);
  }

  it.each<[attack: string, made: () => Promise<SignedEvent>]>([
    ["an event with the id of another event", async () => ({ ...(await peer.event()), content_id: "ab".repeat(32) })],
    [
      "an event whose bytes are another's",
      async () => ({ ...(await peer.event()), event_bytes: (await peer.event()).event_bytes }),
    ],
    [
      "an event whose signature is another's",
      async () => ({ ...(await peer.event()), signature: (await peer.event()).signature }),
    ],
    [
      "an event that it signed in another's name",
      async () => ({ ...(await other.event()), signature: (await peer.event()).signature }),
    ],
    ["an event of an unknown origin", async () => eventOf(await stranger())],
    ["an event of an origin at trust 1", async () => (await peerAt(1)).event()],
    ["another pool's event for its peers", () => other.event({ visibility: "peers" })],
    ["another pool's event for us only", () => other.grant(0)],
    ["another pool's private event", () => other.event({ visibility: "private" })],
    ["its own private event", () => peer.event({ visibility: "private" })],
    [
      "what it says to another alone",
      () => peer.event({ visibility: "direct", payload: { peer: other.id, level: 3 }, type: "trust_granted" }),
    ],
    ["a forged event of ours", () => eventOf(OURS)],
  ])("%s is refused, the cursor passes it, and later events arrive", async (_attack, made) => {
    const [bad, good] = [await made(), await peer.event()];
    const [before, pulls] = [await log().heads(), asked(peer, EVENTS).length];
    await reached(peer, await publish([bad, good]));
    expect([await times(bad.content_id), await times(good.content_id)]).toEqual([0, 1]);
    expect(await relayedSince(before.public)).toEqual([good.content_id]);
    expect((await log().heads()).all, "nothing else has changed").toBe(before.all + 1);
    expect(asked(peer, EVENTS).length > pulls).toBe(way === "pull");
  });

  it("the cursor waits before an event more than 60 s ahead, our clock does not move, and events of the same page are taken", async () => {
    const [early, after] = [await peer.event({ aheadMs: 90_000 }), await peer.event()];
    const { public: before } = await log().heads();
    const [from, to] = [(await followed(peer)).seq, await publish([early, after])];
    const [again] = await eventually(async () => stalled.length > 0 && stalled.splice(0));
    expect((await followed(peer)).seq, "the cursor stands before it").toBe(from);
    expect(await relayedSince(before)).toEqual([after.content_id]);
    expect((await log().heads()).hlc.physical_us).toBeLessThanOrEqual(Date.now() * 1_000);
    pass(85_000);
    await runInDurableObject(peer.bond(), again ?? (() => expect.fail()));
    await reached(peer, to);
    expect(await relayedSince(before)).toEqual([after.content_id, early.content_id]);
  });

  it("an event from 10 to 60 s ahead is held back until it is due, and later events arrive", async () => {
    const [early, after] = [await peer.event({ aheadMs: 50_000 }), await peer.event()];
    const before = await log().heads();
    await reached(peer, await publish([early, after]));
    expect(await relayedSince(before.public)).toEqual([after.content_id]);
    expect(await times(early.content_id)).toBe(0);
    pass(40_000);
    await runDurableObjectAlarm(log());
    expect(await relayedSince(before.public)).toEqual([after.content_id, early.content_id]);
  });

  it("ten thousand duplicates change nothing", async () => {
    const events = await Promise.all(Array.from({ length: 100 }, () => peer.event()));
    await reached(peer, await publish(events));
    const before = await log().heads();
    vi.mocked(setTimeout).mockClear();
    await reached(peer, await publish(Array.from({ length: 100 }, () => events).flat()));
    // The follower pauses for other requests, though the duplicates change nothing.
    const breaths = vi.mocked(setTimeout).mock.calls.filter(([, ms]) => ms === LIMITS.followBreathMs);
    expect(breaths.length).toBeGreaterThan(15);
    const { hlc: _, ...after } = await log().heads();
    expect(before).toMatchObject(after);
  });
});

describe("a peer that shows two histories", () => {
  const proofs = async (peer: PeerDouble) => {
    const opened = await Promise.all((await ours()).map((event) => openEvent(event)));
    return opened.flatMap((each) =>
      each.ok && each.event.type === "peer_equivocated" && each.event.payload.peer === peer.id ? [each.event] : [],
    );
  };

  it("by two checkpoints for one number is not followed until our admin resumes it, and the proof is kept in private", async () => {
    const peer = await peerAt(1, 3);
    await write(peer, 2);
    const bonded = await write(peer, 1, "peers");
    await trust(peer, 3);
    await Promise.all([reached(peer, 2), reached(peer, 1, "peers")]);
    await streaming(peer, "public", "peers");
    // The same log name and numbers with other events.
    peer.log.startOver();
    const others = await write(peer, 2);
    await eventually(async () => (await followed(peer)).equivocated);

    const [proof] = await eventually(async () => {
      const found = await proofs(peer);
      return found.length > 0 && found;
    });
    expect(proof).toMatchObject({ visibility: "private", payload: { audience: "public" } });
    const proofCheckpoints = signedCheckpoint.array().parse(proof?.payload.checkpoints);
    const opened = await Promise.all(proofCheckpoints.map(openCheckpoint));
    expect(opened).toMatchObject([{ ok: true }, { ok: true }]);
    expect(
      proofCheckpoints[0] &&
        proofCheckpoints[1] &&
        equivocation(proofCheckpoints[0].checkpoint, proofCheckpoints[1].checkpoint),
    ).toBe(true);
    for (const id of others) expect(await times(id)).toBe(0);
    const kept = () => env.DB.prepare("SELECT * FROM checkpoints WHERE origin = ?").bind(peer.id).all();
    const { results } = await eventually(async () => {
      const found = await kept();
      return found.results.length > 0 && found;
    });
    const rows = proofCheckpoints.map(({ checkpoint, origin_pubkey: pubkey, signature }) => {
      const { origin, log_id, audience, seq, chain } = checkpoint;
      return expect.objectContaining({ origin, log_id, audience, seq, chain, pubkey, signature });
    });
    expect(results).toHaveLength(2);
    expect(results).toEqual(expect.arrayContaining(rows));

    const calls = asked(peer, EVENTS).length;
    for (let i = 0; i < 20; i++) await speak(peer);
    await runInDurableObject(peer.bond(), (bond) => bond.resume());
    await peer.seen();
    expect(asked(peer, EVENTS), "it is asked nothing more").toHaveLength(calls);
    expect(asked(peer, STREAM)).toHaveLength(1);
    expect(await times(bonded[0] ?? "")).toBe(1);

    await admin("POST", `/peers/${peer.id}/follow-anew`, undefined, 200);
    await reached(peer, 2);
    expect((await followed(peer)).equivocated).toBe(false);
    for (const id of others) expect(await times(id)).toBe(1);
    expect(await proofs(peer)).toHaveLength(1);
  });

  it("by a stream that disagrees with its checkpoint is pulled again from the last verified position", async () => {
    const peer = await peerAt(1, 2);
    await write(peer, 2);
    await trust(peer, 2);
    await reached(peer, 2);
    await streaming(peer, "public");
    const [streamed, ...signed] = [await peer.event(), await peer.event(), await peer.event()];
    const kept = peer.log.state;
    peer.log.append(streamed);
    await reached(peer, 3);
    peer.log.goBack(kept);
    for (const event of signed) peer.log.append(event);
    await reached(peer, 4);
    expect(asked(peer, EVENTS)).toEqual([0, 3, 2]);
    // Only one of them is signed, so there is no proof.
    for (const { content_id } of [streamed, ...signed]) expect(await times(content_id)).toBe(1);
    expect((await followed(peer)).equivocated).toBe(false);
  });

  it("by events that do not agree with its checkpoint gets no event into our log", async () => {
    const peer = await peerAt(2, 2);
    await write(peer, 2);
    await reached(peer, 2);
    const forged = await peer.event();
    let pages = 0;
    peer.answer = async (request) => {
      const url = new URL(request.url);
      if (request.method !== "GET" || url.pathname !== EVENTS) return undefined;
      pages += 1;
      const page = await peer.log.page("public", Number(url.searchParams.get("since")));
      return Response.json({ ...page, events: page.events.map((each) => ({ ...each, event: forged })) });
    };
    peer.log.drop();
    const [hidden = ""] = await write(peer, 1);
    await eventually(async () => pages >= 2);
    expect(await times(forged.content_id)).toBe(0);
    peer.answer = () => undefined;
    await reached(peer, 3);
    expect(await times(hidden)).toBe(1);
  });

  it("by a head that goes backwards is shown to our admin, and recorded once when it lasts", async () => {
    const peer = await peerAt(2, 2);
    await write(peer, 2);
    const kept = peer.log.state;
    await write(peer, 2);
    await reached(peer, 4);
    const stuck = async () => {
      const { unfollowable } = await admin<{ unfollowable: string[] }>("GET", "/federation");
      const doctor = await admin<{ unfollowable: string[] }>("GET", "/doctor");
      return [unfollowable, doctor.unfollowable].map((ids) => ids.includes(peer.id));
    };
    const loggedProblems = async () => {
      const opened = await Promise.all((await ours()).map((event) => openEvent(event)));
      const bodies = opened.flatMap((each) => (each.ok ? [each.event] : []));
      return bodies.filter(({ type, payload }) => type === "peer_unfollowable" && payload.peer === peer.id);
    };
    const sinceMs = Date.now();
    peer.log.goBack(kept);
    await eventually(async () => (await followed(peer)).refused !== null);
    expect((await followed(peer)).refused).toEqual({ reason: "rolled-back", since_ms: sinceMs });
    expect([await stuck(), await loggedProblems()]).toEqual([[false, false], []]);

    pass(LIMITS.followRefusedMs);
    const tries = asked(peer, EVENTS).length;
    await eventually(async () => (await stuck()).every(Boolean));
    await eventually(async () => asked(peer, EVENTS).length > tries + 4);
    expect(await loggedProblems()).toMatchObject([
      { visibility: "private", payload: { audience: "public", reason: "rolled-back", since_ms: sinceMs } },
    ]);

    // A log that is not followed any more is no problem.
    await trust(peer, 1);
    expect([(await followed(peer)).refused, await stuck()]).toEqual([null, [false, false]]);
    await trust(peer, 2);
    pass(LIMITS.followRefusedMs);
    await eventually(async () => (await followed(peer)).refused !== null);

    // Our admin accepts the log as it is now.
    await admin("POST", `/peers/${peer.id}/follow-anew`, undefined, 200);
    await reached(peer, 2);
    expect((await followed(peer)).refused).toBeNull();
    await eventually(async () => !(await stuck()).some(Boolean));
  });

  it("by repeated or missing numbers in its stream is pulled from", async () => {
    const peer = await peerAt(2, 2);
    await write(peer, 3);
    await reached(peer, 3);
    const events = await Promise.all([peer.event(), peer.event()]);
    for (const bent of [[1], [3], [5], [4, 4], [5, 4]]) {
      await streaming(peer, "public");
      const pulls = asked(peer, EVENTS).length;
      peer.log.send(bent.map((seq, i) => ({ seq, event: events[i] as SignedEvent, ttl: 3 })));
      await eventually(async () => asked(peer, EVENTS).length > pulls);
      expect(await followed(peer)).toMatchObject({ seq: 3, equivocated: false });
    }
    for (const { content_id } of events) expect(await times(content_id)).toBe(0);
  });
});

describe("while federation is off", () => {
  it("no peer is called, the streams that we read end, and following resumes when it is on again", async () => {
    const peer = await peerAt(3, 3);
    await streaming(peer, "public", "peers");
    await setPolicy({ federation: "off" });
    pass(1_000);
    await eventually(async () => !(await followed(peer)).streaming && !(await followed(peer, "peers")).streaming);
    const calls = peer.calls.length;
    const written = await write(peer, 2);
    await log().append([{ type: "overview", visibility: "peers", payload: {} }]);
    for (let i = 0; i < 5; i++) {
      await peer.bond().notifyOfNewEvents();
      await peer.bond().resume();
    }
    expect(peer.calls).toHaveLength(calls);
    await setPolicy({ federation: "on" });
    await reached(peer, 2);
    for (const id of written) expect(await times(id)).toBe(1);
  });
});

it("a peer is followed even when the kill switch answers so late that streams end", async () => {
  const peer = await peerAt(1, 2);
  await write(peer, 1);
  const lateMs = (LIMITS.streamPolicyMs + LIMITS.policyTimeoutMs) / 2;
  const late = vi.spyOn(PoolPolicy.prototype, "check").mockImplementation(async function (this: PoolPolicy) {
    await new Promise((resolve) => setTimeout(resolve, lateMs));
    return this.federation;
  } as never);
  await trust(peer, 2);
  await eventually(async () => asked(peer, EVENTS).length > 0);
  late.mockRestore();
  await reached(peer, 1);
});

it.each<[how: string, answer: () => Promise<unknown>]>([
  ["does not answer", () => new Promise(() => {})],
  ["fails", () => Promise.reject(new Error("broken"))],
])(
  "while the kill switch %s no peer is called, and following resumes with its answer, before the next alarm",
  async (_how, answer) => {
    const peer = await peerAt(2, 2);
    await streaming(peer, "public");
    const calls = peer.calls.length;
    const broken = vi.spyOn(PoolPolicy.prototype, "check").mockImplementation(answer as never);
    pass(1_000);
    peer.log.drop();
    const written = await write(peer, 2);
    // The stream has asked, and the follower has asked again.
    await eventually(async () => broken.mock.calls.length >= 3);
    expect(peer.calls).toHaveLength(calls);
    broken.mockRestore();
    pass(1_000);
    await eventually(async () => {
      const here = new Set((await ours()).map(({ content_id }) => content_id));
      return written.every((id) => here.has(id));
    });
  },
  20_000,
);

describe("a stream that we read ends within a second", () => {
  // A fake clock: the check that ends the stream has run at most twice.
  beforeAll(() => {
    vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  });
  beforeEach(() => {
    // The fake clock also runs the checks of other peers' streams, in the wrong object. The follower reports that as a bug.
    vi.spyOn(console, "error").mockImplementation(() => {});
  });
  afterAll(() => {
    vi.useFakeTimers({ toFake: ["Date"] });
  });
  const second = (peer: PeerDouble) => runInDurableObject(peer.bond(), () => vi.advanceTimersByTimeAsync(1_000));

  it.each<[when: string, change: object]>([
    ["the kill switch is turned off", { federation: "off" }],
    ["the policy asks for a stronger tier", { min_auth_tier: "hardware-attested" }],
  ])("when %s", async (_when, change) => {
    const peer = await peerAt(3, 3);
    await streaming(peer, "public", "peers");
    await setPolicy(change);
    await second(peer);
    await eventually(async () => !(await followed(peer)).streaming && !(await followed(peer, "peers")).streaming);
    expect(asked(peer, STREAM), "and is not opened again").toHaveLength(1);
    await setPolicy({ federation: "on", min_auth_tier: "device-bound" });
  });

  it.each(peerAudience.options)("when the trust that it needs ends: %s", async (audience) => {
    const peer = await peerAt(3, 3);
    await streaming(peer, audience);
    await trust(peer, audience === "peers" ? 2 : 1);
    await second(peer);
    await eventually(async () => !(await followed(peer, audience)).streaming);
  });

  it("when private addresses are no longer allowed, because it may use one, and it is opened again over the public network", async () => {
    const peer = await peerAt(2, 2);
    await streaming(peer, "public");
    await setPolicy({ allow_private_peers: true });
    await second(peer);
    await peer.seen();
    expect(asked(peer, STREAM), "it may go on with more allowed").toHaveLength(1);
    await setPolicy({ allow_private_peers: false });
    await second(peer);
    await eventually(async () => asked(peer, STREAM).length === 2);
    await streaming(peer, "public");
  });
});
