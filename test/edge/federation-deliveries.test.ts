import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { EventLog } from "../../edge/events/event-log-object.ts";
import type { Message } from "../../edge/federation/delivery/delivery-kind-rules.ts";
import type { Delivery } from "../../edge/federation/delivery/delivery-machine.ts";
import { DeliveryQueue } from "../../edge/federation/delivery/delivery-queue.ts";
import { PeerChannel } from "../../edge/federation/delivery/peer-channel.ts";
import { SentGrants } from "../../edge/federation/peering/sent-grants.ts";
import { errorBody } from "../../edge/http/error-body.ts";
import { backoffMs } from "../../edge/limits/backoff-rules.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { PushBody, SignedEvent } from "../../schema/wire/events.ts";
import type { FederationPolicy, GrantableLevel } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { inBond } from "./bond-parts.ts";
import { type Call, freshPool, PeerDouble, peerAt, setPolicy, takes } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/**
 * docs/spec/federation.md#delivery: which messages wait for a peer, when each is tried, and what happens to it. The
 * tests run alarms when they are due.
 */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const EVENTS = "/api/federation/events";

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
let peer: PeerDouble;
beforeEach(async () => {
  // Stay below the rate of registrations.
  pass(MINUTE);
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  peer = await peerAt(1);
});
afterEach(() => {
  vi.mocked(Math.random).mockRestore();
});
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

// ---- what the pool holds

const waiting = () => inBond(peer, ({ deliveries }) => deliveries.list());
const alarmMs = () => runInDurableObject(peer.bond(), (_bond, { storage }) => storage.getAlarm());
/** Waits until the messages in the queue satisfy the condition, and returns them. */
const whenWaiting = (isSo: (rows: Delivery[]) => boolean) =>
  eventually(async () => {
    const rows = await waiting();
    return isSo(rows) ? rows : null;
  });
const opened = async (wire: SignedEvent) => {
  const result = await openEvent(wire);
  if (!result.ok) throw new Error(result.code);
  return result.event;
};
/** The events in our log of these types about this peer. */
async function audited(...types: string[]) {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const bodies = await Promise.all(events.map(({ event }) => opened(event)));
  return bodies.filter(({ type, payload }) => types.includes(type) && payload.peer === peer.id);
}
const circuitEvents = async () => (await audited("circuit_opened", "circuit_closed")).map(({ type }) => type);
const tryAgain = async (afterMs: number) => {
  pass(afterMs);
  expect(await runDurableObjectAlarm(peer.bond())).toBe(true);
};

// ---- what the pool sends

const grant = (level: GrantableLevel) => admin("PUT", `/peers/${peer.id}/trust`, { level }, 200);
/** Puts direct events into the outbox, as the decisions of an admin do. None of them replaces another. */
const putDirectEvents = (...numbers: number[]) =>
  inBond(peer, ({ events }) => {
    for (const n of numbers) {
      const draft = { type: "peer_status", visibility: "direct", payload: { peer: peer.id, n } } as const;
      events.adopt({ ...draft, key: crypto.randomUUID() });
    }
  });
async function sendDirectEvents(...numbers: number[]): Promise<void> {
  await putDirectEvents(...numbers);
  await peer.bond().resume();
}

// ---- what the peer receives and answers

type Answer = (request: Request) => Response | Promise<Response> | undefined;
/** Answers pushes. All other requests get an honest answer. */
function answerPushes(answer: Answer): void {
  peer.answer = (request) => {
    const isPush = request.method === "POST" && new URL(request.url).pathname === EVENTS;
    return isPush ? answer(request) : undefined;
  };
}
const isAway: Answer = () => {
  throw new TypeError("network connection lost");
};
const isBack: Answer = () => undefined;
const down: Answer = () => new Response("down", { status: 503 });
const isOff: Answer = () => Response.json(errorBody("federation/disabled"), { status: 503 });
const STATUS = "/api/federation/status";
const VERIFY = "/v1/federation/verify";
const tries = () => peer.called(EVENTS).filter(({ method }) => method === "POST");
const eventOf = ({ body }: Pick<Call, "body">) => (body as PushBody).events[0]?.event as SignedEvent;
const levels = async () => (await Promise.all(peer.received.map(opened))).map(({ payload }) => payload.level);
const receivedNumbers = async () => (await Promise.all(peer.received.map(opened))).map(({ payload }) => payload.n);

