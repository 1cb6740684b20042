import { expect, it } from "vitest";
import { signerFrom } from "../../../schema/crypto/ed25519.ts";
import { signEvent } from "../../../schema/crypto/signed-event.ts";
import { formatEvent, verified } from "../../../scripts/cli/format-event.ts";
import { seed } from "../crypto/ed25519-cases.ts";

/** One line for each event: the audit of requests in words, other events as their payload. */

const us = await signerFrom(await seed("pool"));
const PEER = "a1".repeat(32);
const KEY = "b2".repeat(32);
const ofRequest = { peer: PEER, request_id: "req_1" };

async function line(type: string, payload: Record<string, unknown>): Promise<string> {
  const hlc = { physical_us: 1_700_000_000_000_000, logical: 0 };
  const event = await signEvent(us, { type, visibility: "private", payload, hlc });
  return formatEvent(await verified({ seq: 7, ttl: 0, event }));
}

it.each<[type: string, payload: Record<string, unknown>, says: string]>([
  [
    "request_received",
    { ...ofRequest, action: "circuit_reset", params: {}, email_hash: null, key_id: KEY, status: "pending" },
    "a1a1a1a1a1a1a1a1 asks for circuit_reset {} as req_1, signed by admin key b2b2b2b2b2b2b2b2: pending",
  ],
  [
    "requests_refused",
    { peer: PEER, code: "federation/cooldown", count: 3, since_ms: 1 },
    "3 requests of a1a1a1a1a1a1a1a1 refused: federation/cooldown",
  ],
  [
    "request_decided",
    {
      ...ofRequest,
      decision: "approved",
      by: "admin",
      note_hash: null,
      overridden: [{ slashing_id: "s1", status: "pending" }],
    },
    "req_1 of a1a1a1a1a1a1a1a1: approved by admin, although these slashing events are open: s1 (pending)",
  ],
  [
    "request_decided",
    { ...ofRequest, decision: "expired", by: null, note_hash: null, overridden: null },
    "req_1 of a1a1a1a1a1a1a1a1: expired",
  ],
  ["request_executed", { ...ofRequest, outcome: "executed" }, "req_1 of a1a1a1a1a1a1a1a1: the action ran"],
  [
    "request_called_back",
    { ...ofRequest, outcome: "given-up" },
    "req_1 of a1a1a1a1a1a1a1a1: the peer did not take the answer",
  ],
  [
    "request_sent",
    { ...ofRequest, action: "query_events", params: { limit: 5 }, by: "admin", email_hash: null, key_id: null },
    'admin asks a1a1a1a1a1a1a1a1 for query_events {"limit":5} as req_1',
  ],
  [
    "request_answered",
    { ...ofRequest, status: "refused", code: "federation/untrusted" },
    "req_1 to a1a1a1a1a1a1a1a1: refused (federation/untrusted)",
  ],
  ["texts_erased", { of: ofRequest, by: "admin" }, "admin erased the texts of request req_1 of a1a1a1a1a1a1a1a1"],
  [
    "admin_key_added",
    { key_id: KEY, peer: null, by: "admin" },
    "admin registered admin key b2b2b2b2b2b2b2b2 of this pool",
  ],
  [
    "admin_key_removed",
    { key_id: KEY, peer: PEER, by: "admin" },
    "admin removed admin key b2b2b2b2b2b2b2b2 of a1a1a1a1a1a1a1a1",
  ],
  // Another type, a payload of another version, and text that could control the terminal.
  ["overview", { n: 1 }, '{"n":1}'],
  ["request_executed", { ...ofRequest, outcome: "half" }, `{"outcome":"half","peer":"${PEER}","request_id":"req_1"}`],
  ["overview", { text: "\u009b2J" }, '{"text":"�2J"}'],
  ["constructor", {}, "{}"],
])("%s %#", async (type, payload, says) => {
  expect(await line(type, payload)).toBe(
    `7  2023-11-14T22:13:20.000Z  ${type}  private  ${us.id.slice(0, 16)}  ${says}`,
  );
});

it("an event whose signature does not verify says only that", async () => {
  const event = await signEvent(us, {
    type: "overview",
    visibility: "private",
    payload: {},
    hlc: { physical_us: 1, logical: 0 },
  });
  expect(formatEvent(await verified({ seq: 7, ttl: 0, event: { ...event, signature: "0".repeat(128) } }))).toBe(
    "7  not valid: events/invalid-signature",
  );
});
