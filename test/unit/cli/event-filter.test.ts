import { describe, expect, it } from "vitest";
import { isSearched } from "../../../schema/wire/event-search.ts";
import { eventFilter } from "../../../scripts/cli/event-filter.ts";
import type { AdminClient } from "../../../scripts/runtime/admin-client.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";

/** The flags that select events, and the events that they select. */

const NOW_MS = Date.parse("2026-03-01T12:00:00Z");
const PEER = "a1".repeat(32);
const OTHER = "b2".repeat(32);
const client = { peers: async () => [{ atom_id: PEER }] } as unknown as AdminClient;
const filter = (values: Record<string, string>) => eventFilter(client, values, NOW_MS, hintsOf({}, {}));

it.each<[given: Record<string, string>, want: object | null]>([
  [{}, null],
  [{ type: "request_received" }, { type: "request_received" }],
  [{ peer: PEER.slice(0, 6) }, { peer: PEER }],
  // A pool that is a peer no longer.
  [{ peer: OTHER }, { peer: OTHER }],
  [
    { request: "req_1", since: "2h" },
    { request: "req_1", since_us: (NOW_MS - 2 * 3_600_000) * 1_000 },
  ],
  [{ since: "2026-01-31" }, { since_us: Date.parse("2026-01-31T00:00:00Z") * 1_000 }],
  [{ since: "2026-01-31T10:00:00+02:00" }, { since_us: Date.parse("2026-01-31T08:00:00Z") * 1_000 }],
  [{ since: "1969-12-31" }, { since_us: 0 }],
])("%j", async (given, want) => expect(await filter(given)).toEqual(want));

it.each<[given: Record<string, string>, says: string]>([
  [{ type: "Request" }, "--type must be"],
  [{ request: "-x" }, "--request has 1 to 64"],
  [{ since: "2026-13-01" }, "--since must be"],
  [{ since: "2026" }, "--since must be"],
  [{ since: "0h" }, "--since must be"],
  [{ peer: OTHER.slice(0, 8) }, "No peer id begins with"],
])("%j is refused", async (given, says) => await expect(filter(given)).rejects.toThrow(says));

describe("an event is selected", () => {
  const event = (payload: Record<string, unknown>, origin = OTHER) => ({
    type: "request_decided",
    origin,
    visibility: "private" as const,
    payload,
    hlc: { physical_us: 10, logical: 0, node_id: "00".repeat(8) },
  });
  const ofRequest = { peer: PEER, request_id: "req_1" };

  it.each<[what: string, payload: Record<string, unknown>, search: object, want: boolean]>([
    ["by type", {}, { type: "request_decided" }, true],
    ["by type, not by its beginning", {}, { type: "request" }, false],
    ["at the moment itself", {}, { since_us: 10 }, true],
    ["not before the moment", {}, { since_us: 11 }, false],
    ["by peer", ofRequest, { peer: PEER }, true],
    ["by its origin", {}, { peer: OTHER }, true],
    ["not by another peer", ofRequest, { peer: "c3".repeat(32) }, false],
    ["by request", ofRequest, { request: "req_1" }, true],
    ["not by another request", ofRequest, { request: "req_10" }, false],
    ["by the request that it is of", { of: ofRequest }, { request: "req_1", peer: PEER }, true],
    ["by the request behind it", { request: ofRequest }, { request: "req_1", peer: PEER }, true],
    ["not by the same request id of another peer", ofRequest, { request: "req_1", peer: OTHER }, false],
    [
      "not by peer and request in two places",
      { peer: PEER, of: { request_id: "req_1" } },
      { request: "req_1", peer: PEER },
      false,
    ],
    ["not if its members are of other types", { peer: 1, request_id: {} }, { request: "req_1" }, false],
    ["only if everything matches", ofRequest, { request: "req_1", type: "overview" }, false],
  ])("%s", (_what, payload, search, want) => expect(isSearched(event(payload), search)).toBe(want));
});
