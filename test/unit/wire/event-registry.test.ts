import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  ACCEPTED_ONLY,
  draft,
  EVENTS,
  type EventPayload,
  type EventType,
} from "../../../schema/wire/event-registry.ts";
import { eventBody } from "../../../schema/wire/events.ts";

/**
 * Every type of the registry: a payload as its writer makes it, and the same payload with one member too many or too
 * few.
 */

const [peer, worker] = ["a1".repeat(32), "b2".repeat(32)];
const request = { peer, request_id: "req_1" };
const checkpoint = {
  checkpoint: {
    v: 1 as const,
    type: "checkpoint" as const,
    origin: peer,
    log_id: "01".repeat(16),
    audience: "public" as const,
    seq: 7,
    chain: "00".repeat(32),
    hlc: { physical_us: 1, logical: 0, node_id: "a1".repeat(8) },
  },
  origin_pubkey: "0f".repeat(32),
  signature: "00".repeat(64),
};

const PAYLOADS: { [Type in EventType]: { visibility: string; valid: EventPayload<Type>[]; optional?: string[] } } = {
  trust_granted: { visibility: "direct", valid: [{ peer, level: 2 }] },
  worker_joined: {
    visibility: "peers",
    valid: [
      { worker, models: [] },
      { worker, models: ["org/model"] },
    ],
  },
  worker_left: { visibility: "peers", valid: [{ worker }] },
  peer_handshake: {
    visibility: "private",
    valid: [
      { peer, by: "admin" },
      { peer, by: null },
    ],
  },
  trust_changed: {
    visibility: "private",
    valid: [
      { peer, by: "0123456789abcdef", from: 1, to: 3, received: 4 },
      { peer, by: null, from: 2, to: null, received: 0 },
    ],
  },
  circuit_opened: { visibility: "private", valid: [{ peer }, { worker, model: "org/model" }] },
  circuit_closed: { visibility: "private", valid: [{ peer }, { worker, model: "org/model" }] },
  delivery_given_up: { visibility: "private", valid: [{ peer, content_id: "c0".repeat(32), reason: "tries" }] },
  peer_equivocated: {
    visibility: "private",
    valid: [{ peer, audience: "public", checkpoints: [checkpoint, checkpoint] }],
  },
  peer_unfollowable: {
    visibility: "private",
    valid: [{ peer, audience: "peers", reason: "rolled-back", since_ms: 1 }],
  },
  request_received: {
    visibility: "private",
    valid: [
      {
        ...request,
        action: "query_events",
        params: { limit: 5 },
        email_hash: "e0".repeat(32),
        key_id: null,
        status: "pending",
      },
    ],
  },
  requests_refused: {
    visibility: "private",
    valid: [{ peer, code: "federation/untrusted", count: 3, since_ms: 1 }],
  },
  request_decided: {
    visibility: "private",
    valid: [
      { ...request, decision: "expired", by: null, note_hash: null, overridden: null },
      {
        ...request,
        decision: "approved",
        by: "admin",
        note_hash: "e0".repeat(32),
        overridden: [{ slashing_id: "s1", status: "contested" }],
      },
    ],
  },
  request_executed: { visibility: "private", valid: [{ ...request, outcome: "failed" }] },
  request_called_back: { visibility: "private", valid: [{ ...request, outcome: "given-up" }] },
  request_sent: {
    visibility: "private",
    valid: [
      { ...request, action: "circuit_reset", params: {}, by: "admin", email_hash: null, key_id: "c3".repeat(32) },
    ],
  },
  request_answered: { visibility: "private", valid: [{ ...request, status: "refused", code: "cooldown" }] },
  texts_erased: {
    visibility: "private",
    valid: [
      { of: request, by: "admin" },
      { of: { worker }, by: "admin" },
    ],
  },
  admin_key_added: { visibility: "private", valid: [{ key_id: "c3".repeat(32), peer: null, by: "admin" }] },
  admin_key_removed: { visibility: "private", valid: [{ key_id: "c3".repeat(32), peer, by: "admin" }] },
  worker_banned: { visibility: "private", valid: [{ worker, by: "admin", note_hash: null }] },
  worker_pardoned: { visibility: "private", valid: [{ worker, by: "admin" }] },
  circuits_reset: {
    visibility: "private",
    valid: [
      { worker: null, by: "admin", request: null, circuits: 2, scores: 3 },
      { worker, by: null, request, circuits: 0, scores: 0 },
    ],
  },
  slashing_changed: {
    visibility: "private",
    valid: [{ slashing_id: "s1", worker: null, status: "pending", by: "admin" }],
  },
  webhook_changed: { visibility: "private", valid: [{ by: "admin", is_set: true }] },
  webhook_given_up: { visibility: "private", valid: [{ message_id: "m1", reason: "tries" }] },
  policy_changed: {
    visibility: "private",
    valid: [
      { by: "admin", federation: { federation: "off", max_peers: 3 } },
      { by: "admin", settings: ["name"] },
      { by: "admin", settings: ["defaults"], defaults: { streams: 3 } },
    ],
    optional: ["defaults"],
  },
  admin_created: { visibility: "private", valid: [{ admin: "0123456789abcdef", by: "admin" }] },
  admin_rotated: {
    visibility: "private",
    valid: [{ admin: "0123456789abcdef", replaces: "00000000000000aa", by: "admin" }],
  },
  admin_revoked: { visibility: "private", valid: [{ admin: "0123456789abcdef", by: "admin" }] },
  record_imported: { visibility: "private", valid: [{ by: "admin", table: "peers", rows: 500, outcome: "taken" }] },
  log_started: {
    visibility: "private",
    valid: [
      { by: "admin", log_id: "01".repeat(16), before: "02".repeat(16) },
      { by: "admin", log_id: "01".repeat(16), before: "02".repeat(16), starts: { public: 3, peers: 0 } },
    ],
    optional: ["starts"],
  },
  clock_confirmed: {
    visibility: "private",
    valid: [
      { by: "admin", refused: null, last_ms: 1, now_ms: 2, peers_ahead: [] },
      { by: "admin", refused: "pool/clock-ahead", last_ms: 1, now_ms: 2, peers_ahead: [peer] },
    ],
  },
};

