import { expect, it } from "vitest";
import { pullAnswer, pullQuery, pushBody } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const event = {
  event_bytes: "AAAA",
  origin_pubkey: "a1".repeat(32),
  signature: "00".repeat(64),
  content_id: "c0".repeat(32),
};
const checkpoint = {
  checkpoint: {
    v: 1,
    type: "checkpoint",
    origin: "a1".repeat(32),
    log_id: "01".repeat(16),
    audience: "public",
    seq: 0,
    chain: "00".repeat(32),
    hlc: { physical_us: 0, logical: 0, node_id: "a1".repeat(8) },
  },
  origin_pubkey: "a1".repeat(32),
  signature: "00".repeat(64),
};
const many = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);

it.each<[query: Record<string, string>, want: object | null]>([
  [{}, { audience: "public", since: 0, limit: LIMITS.eventsPerPull }],
  [
    { audience: "peers", since: "7", limit: "5" },
    { audience: "peers", since: 7, limit: 5 },
  ],
  [{ audience: "all" }, null],
  [{ since: "-1" }, null],
  [{ since: "1.5" }, null],
  [{ limit: "0" }, null],
  [{ limit: String(LIMITS.eventsPerPull + 1) }, null],
  [{ until: "9" }, null],
])("a pull %j", (query, want) => expect(pullQuery.safeParse(query).data ?? null).toEqual(want));

it.each<[what: string, body: unknown, good: boolean]>([
  ["an event", { events: [{ event, ttl: 3 }] }, true],
  ["the largest allowed number of events", { events: many(LIMITS.eventsPerPush, { event, ttl: 0 }) }, true],
  ["one event too many", { events: many(LIMITS.eventsPerPush + 1, { event, ttl: 0 }) }, false],
  ["no event", { events: [] }, false],
  // Clamped, not refused: only its origin knows the ttl that it started with.
  ["a ttl too high", { events: [{ event, ttl: 900 }] }, true],
  ["a ttl below zero", { events: [{ event, ttl: -1 }] }, false],
  ["no ttl", { events: [{ event }] }, false],
  ["an unknown member", { events: [{ event, ttl: 3, seq: 1 }] }, false],
])("a push of %s", (_what, body, good) => expect(pushBody.safeParse(body).success).toBe(good));

it.each<[what: string, change: object, good: boolean]>([
  ["nothing new", {}, true],
  ["an event", { events: [{ seq: 1, event, ttl: 3 }], next: 1, head: 1 }, true],
  ["more than asked for", { events: many(LIMITS.eventsPerPull + 1, { seq: 1, event, ttl: 3 }) }, false],
  ["number 0", { events: [{ seq: 0, event, ttl: 3 }] }, false],
  ["no checkpoint", { checkpoint: null }, false],
])("an answer with %s", (_what, change, good) => {
  expect(pullAnswer.safeParse({ events: [], next: 0, head: 0, checkpoint, ...change }).success).toBe(good);
});