describe("a grant", () => {
  it("that the peer does not take is tried ten times with growing backoff, by alarms that survive an eviction, and is then given up in the log", async () => {
    answerPushes(down);
    await grant(3);
    for (let tried = 1; tried < LIMITS.deliveryTries; tried++) {
      const [row] = await whenWaiting(([one]) => one?.tries === tried);
      const dueMs = row?.nextAtMs ?? 0;
      expect(dueMs - Date.now()).toBe(backoffMs(tried, 0.5));
      expect(await alarmMs()).toBeLessThanOrEqual(dueMs);
      await evictDurableObject(peer.bond());
      // An open circuit decides when the next try is.
      await tryAgain(Math.max(dueMs - Date.now(), tried < LIMITS.circuitFailures ? 0 : LIMITS.circuitOpenMs));
      await eventually(async () => tries().length === tried + 1);
    }
    await whenWaiting((rows) => rows.length === 0);
    await tryAgain(MINUTE);
    const given_up = await eventually(async () => {
      const events = await audited("delivery_given_up");
      return events.length > 0 && events;
    });
    const { content_id } = eventOf(tries()[0] as Call);
    expect(given_up).toMatchObject([{ visibility: "private", payload: { content_id, reason: "tries" } }]);
    await tryAgain(24 * HOUR);
    expect(tries()).toHaveLength(10);
  });

  it("that was given up is sent again when the peer calls and proves that it can be called", async () => {
    answerPushes(down);
    await grant(3);
    for (let tried = 1; tried < LIMITS.deliveryTries; tried++) {
      await whenWaiting(([one]) => one?.tries === tried);
      await tryAgain(12 * HOUR);
    }
    await whenWaiting((rows) => rows.length === 0);
    answerPushes(isBack);
    await tryAgain(24 * HOUR);
    expect(await levels()).toEqual([]);
    await peer.send("GET", "/api/federation/status");
    // The alarm has just verified the peer, which happens at most once a minute.
    await tryAgain(MINUTE);
    await eventually(async () => peer.received.length > 0);
    expect(await levels()).toEqual([3]);
    await whenWaiting((rows) => rows.length === 0);
    pass(LIMITS.peerVerifyMs);
    await peer.send("GET", "/api/federation/status");
    await tryAgain(MINUTE);
    expect(await levels(), "once").toEqual([3]);
  });

  it("waits through an eviction and a restart, and is sent once when the peer is reachable", async () => {
    answerPushes(isAway);
    await grant(3);
    await whenWaiting(([row]) => row?.tries === 1);
    await evictDurableObject(peer.bond());
    expect(await waiting()).toHaveLength(1);
    await abortAllDurableObjects();
    expect(await waiting()).toHaveLength(1);
    answerPushes(isBack);
    await tryAgain(backoffMs(1, 0.5));
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([3]);
    expect(await audited("delivery_given_up")).toEqual([]);
  });

  it.each([404, 410])(
    "that a peer answers with %i is given up immediately, and the log records that",
    async (status) => {
      answerPushes(() => new Response(null, { status }));
      await grant(3);
      await whenWaiting((rows) => rows.length === 0);
      await tryAgain(MINUTE);
      await eventually(async () => (await audited("delivery_given_up")).length === 1);
      expect(await audited("delivery_given_up")).toMatchObject([{ payload: { reason: "gone" } }]);
      expect(tries()).toHaveLength(1);
    },
  );

  it.each<[policy: Partial<FederationPolicy>, again: Partial<FederationPolicy>]>([
    [{ federation: "off" }, { federation: "on" }],
    [{ allow_private_peers: false }, { allow_private_peers: true }],
  ])(
    "waits while our own policy forbids the call (%o): no try is counted, and no circuit opens",
    async (policy, again) => {
      await setPolicy({ allow_private_peers: true });
      peer = await PeerDouble.make("http://lan.example");
      await peer.register();
      answerPushes(isAway);
      await grant(3);
      await whenWaiting(([row]) => row?.tries === 1);
      await setPolicy(policy);
      answerPushes(isBack);
      for (let i = 0; i < 12; i++) await tryAgain(HOUR);
      expect(await waiting()).toMatchObject([{ tries: 1 }]);
      expect(await circuitEvents()).toEqual([]);
      expect(tries()).toHaveLength(1);
      await setPolicy(again);
      await tryAgain(HOUR);
      await whenWaiting((rows) => rows.length === 0);
      expect(await levels()).toEqual([3]);
    },
  );

  it("replaces the pending grant: only the last one is sent", async () => {
    answerPushes(isAway);
    for (const level of [3, 2, 1, 0] as const) await grant(level);
    const [row] = await whenWaiting((rows) => rows.length === 1 && rows[0]?.tries === 1);
    answerPushes(isBack);
    await tryAgain((row?.nextAtMs ?? 0) - Date.now());
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([0]);
  });

  it("that was in flight when the runtime died is sent again a second later", async () => {
    answerPushes(() => new Promise(() => {}));
    await grant(3);
    await eventually(async () => tries().length === 1);
    await abortAllDurableObjects();
    expect(((await alarmMs()) ?? Number.POSITIVE_INFINITY) - Date.now()).toBeLessThanOrEqual(SECOND);
    answerPushes(isBack);
    await tryAgain(SECOND);
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([3]);
  });

  it("to a stranger that was evicted and registered again does not remove the new pending grant", async () => {
    await setPolicy({ require_mutual: false });
    const { promise: answer, resolve } = Promise.withResolvers<undefined>();
    answerPushes(() => answer as Promise<never>);
    // The grant is automatic, so no admin has decided about the peer and it can be evicted.
    await peer.push([await peer.grant(2)]);
    await eventually(async () => tries().length === 1);
    await peer.bond().evict();
    pass(MINUTE);
    await peer.register();
    answerPushes(down);
    await peer.push([await peer.grant(2)]);
    await whenWaiting(([row]) => row?.tries === 1);
    resolve(undefined);
    await eventually(async () => peer.received.length === 1);
    await setPolicy({ require_mutual: true });
    expect(await waiting()).toHaveLength(1);
    answerPushes(isBack);
    await tryAgain(HOUR);
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([2, 2]);
  });

  it("that is withdrawn while it is in flight is followed by the withdrawal", async () => {
    const { promise: answer, resolve } = Promise.withResolvers<undefined>();
    peer.answer = () => answer as Promise<never>;
    await grant(3);
    await eventually(async () => tries().length === 1);
    await grant(0);
    expect(await waiting()).toHaveLength(1);
    resolve(undefined);
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([3, 0]);
  });

  it("at level 0 is queued even when the queue is full; another message is then given up, and the log records that", async () => {
    answerPushes(isAway);
    // They are due after the end of the test.
    await inBond(peer, ({ deliveries }) => {
      const message: Message = { kind: "event push", body: { events: [] } };
      for (let n = 0; n < LIMITS.deliveriesKept; n++) deliveries.put(message, Date.now() + 9 * HOUR);
    });
    await grant(0);
    expect(await waiting()).toHaveLength(LIMITS.deliveriesKept + 1);
    await putDirectEvents(1);
    await peer.bond().wake();
    expect(await waiting()).toHaveLength(LIMITS.deliveriesKept + 1);
    expect(await audited("delivery_given_up")).toMatchObject([{ payload: { reason: "queue-full" } }]);
    const [queueFullEvent] = await audited("peer_status");
    expect(queueFullEvent).toMatchObject({ visibility: "direct", payload: { n: 1 } });
    answerPushes(isBack);
    await tryAgain(HOUR);
    await whenWaiting((rows) => rows.length === LIMITS.deliveriesKept);
    expect(await levels()).toEqual([0]);
  });

  it("that an earlier release queued without a topic is sent beside the newer grant", async () => {
    answerPushes(isAway);
    await grant(3);
    await whenWaiting(([row]) => row?.tries === 1);
    // The table is the persisted contract under test: a Bond of an earlier release has no such column.
    await inBond(peer, ({ storage }) => storage.sql.exec("ALTER TABLE deliveries DROP COLUMN topic"));
    await evictDurableObject(peer.bond());
    await grant(2);
    expect(await waiting()).toHaveLength(2);
    answerPushes(isBack);
    await tryAgain(HOUR);
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([3, 2]);
  });
});

