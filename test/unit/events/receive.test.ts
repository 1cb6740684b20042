import { expect, it } from "vitest";
import { NEVER } from "../../../edge/events/clock-rules.ts";
import { type ReceiveStep, receiveEvent } from "../../../edge/events/receive-rules.ts";
import type { EventBody, Visibility } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const S = 1_000_000;
const [alice, bob, self] = ["a1".repeat(32), "b0".repeat(32), "0f".repeat(32)];
const event = (visibility: Visibility, aheadUs = 0, origin = alice): EventBody => ({
  v: 1,
  type: "overview",
  origin,
  visibility,
  payload: { peer: self },
  hlc: { physical_us: 100 * S + aheadUs, logical: 0, node_id: "a1".repeat(8) },
});
const clock = { physical_us: 100 * S, logical: 1 };
const DRIFT: ReceiveStep = { outcome: "refused", code: "events/excessive-drift" };
const FORBIDDEN: ReceiveStep = { outcome: "refused", code: "events/forbidden" };

/** Events that Alice sends while our wall clock reads 100 s. */
it.each<[what: string, event: EventBody, ttl: number, held: number, want: ReceiveStep]>([
  ["a public event", event("public"), 3, 0, { outcome: "accepted", clock, audiences: ["all", "public"], ttl: 2 }],
  [
    "of another pool",
    event("public", 0, bob),
    1,
    0,
    { outcome: "accepted", clock, audiences: ["all", "public"], ttl: 0 },
  ],
  ["with no relay left", event("public"), 0, 0, { outcome: "accepted", clock, audiences: ["all"], ttl: 0 }],
  ["for peers", event("peers"), 3, 0, { outcome: "accepted", clock, audiences: ["all"], ttl: 0 }],
  ["for us", event("direct"), 0, 0, { outcome: "accepted", clock, audiences: ["all"], ttl: 0 }],
  ["for peers, of another pool", event("peers", 0, bob), 3, 0, FORBIDDEN],
  ["private", event("private"), 3, 0, FORBIDDEN],
  ["our own", event("public", 0, self), 3, 0, FORBIDDEN],
  ["11 s ahead", event("public", 11 * S), 3, 0, { outcome: "held", dueUs: 101 * S }],
  [
    "11 s ahead, in the last free place",
    event("public", 11 * S),
    3,
    LIMITS.heldEvents - 1,
    { outcome: "held", dueUs: 101 * S },
  ],
  ["11 s ahead, for us only", event("direct", 11 * S), 3, 0, DRIFT],
  ["11 s ahead, while as many as possible are held", event("public", 11 * S), 3, LIMITS.heldEvents, DRIFT],
  [
    "in time, while as many as possible are held",
    event("peers"),
    3,
    LIMITS.heldEvents,
    { outcome: "accepted", clock, audiences: ["all"], ttl: 0 },
  ],
  ["61 s ahead", event("public", 61 * S), 3, 0, DRIFT],
  ["61 s ahead, and private", event("private", 61 * S), 3, 0, FORBIDDEN],
])("%s", (_what, arrived, ttl, held, want) => {
  expect(
    receiveEvent(
      NEVER,
      { event: arrived, ttl, from: alice },
      { self, held: () => ({ all: held, ofSender: 0 }) },
      100 * S,
    ),
  ).toEqual(want);
});

it("a sender whose share of held events is used up is refused another; other senders are not", () => {
  const ahead = { event: event("public", 11 * S), ttl: 3, from: alice };
  const held = (ofSender: number) => () => ({ all: LIMITS.heldEventsPerSender, ofSender });
  expect(receiveEvent(NEVER, ahead, { self, held: held(LIMITS.heldEventsPerSender) }, 100 * S)).toEqual(DRIFT);
  expect(receiveEvent(NEVER, ahead, { self, held: held(LIMITS.heldEventsPerSender - 1) }, 100 * S).outcome).toBe(
    "held",
  );
});
