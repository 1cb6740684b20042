import { expect, it } from "vitest";
import { type Message, messageOf, rulesOf, topicOf } from "../../../edge/federation/delivery/delivery-kind-rules.ts";

const body = { events: [] };
const pushed = { accepted: 0, duplicates: 0, rejected: 0, errors: [], receiver_hlc: { physical_us: 1, logical: 0 } };
const answer = (taken: Partial<typeof pushed>) => ({
  status: 200,
  body: { ...pushed, receiver_head_seq: 1, ...taken },
  retryAfterSeconds: null,
});

const callback = {
  request_id: "r1",
  origin_pool_id: "a1".repeat(32),
  final_status: "rejected" as const,
  execution_result: null,
  execution_error: null,
};
const request = {
  request_id: "r1",
  origin_pool_id: "a1".repeat(32),
  action_type: "query_events",
  action_params: {},
};

it.each<[message: Message, topic: string | null]>([
  [{ kind: "grant", body }, "trust_granted"],
  [{ kind: "event push", body }, null],
  [{ kind: "admin request", body: request }, "request:r1"],
  [{ kind: "callback", body: callback }, "callback:r1"],
])("%o is stored with the topic %s, and is read as the same message", (message, topic) => {
  expect(topicOf(message)).toBe(topic);
  const { target } = rulesOf(message.kind);
  expect(messageOf({ target, topic, body: JSON.stringify(message.body) })).toEqual(message);
});

it.each<[kind: "event push" | "grant", taken: Partial<typeof pushed>, status: number]>([
  ["event push", { accepted: 2 }, 200],
  ["event push", { duplicates: 1, rejected: 1 }, 200],
  ["event push", { rejected: 1 }, 400],
  ["grant", { accepted: 1 }, 200],
  ["grant", { duplicates: 1 }, 200],
  ["grant", { rejected: 1 }, 400],
])("an answer to the kind %s with %o counts as status %i", (kind, taken, status) => {
  expect(rulesOf(kind).read(answer(taken)).outcome).toMatchObject({ type: "answered", status });
});