describe("a message", () => {
  it.each<[what: string, answer: Answer]>([
    ["is answered with an error", down],
    ["is refused", () => Response.json(takes(0, [{ content_id: "", code: "events/forbidden" }]), { status: 400 })],
    ["gets no answer", isAway],
    ["is answered with garbage", () => new Response("\u0000<html>")],
  ])("that %s does not block another", async (_what, answer) => {
    answerPushes(async (request) => {
      const { payload } = await opened(eventOf({ body: await request.clone().json() }));
      return (payload.n === 2 ? await answer(request) : undefined) as Response;
    });
    await sendDirectEvents(1, 2, 3);
    const [row] = await whenWaiting((rows) => rows.length === 1 && rows[0]?.tries === 1);
    expect(await receivedNumbers()).toEqual([1, 3]);
    answerPushes(isBack);
    await tryAgain((row?.nextAtMs ?? 0) - Date.now());
    await whenWaiting((rows) => rows.length === 0);
    expect(await receivedNumbers()).toEqual([1, 3, 2]);
  });
});

describe("an admin's decision is in the log once, and is sent once, if the runtime dies", () => {
  const diskIsFull = (): never => {
    throw new Error("the disk is full");
  };
  const { queue } = SentGrants.prototype;
  /** The transaction that moves the signed grant from the outbox into the queue is rolled back after its writes. */
  const queueThenFail = function (this: SentGrants, event: SignedEvent): never {
    queue.call(this, event);
    return diskIsFull();
  };

  it.each<[when: string, inLog: number, fail: () => MockInstance]>([
    ["before the log has it", 0, () => vi.spyOn(EventLog.prototype, "append").mockImplementation(diskIsFull)],
    [
      "when the log has it, and the bond does not know that",
      2,
      () => vi.spyOn(SentGrants.prototype, "queue").mockImplementation(queueThenFail),
    ],
    ["while it is queued", 2, () => vi.spyOn(DeliveryQueue.prototype, "put").mockImplementation(diskIsFull)],
  ])("%s", async (_when, inLog, fail) => {
    const failing = fail();
    await grant(3);
    const decided = await audited("trust_changed", "trust_granted");
    expect(decided).toHaveLength(inLog);
    expect(failing).toHaveBeenCalled();
    expect(await waiting()).toEqual([]);
    failing.mockRestore();
    await abortAllDurableObjects();
    await grant(2);
    await tryAgain(MINUTE);
    await whenWaiting((rows) => rows.length === 0);
    const allDecided = await audited("trust_changed", "trust_granted");
    expect(allDecided.map(({ type, payload }) => [type, payload.to ?? payload.level])).toEqual([
      ["trust_changed", 3],
      ["trust_granted", 3],
      ["trust_changed", 2],
      ["trust_granted", 2],
    ]);
    expect(allDecided.slice(0, decided.length)).toEqual(decided);
    expect(await levels()).toEqual([2]);
  });

  it("when the peer has it, and the bond does not know that: the peer gets the same event again", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const original = PeerChannel.prototype.try;
    const failing = vi.spyOn(PeerChannel.prototype, "try").mockImplementation(async function (
      this: PeerChannel,
      message,
    ) {
      await original.call(this, message);
      return diskIsFull();
    });
    await grant(3).catch(() => {});
    await eventually(async () => peer.received.length > 0);
    failing.mockRestore();
    expect(await waiting()).toHaveLength(1);
    await abortAllDurableObjects();
    await tryAgain(MINUTE);
    await whenWaiting((rows) => rows.length === 0);
    logged.mockRestore();
    expect(new Set(peer.received.map(({ content_id }) => content_id)).size).toBe(1);
    expect(await audited("trust_granted")).toHaveLength(1);
  });
});

