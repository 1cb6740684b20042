import { describe, expect, it } from "vitest";
import type { PeerTrust } from "../../../edge/federation/peering/trust-rules.ts";
import { mayFollow, originRefusal } from "../../../edge/federation/sync/sync-trust-rules.ts";
import type { PeerAudience, Visibility } from "../../../schema/wire/events.ts";
import type { GrantableLevel, TrustLevel } from "../../../schema/wire/federation.ts";
import { alice, bob, us } from "./alices-log.ts";

const NOW = 1_776_358_800_000;

const trust = (granted: GrantableLevel, received: TrustLevel, changes: Partial<PeerTrust> = {}): PeerTrust => ({
  granted,
  received,
  receivedAt: null,
  decided: null,
  addedByAdmin: false,
  addedAtMs: NOW,
  revokedAtMs: null,
  removedAtMs: null,
  ...changes,
});

describe("whether a peer is followed", () => {
  const policy = { min_auth_tier: "device-bound" } as const;
  it.each<[granted: GrantableLevel, byReceived: string[]]>([
    //    received: 0, 1, 2, 3, 4
    [0, ["", "", "", "", ""]],
    [1, ["", "", "", "", ""]],
    [2, ["", "", "public", "public", "public"]],
    [3, ["", "", "public", "public,peers", "public,peers"]],
  ])("granted %i", (granted, byReceived) => {
    const audiences: PeerAudience[] = ["public", "peers"];
    const levels: TrustLevel[] = [0, 1, 2, 3, 4];
    const followed = (received: TrustLevel) =>
      audiences.filter((audience) => mayFollow(audience, trust(granted, received), policy)).join();
    expect(levels.map(followed)).toEqual(byReceived);
  });

  it.each<[what: string, peer: PeerTrust | null, tier: "device-bound" | "hardware-attested"]>([
    ["not an unknown peer", null, "device-bound"],
    ["not a removed peer", trust(3, 3, { removedAtMs: NOW }), "device-bound"],
    ["not a peer of a weaker tier than the policy asks for", trust(3, 3), "hardware-attested"],
  ])("%s", (_what, peer, min_auth_tier) => expect(mayFollow("public", peer, { min_auth_tier })).toBe(false));
});

const ACCEPTED = null;
const UNKNOWN = "events/unknown-origin";
it.each<[visibility: Visibility, origin: string, ofOrigin: TrustLevel, ofAlice: TrustLevel, want: string | null]>([
  ["public", alice, 2, 2, ACCEPTED],
  ["public", alice, 1, 1, UNKNOWN],
  ["public", bob, 2, 2, ACCEPTED],
  ["public", bob, 1, 3, UNKNOWN],
  ["public", bob, 3, 1, UNKNOWN],
  ["peers", alice, 3, 3, ACCEPTED],
  ["peers", alice, 2, 2, UNKNOWN],
  ["direct", alice, 2, 2, ACCEPTED],
  ["direct", alice, 1, 1, UNKNOWN],
  ["direct", bob, 3, 1, UNKNOWN],
  // The log judges these: a duplicate, or forbidden.
  ["public", us, 0, 2, ACCEPTED],
  ["private", alice, 0, 0, ACCEPTED],
])("a %s event by %s at trust %i, sent by Alice at trust %i", (visibility, origin, ofOrigin, ofAlice, want) => {
  const trustOf = (id: string) => (id === alice ? ofAlice : ofOrigin);
  const event = { origin, visibility, type: "overview", payload: { peer: us } };
  expect(originRefusal(event, { from: alice, self: us }, trustOf)).toBe(want);
});

it.each<[what: string, changes: object, want: string | null]>([
  ["a grant", {}, ACCEPTED],
  ["a grant of an unknown level", { payload: { peer: us, level: 5 } }, UNKNOWN],
  ["a grant with an extra field", { payload: { peer: us, level: 3, text: "…" } }, UNKNOWN],
  ["a grant to all peers", { visibility: "peers" }, UNKNOWN],
  ["another event", { type: "overview" }, UNKNOWN],
])("from a peer below trust 2: %s", (_what, changes, want) => {
  const visibility: Visibility = "direct";
  const event = { origin: alice, visibility, type: "trust_granted", payload: { peer: us, level: 3 }, ...changes };
  expect(originRefusal(event, { from: alice, self: us }, () => 0)).toBe(want);
});