const types = Object.keys(EVENTS) as EventType[];

describe.each(types)("%s", (type) => {
  const { visibility, valid, optional = [] } = PAYLOADS[type];
  const isAccepted = (payload: object) => EVENTS[type].payload.safeParse(payload).success;
  const body = (payload: object) => ({
    v: 1,
    type,
    origin: peer,
    visibility,
    payload,
    hlc: { physical_us: 1, logical: 0, node_id: "a1".repeat(8) },
  });

  it(`is ${visibility}, and its payload makes an event`, () => {
    for (const payload of valid) {
      expect(draft(type, payload as never)).toEqual({ type, visibility, payload });
      expect(eventBody.safeParse(body(payload)).success).toBe(true);
    }
  });

  it("refuses a payload with an extra member", () => {
    for (const payload of valid) expect(isAccepted({ ...payload, extra: 1 })).toBe(false);
  });

  it("refuses a payload without a member", () => {
    for (const payload of valid) {
      for (const name of Object.keys(payload)) {
        const { [name]: _, ...rest } = payload as Record<string, unknown>;
        expect([name, isAccepted(rest)]).toEqual([name, optional.includes(name)]);
      }
    }
  });
});

it("a payload that its schema refuses throws, because it is a bug of its writer", () => {
  expect(() => draft("circuit_opened", { peer: "nobody" })).toThrow(/not a payload of circuit_opened: peer/);
});

it.each([...ACCEPTED_ONLY, "a_type_of_a_later_release"])(
  "%s is not in the registry, and an event of that type is well formed",
  (type) => {
    expect(types).not.toContain(type);
    const hlc = { physical_us: 1, logical: 0, node_id: "a1".repeat(8) };
    for (const visibility of ["private", "peers", "public"]) {
      const event = { v: 1, type, origin: peer, visibility, payload: { any: "thing" }, hlc };
      expect(eventBody.safeParse(event).success).toBe(true);
    }
  },
);

it("only the outbox can append to the event log: every other caller gets a stub without `append`", () => {
  const filesWith = (text: string) =>
    execFileSync("git", ["grep", "-lE", text, "--", "edge"], { encoding: "utf8" }).trim().split("\n");
  expect(filesWith("EVENT_LOG\\.getByName\\(")).toEqual([
    "edge/events/event-log-for.ts",
    "edge/record/event-log-for.ts",
  ]);
  expect(filesWith("eventLogForOutboxes\\(")).toEqual(["edge/record/event-log-for.ts", "edge/record/event-outbox.ts"]);
});