describe("the circuit", () => {
  it("opens after five failures, allows one try after half an hour, and closes when that try is answered", async () => {
    answerPushes(down);
    await sendDirectEvents(1, 2, 3, 4, 5, 6, 7);
    await eventually(async () => tries().length === LIMITS.circuitFailures);
    await whenWaiting((rows) => rows.every((row) => row.nextAtMs >= Date.now() + SECOND));
    expect(await peer.seen()).toMatchObject({ circuit: "open", deliveries_waiting: 7 });
    await eventually(async () => (await circuitEvents()).length === 1);

    await tryAgain(LIMITS.circuitOpenMs - 1);
    await whenWaiting((rows) => rows.every((row) => row.nextAtMs === Date.now() + 1));
    await evictDurableObject(peer.bond());
    expect(tries(), "left alone").toHaveLength(5);
    await tryAgain(1);
    await eventually(async () => tries().length === 6);
    // The try failed: all messages wait another half an hour.
    await whenWaiting((rows) => rows.every((row) => row.nextAtMs > Date.now() + SECOND));
    await evictDurableObject(peer.bond());
    expect(tries()).toHaveLength(6);
    expect(await peer.seen()).toMatchObject({ circuit: "open" });

    answerPushes(isBack);
    await tryAgain(LIMITS.circuitOpenMs);
    await whenWaiting((rows) => rows.length === 0);
    expect((await receivedNumbers()).toSorted()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(await peer.seen()).toMatchObject({ circuit: "closed", deliveries_waiting: 0 });
    await eventually(async () => (await circuitEvents()).length === 2);
    expect(await circuitEvents()).toEqual(["circuit_opened", "circuit_closed"]);
  });

  describe("after silence opened it", () => {
    beforeEach(async () => {
      peer.answer = isAway;
      await sendDirectEvents(1, 2, 3, 4, 5, 6);
      await whenWaiting((rows) => rows.every((row) => row.nextAtMs >= Date.now() + SECOND));
      expect(await peer.seen()).toMatchObject({ circuit: "open", effective: 1 });
    });

    it("closes when the peer calls and can be called, at any trust; pending messages are sent immediately", async () => {
      pass(SECOND);
      peer.answer = isBack;
      expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
      await whenWaiting((rows) => rows.length === 0);
      expect((await receivedNumbers()).toSorted()).toEqual([1, 2, 3, 4, 5, 6]);
      expect(await peer.seen()).toMatchObject({ circuit: "closed" });
    });

    it("stays open for a peer that calls and cannot be called; one verification a minute is tried, and no message loses a try", async () => {
      const before = await waiting();
      for (const minute of [1, 2]) {
        for (let i = 0; i < 3; i++) expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
        await eventually(async () => peer.called(VERIFY).length === minute);
        pass(MINUTE);
      }
      expect(peer.called(VERIFY)).toHaveLength(2);
      expect(await waiting()).toEqual(before);
      expect(await peer.seen()).toMatchObject({ circuit: "open" });
    });

    it("stays open for a peer that verifies and does not answer pushes: one message a minute is tried", async () => {
      const isVerified = (calls: number) => eventually(async () => peer.called(VERIFY).length === calls);
      answerPushes(isAway);
      for (const minute of [1, 2]) {
        pass(MINUTE);
        for (let i = 0; i < 3; i++) expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
        await isVerified(minute);
        await whenWaiting(([row]) => row?.tries === 1 + minute && row.nextAtMs > Date.now());
        expect(tries()).toHaveLength(LIMITS.circuitFailures + minute);
      }
      expect(await peer.seen()).toMatchObject({ circuit: "open" });
      expect(await circuitEvents()).toEqual(["circuit_opened"]);
    });
  });

  it("opened by errors stays open, whatever other answers of the peer are valid", async () => {
    answerPushes(down);
    await sendDirectEvents(1, 2, 3, 4, 5, 6);
    await whenWaiting((rows) => rows.every((row) => row.nextAtMs >= Date.now() + SECOND));
    const before = await waiting();
    for (const minute of [1, 2]) {
      pass(MINUTE);
      expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
      await eventually(async () => peer.called(VERIFY).length === minute);
      await peer.register();
    }
    expect(await waiting()).toEqual(before);
    expect(await peer.seen()).toMatchObject({ circuit: "open" });
    expect(tries()).toHaveLength(LIMITS.circuitFailures);
  });

  it("opened by the errors of a proxy in front of the peer closes when the peer answers again", async () => {
    peer.answer = () => new Response("<html>bad gateway</html>", { status: 502 });
    await sendDirectEvents(1, 2, 3, 4, 5, 6);
    await whenWaiting((rows) => rows.every((row) => row.nextAtMs >= Date.now() + SECOND));
    // The peer calls, but the proxy still answers in its place.
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
    await eventually(async () => peer.called(VERIFY).length === 1);
    pass(MINUTE);
    peer.answer = isBack;
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
    await whenWaiting((rows) => rows.length === 0);
    expect(await peer.seen()).toMatchObject({ circuit: "closed" });
  });

  it("allows a try when our admin adds the peer again, whatever opened it", async () => {
    answerPushes(down);
    await sendDirectEvents(1, 2, 3, 4, 5, 6);
    await whenWaiting((rows) => rows.every((row) => row.nextAtMs >= Date.now() + SECOND));
    answerPushes(isBack);
    await admin("POST", "/peers", { url: peer.url }, 201);
    await whenWaiting((rows) => rows.length === 0);
    expect(await peer.seen()).toMatchObject({ circuit: "closed" });
  });

  it.each<[what: string, opens: boolean, answer: Answer]>([
    ["errors", true, down],
    ["garbage", true, () => new Response("<html>welcome to the hotel</html>")],
    ["redirects", true, () => Response.redirect("https://else.example/", 307)],
    ["error pages of a proxy", true, () => new Response("<html>forbidden</html>", { status: 403 })],
    [
      "refusals of the event",
      false,
      () => Response.json(takes(0, [{ content_id: "", code: "events/forbidden" }]), { status: 400 }),
    ],
    ["refusals of the request", false, () => Response.json(errorBody("federation/unauthenticated"), { status: 401 })],
    ["requests to retry later", false, () => new Response(null, { status: 429, headers: { "retry-after": "5" } })],
  ])("opens on seven %s: %j", async (_what, opens, answer) => {
    answerPushes(answer);
    await sendDirectEvents(1, 2, 3, 4, 5, 6, 7);
    await whenWaiting((rows) => rows.length === 7 && rows.every((row) => row.nextAtMs > Date.now()));
    expect(tries()).toHaveLength(opens ? LIMITS.circuitFailures : 7);
    expect((await peer.seen()).circuit).toBe(opens ? "open" : "closed");
  });
});

describe("a peer that asks to retry later", () => {
  const later =
    (retryAfter: string): Answer =>
    () =>
      new Response(null, { status: 429, headers: { "retry-after": retryAfter } });
  it.each<[retryAfter: string, waitsMs: number]>([
    ["0", LIMITS.deliveryBackoffMinMs],
    ["90", 90 * SECOND],
    ["31536000", LIMITS.deliveryBackoffMaxMs],
    ["9".repeat(400), LIMITS.deliveryBackoffMaxMs],
  ])(
    "after %s s gets the message then, within the bounds, and no failed try is counted",
    async (retryAfter, waitsMs) => {
      answerPushes(later(retryAfter));
      await grant(3);
      const [row] = await whenWaiting(([one]) => one?.deferrals === 1);
      expect(row).toMatchObject({ tries: 0, nextAtMs: Date.now() + waitsMs });
      await evictDurableObject(peer.bond());
      answerPushes(isBack);
      await tryAgain(waitsMs - 1);
      expect(await waiting()).toMatchObject([{ deferrals: 1 }]);
      expect(tries()).toHaveLength(1);
      await tryAgain(1);
      await whenWaiting((rows) => rows.length === 0);
      expect(await levels()).toEqual([3]);
    },
  );

  it("at a date gets the message then", async () => {
    answerPushes(later(new Date(Date.now() + 10 * MINUTE).toUTCString()));
    await grant(3);
    const [row] = await whenWaiting(([one]) => one?.deferrals === 1);
    expect(Math.abs((row?.nextAtMs ?? 0) - Date.now() - 10 * MINUTE)).toBeLessThanOrEqual(SECOND);
  });

  it("without end gets it a hundred times, and then it is given up", async () => {
    answerPushes(later("1"));
    await grant(3);
    await whenWaiting(([one]) => one?.deferrals === 1);
    for (let deferrals = 2; deferrals <= LIMITS.deliveryDeferrals; deferrals++) {
      await tryAgain(SECOND);
      await whenWaiting(([one]) => one?.deferrals === deferrals);
    }
    await tryAgain(SECOND);
    await whenWaiting((rows) => rows.length === 0);
    expect(tries()).toHaveLength(LIMITS.deliveryDeferrals + 1);
    await tryAgain(MINUTE);
    await eventually(async () => (await audited("delivery_given_up")).length === 1);
    expect((await peer.seen()).circuit).toBe("closed");
  });
});

describe("a peer whose federation is off", () => {
  const untilDue = async () => {
    const [row] = await waiting();
    return (row?.nextAtMs ?? 0) - Date.now();
  };

  it("defers all messages: only one is tried, no failed try is counted, and no circuit opens", async () => {
    peer.answer = isOff;
    await sendDirectEvents(1, 2, 3, 4, 5, 6, 7);
    await whenWaiting((rows) => rows.length === 7 && rows.every((row) => row.nextAtMs > Date.now()));
    for (let round = 2; round <= 12; round++) {
      await tryAgain(await untilDue());
      await eventually(async () => tries().length === round);
      await whenWaiting((rows) => rows.every((row) => row.nextAtMs > Date.now()));
    }
    const rows = await waiting();
    expect(rows.map((row) => row.tries)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(rows.map((row) => row.deferrals)).toEqual([12, 0, 0, 0, 0, 0, 0]);
    expect(await circuitEvents()).toEqual([]);
    peer.answer = isBack;
    await tryAgain(await untilDue());
    await whenWaiting((left) => left.length === 0);
    expect(await receivedNumbers()).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it("is shown as off since the first such answer, in the list too, until it answers normally", async () => {
    const seen = async () => {
      const { peers } = await admin<{ peers: { atom_id: string; absent: object | null }[] }>("GET", "/peers");
      return [(await peer.seen()).absent, peers.find(({ atom_id }) => atom_id === peer.id)?.absent];
    };
    const is = (absent: object | null) =>
      eventually(async () => (await seen()).every((one) => JSON.stringify(one) === JSON.stringify(absent)));
    expect(await seen()).toEqual([null, null]);
    const since_ms = Date.now();
    peer.answer = isOff;
    await sendDirectEvents(1);
    await is({ reason: "off", since_ms });
    await whenWaiting(([row]) => row?.deferrals === 1);
    await abortAllDurableObjects();
    await tryAgain(await untilDue());
    await whenWaiting(([row]) => row?.deferrals === 2);
    await is({ reason: "off", since_ms });
    peer.answer = isAway;
    await tryAgain(await untilDue());
    await is({ reason: "silent", since_ms: Date.now() });
    await whenWaiting(([row]) => row?.tries === 1);
    peer.answer = isBack;
    await tryAgain(await untilDue());
    await is(null);
  });

  describe("and on again", () => {
    beforeEach(async () => {
      peer.answer = isOff;
      await grant(2);
      for (let deferred = 1; deferred < 8; deferred++) {
        await whenWaiting(([row]) => row?.deferrals === deferred && row.nextAtMs > Date.now());
        await tryAgain(await untilDue());
      }
      await whenWaiting(([row]) => row?.deferrals === 8 && row.nextAtMs > Date.now() + 10 * MINUTE);
      expect(await peer.seen()).toMatchObject({ circuit: "closed", deliveries_waiting: 1 });
      peer.answer = isBack;
    });
    const expectDelivered = async () => {
      await whenWaiting((rows) => rows.length === 0);
      expect(await levels()).toEqual([2]);
      expect(await peer.seen()).toMatchObject({ circuit: "closed", deliveries_waiting: 0 });
    };

    it("gets the pending grant after the next verification, whatever its backoff is", async () => {
      await tryAgain(LIMITS.peerVerifyMs);
      await expectDelivered();
    });

    it("gets the pending grant when it calls", async () => {
      pass(LIMITS.peerVerifyMs);
      expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
      await expectDelivered();
    });

    it("gets the pending grant when it registers", async () => {
      pass(LIMITS.peerVerifyMs);
      await peer.register();
      await expectDelivered();
    });

    it("gets the pending grant when our admin adds it again, which verifies it", async () => {
      await admin("POST", "/peers", { url: peer.url }, 201);
      await expectDelivered();
    });

    it("gets the pending grant although our runtime was restarted", async () => {
      await abortAllDurableObjects();
      pass(LIMITS.peerVerifyMs);
      expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
      await expectDelivered();
    });
  });
});

describe("a hostile answer", () => {
  /** A body that is generated while it is read. */
  function body(chunk: Uint8Array) {
    const seen = { bytes: 0, cancelled: false };
    const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
      seen.bytes += chunk.byteLength;
      controller.enqueue(chunk);
    };
    const cancel = () => {
      seen.cancelled = true;
    };
    return { seen, stream: new ReadableStream<Uint8Array>({ pull, cancel }, { highWaterMark: 0 }) };
  }
  const isTriedAgain = async () => {
    const [row] = await whenWaiting(([one]) => one?.tries === 1);
    expect(row?.nextAtMs).toBe(Date.now() + backoffMs(1, 0.5));
    expect(tries()).toHaveLength(1);
    answerPushes(isBack);
    await tryAgain(backoffMs(1, 0.5));
    await whenWaiting((rows) => rows.length === 0);
    expect(await levels()).toEqual([3]);
  };

  it.each<[what: string, answer: () => Response]>([
    ["without a body", () => new Response(null)],
    ["with no content", () => new Response(null, { status: 204 })],
    ["with garbage", () => new Response(crypto.getRandomValues(new Uint8Array(60_000)))],
    ["with JSON of something else", () => Response.json({ status: "registered" })],
    ["with an error body in a success", () => Response.json(errorBody("federation/disabled"))],
    ["with a success that accepts nothing", () => Response.json(takes(0))],
    ["with a hundred thousand values", () => new Response(`[${"0,".repeat(100_000)}0]`)],
    ["with deeply nested JSON", () => new Response("[".repeat(1_000_000))],
    ["with a redirect", () => Response.redirect("https://inside.example/", 307)],
  ])("%s is not a delivery: the grant is retried and arrives", async (_what, answer) => {
    const redirects = new Set<string>();
    answerPushes(({ redirect }) => {
      redirects.add(redirect);
      return answer();
    });
    await grant(3);
    await isTriedAgain();
    expect([...redirects], "and no redirect is followed").toEqual(["manual"]);
  });

  it("without end is read up to the limit", async () => {
    const { seen, stream } = body(new Uint8Array(64 * 1024).fill(0x20));
    answerPushes(() => new Response(stream));
    await grant(3);
    await isTriedAgain();
    expect(seen.cancelled).toBe(true);
    expect(seen.bytes).toBeLessThanOrEqual(LIMITS.federatedBodyBytes + 2 * 64 * 1024);
  });

  it("that announces 10 GB is not read", async () => {
    const { seen, stream } = body(new Uint8Array(64 * 1024));
    answerPushes(() => new Response(stream, { headers: { "content-length": String(10 * 1024 ** 3) } }));
    await grant(3);
    await isTriedAgain();
    expect(seen).toEqual({ bytes: 0, cancelled: true });
  });

  it("that never comes is awaited for ten seconds, and then the withdrawal is sent", async () => {
    const { setTimeout: real } = globalThis;
    const timers = vi.spyOn(globalThis, "setTimeout");
    const isCall = (ms?: number) => ms === LIMITS.peerCallMs;
    // Long enough that the withdrawal is decided before the call ends, also on a busy machine.
    timers.mockImplementation(((run: () => void, ms?: number) => real(run, isCall(ms) ? 2_000 : ms)) as never);
    let aborted = 0;
    answerPushes(
      ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            aborted += 1;
            reject(signal.reason);
          });
        }),
    );
    await grant(3);
    await eventually(async () => tries().length > 0);
    await grant(0);
    answerPushes(isBack);
    await whenWaiting((rows) => rows.length === 0);
    expect(timers.mock.calls.filter(([, ms]) => isCall(ms))).toHaveLength(2);
    timers.mockRestore();
    expect(aborted).toBe(1);
    expect(await levels()).toEqual([0]);
  });
});
