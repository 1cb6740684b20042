import { expect, it } from "vitest";
import { type DeliveryKind, messageOf, rulesOf } from "../../../edge/federation/delivery/delivery-kind-rules.ts";

const body = { events: [] };
const pushed = { accepted: 0, duplicates: 0, rejected: 0, errors: [], receiver_hlc: { physical_us: 1, logical: 0 } };
const answer = (taken: Partial<typeof pushed>) => ({
  status: 200,
  body: { ...pushed, receiver_head_seq: 1, ...taken },
  retryAfterSeconds: null,
});

it.each<[topic: string | null, kind: DeliveryKind]>([
  ["trust_granted", "grant"],
  [null, "event push"],
])("a stored row with the topic %s is the kind %s, and is stored with that topic", (topic, kind) => {
  expect(messageOf({ topic, body: JSON.stringify(body) })).toEqual({ kind, body });
  expect(rulesOf(kind).topic).toBe(topic);
});

it.each<[kind: DeliveryKind, taken: Partial<typeof pushed>, status: number]>([
  ["event push", { accepted: 2 }, 200],
  ["event push", { duplicates: 1, rejected: 1 }, 200],
  ["event push", { rejected: 1 }, 400],
  ["grant", { accepted: 1 }, 200],
  ["grant", { duplicates: 1 }, 200],
  ["grant", { rejected: 1 }, 400],
])("an answer to the kind %s with %o counts as status %i", (kind, taken, status) => {
  expect(rulesOf(kind).read(answer(taken)).outcome).toMatchObject({ type: "answered", status });
});
