import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  awaitsAdmin,
  decide,
  effectiveTrust,
  isTierAccepted,
  type PeerTrust,
  prove,
  receiveGrant,
  remove,
  revoke,
  type TrustPolicy,
  type TrustStep,
  type TrustUse,
  trustFor,
  trustInEffect,
} from "../../../edge/federation/peering/trust-rules.ts";
import {
  type AuthTier,
  FEDERATION_POLICY_DEFAULTS,
  type FederationPolicy,
  type GrantableLevel,
  type TrustLevel,
} from "../../../schema/wire/federation.ts";

const NOW = 1_776_358_800_000;
const policy: TrustPolicy = FEDERATION_POLICY_DEFAULTS;
const stranger: PeerTrust = {
  granted: 1,
  received: 0,
  receivedAt: null,
  decided: null,
  addedByAdmin: false,
  addedAtMs: NOW,
  revokedAtMs: null,
  removedAtMs: null,
};
const at = (physical_us: number, logical = 0) => ({ physical_us, logical });
function trusted(step: TrustStep): PeerTrust {
  return step.ok ? step.trust : expect.fail(step.code);
}
const granted = (level: GrantableLevel) => trusted(decide(stranger, level, policy, 0, NOW));

describe("effective trust: what we granted, up to 2; above that max(2, min(granted, received))", () => {
  it.each<[granted: TrustLevel, byReceived: [TrustLevel, TrustLevel, TrustLevel, TrustLevel, TrustLevel]]>([
    //    received: 0, 1, 2, 3, 4
    [0, [0, 0, 0, 0, 0]],
    [1, [1, 1, 1, 1, 1]],
    [2, [2, 2, 2, 2, 2]],
    [3, [2, 2, 2, 3, 3]],
    [4, [2, 2, 2, 3, 4]],
  ])("granted %i", (granted, byReceived) => {
    const levels: TrustLevel[] = [0, 1, 2, 3, 4];
    expect(levels.map((received) => effectiveTrust(granted, received))).toEqual(byReceived);
  });
});

describe("a one-sided bond: our 3 counts as received from a pool that never tells its grants", () => {
  const all = { ...FEDERATION_POLICY_DEFAULTS, legacy_signatures: "all" } as const;
  const bonded = granted(3);

  it.each<[use: TrustUse, trust: TrustLevel]>([
    ["read-request", 3],
    ["peer-status", 3],
    ["callback", 3],
    ["other", 2],
  ])("for %s: %i", (use, trust) => {
    expect(trustFor(bonded, all, 1, use)).toBe(trust);
  });

  it.each<[what: string, trust: PeerTrust | null, policy: FederationPolicy, version: 1 | 2, level: TrustLevel]>([
    ["not after its first version 2 request", bonded, all, 2, 2],
    ["not under legacy_signatures reads", bonded, { ...all, legacy_signatures: "reads" }, 1, 2],
    ["not under legacy_signatures off", bonded, { ...all, legacy_signatures: "off" }, 1, 2],
    ["not at our grant of 2", granted(2), all, 1, 2],
    ["not at our grant of 1", granted(1), all, 1, 1],
    ["not after a revocation", revoke(bonded, NOW), all, 1, 0],
    ["not after a removal", remove(bonded, NOW), all, 1, 0],
    ["not if the tier is refused", bonded, { ...all, min_auth_tier: "hardware-attested" }, 1, 0],
    ["not for an unknown pool", null, all, 1, 0],
    ["a real bond stays one", { ...bonded, received: 3 }, all, 2, 3],
  ])("%s", (_, trust, policy, version, level) => {
    for (const use of ["read-request", "peer-status", "callback"] as const) {
      expect(trustFor(trust, policy, version, use)).toBe(level);
    }
  });

  it("no other use has more than the trust in effect", () => {
    const levels = fc.constantFrom<GrantableLevel>(0, 1, 2, 3);
    fc.assert(
      fc.property(levels, levels, fc.constantFrom<1 | 2>(1, 2), (granted, received, version) => {
        const trust = { ...stranger, granted, received };
        expect(trustFor(trust, all, version, "other")).toBe(trustInEffect(trust, all));
      }),
    );
  });
});

describe("min_auth_tier", () => {
  it.each<[minimum: AuthTier, accepted: boolean]>([
    ["oauth-verified", true],
    ["device-bound", true],
    ["hardware-attested", false],
  ])("%s", (min_auth_tier, accepted) => {
    const strict = { ...policy, min_auth_tier };
    expect(isTierAccepted(strict)).toBe(accepted);
    expect(trustInEffect({ ...stranger, granted: 3, received: 3 }, strict)).toBe(accepted ? 3 : 0);
    expect(prove(null, { admin: true }, strict, 0, NOW).ok).toBe(accepted);
  });
});

describe("a peer that proves its key", () => {
  const bonded = { ...granted(3), received: 3, receivedAt: at(5) } satisfies PeerTrust;
  const known = { ...policy, auto_accept_known: true };
  const proven = (trust: PeerTrust | null, admin = false, given = policy, others = 0) => {
    const step = prove(trust, { admin }, given, others, NOW + 1);
    return step.ok ? [trustInEffect(step.trust, given), step.trust.granted] : step.code;
  };

  it.each<[what: string, got: unknown, want: unknown]>([
    ["a stranger becomes known", proven(null), [1, 1]],
    ["a stranger that our admin adds becomes known only", proven(null, true), [1, 1]],
    ["a bonded peer stays bonded", proven(bonded), [3, 3]],
    ["a revoked peer is refused", proven(revoke(bonded, NOW)), "federation/registration-refused"],
    ["a revoked peer that our admin adds again stays at trust 0", proven(revoke(bonded, NOW), true), [0, 0]],
    ["a removed peer becomes known again", proven(remove(bonded, NOW)), [1, 1]],
    ["a removed peer gets its trust back with auto_accept_known", proven(remove(bonded, NOW), false, known), [3, 3]],
    ["a removed peer becomes known only, if there is no room", proven(remove(bonded, NOW), false, known, 10), [1, 1]],
    [
      "a revoked and removed peer is refused, with or without auto_accept_known",
      proven(remove(revoke(bonded, NOW), NOW), false, known),
      "federation/registration-refused",
    ],
    [
      "a peer that our admin lowered before its removal comes back lowered",
      proven(remove(trusted(decide(bonded, 1, policy, 0, NOW)), NOW), false, known),
      [1, 1],
    ],
  ])("%s", (_what, got, want) => expect(got).toEqual(want));

  it("a removed peer has no trust, and its grant keeps its clock", () => {
    const removed = remove(bonded, NOW);
    expect(trustInEffect(removed, policy)).toBe(0);
    const back = trusted(prove(removed, { admin: false }, policy, 0, NOW + 1));
    expect(back).toMatchObject({ received: 3, receivedAt: at(5), addedAtMs: NOW, removedAtMs: null });
    expect(receiveGrant(back, { level: 0, at: at(5) }, policy, 0)).toEqual({ applied: false, trust: back });
  });
});

describe("our admin", () => {
  const code = (step: TrustStep) => (step.ok ? step.trust.granted : step.code);
  const one = { ...policy, max_peers: 1 };
  it.each<[what: string, step: TrustStep, want: number | string]>([
    ["grants 2", decide(stranger, 2, policy, 0, NOW), 2],
    ["grants 3", decide(stranger, 3, policy, 0, NOW), 3],
    ["lowers", decide(granted(3), 1, policy, 0, NOW), 1],
    ["accepts a peer within max_peers", decide(stranger, 2, one, 0, NOW), 2],
    ["cannot accept a peer beyond max_peers", decide(stranger, 2, one, 1, NOW), "federation/too-many-peers"],
    ["raises an accepted peer at max_peers", decide(granted(2), 3, one, 1, NOW), 3],
    ["grants 1 at any number of peers", decide(granted(2), 1, one, 5, NOW), 1],
    ["has no limit with max_peers 0", decide(stranger, 2, { ...policy, max_peers: 0 }, 1_000, NOW), 2],
    ["cannot decide about a stranger", decide(null, 1, policy, 0, NOW), "federation/peer-not-found"],
    [
      "cannot decide about a removed peer",
      decide(remove(stranger, NOW), 1, policy, 0, NOW),
      "federation/peer-not-found",
    ],
  ])("%s", (_what, step, want) => expect(code(step)).toBe(want));

  it("revokes immediately, whatever the peer grants, and can undo it", () => {
    const bonded: PeerTrust = { ...granted(3), received: 3 };
    const revoked = trusted(decide(bonded, 0, policy, 0, NOW + 1));
    expect(revoked).toEqual(revoke(bonded, NOW + 1));
    expect(revoked).toMatchObject({ granted: 0, revokedAtMs: NOW + 1 });
    expect(trustInEffect(revoked, policy)).toBe(0);
    expect(revoke(revoked, NOW + 9).revokedAtMs).toBe(NOW + 1);
    expect(trusted(decide(revoked, 2, policy, 0, NOW + 2))).toMatchObject({ granted: 2, revokedAtMs: null });
  });
});

describe("a grant received", () => {
  it.each<[what: string, level: TrustLevel, given: TrustPolicy, peer: PeerTrust, others: number, granted: number]>([
    ["waits for our admin", 2, policy, stranger, 0, 1],
    ["waits for our admin at 3", 3, policy, stranger, 0, 1],
    ["is answered with 2 without require_mutual", 2, { ...policy, require_mutual: false }, stranger, 0, 2],
    ["is never answered with 3", 3, { ...policy, require_mutual: false }, stranger, 0, 2],
    ["of 1 is not answered", 1, { ...policy, require_mutual: false }, stranger, 0, 1],
    ["is not answered without room", 2, { ...policy, require_mutual: false }, stranger, 10, 1],
    ["does not raise a peer that our admin lowered", 2, { ...policy, require_mutual: false }, granted(1), 0, 1],
    ["does not raise a revoked peer", 3, { ...policy, require_mutual: false }, revoke(stranger, NOW), 0, 0],
    ["does not raise a removed peer", 3, { ...policy, require_mutual: false }, remove(stranger, NOW), 0, 0],
  ])("%s", (_what, level, given, peer, others, want) => {
    const step = receiveGrant(peer, { level, at: at(1) }, given, others);
    expect(step.applied).toBe(true);
    expect(step.trust).toMatchObject({ received: level, granted: want });
  });

  it.each<[what: string, at: { physical_us: number; logical: number }, applied: boolean]>([
    ["later", at(6), true],
    ["later by the counter", at(5, 3), true],
    ["the same", at(5, 2), false],
    ["earlier by the counter", at(5, 1), false],
    ["earlier", at(4, 9), false],
  ])("is applied only if its clock exceeds the last one's: %s", (_what, clock, applied) => {
    const peer = receiveGrant(stranger, { level: 2, at: at(5, 2) }, policy, 0).trust;
    const step = receiveGrant(peer, { level: 3, at: clock }, policy, 0);
    expect(step.applied).toBe(applied);
    expect(step.trust.received).toBe(applied ? 3 : 2);
  });

  it.each<[what: string, peer: PeerTrust, want: number | null]>([
    ["nothing offered", stranger, null],
    ["1 offered", { ...stranger, received: 1 }, null],
    ["2 offered", { ...stranger, received: 2 }, 2],
    ["4 offered is 3", { ...stranger, received: 4 }, 3],
    ["no more than granted", { ...granted(3), received: 3 }, null],
    ["revoked", { ...revoke(stranger, NOW), received: 3 }, null],
  ])("awaits our admin: %s", (_what, peer, want) => expect(awaitsAdmin(peer)).toBe(want));
});

const level = fc.constantFrom<TrustLevel>(0, 1, 2, 3, 4);
const clock = fc.record({ physical_us: fc.nat({ max: 20 }), logical: fc.nat({ max: 2 }) });
type Move =
  | { do: "grant"; level: TrustLevel; at: { physical_us: number; logical: number } }
  | { do: "decide"; level: GrantableLevel }
  | { do: "revoke" | "remove" | "prove" };
const move: fc.Arbitrary<Move> = fc.oneof(
  fc.record({ do: fc.constant("grant" as const), level, at: clock }),
  fc.record({ do: fc.constant("decide" as const), level: fc.constantFrom<GrantableLevel>(0, 1, 2, 3) }),
  fc.record({ do: fc.constantFrom("revoke" as const, "remove" as const, "prove" as const) }),
);
const anyPolicy = fc.record({
  min_auth_tier: fc.constantFrom<AuthTier>("oauth-verified", "device-bound"),
  require_mutual: fc.boolean(),
  auto_accept_known: fc.boolean(),
  max_peers: fc.nat({ max: 3 }),
});

function run(trust: PeerTrust, move: Move, given: TrustPolicy): PeerTrust {
  const kept = (step: TrustStep) => (step.ok ? step.trust : trust);
  switch (move.do) {
    case "grant":
      return receiveGrant(trust, move, given, 1).trust;
    case "decide":
      return kept(decide(trust, move.level, given, 1, NOW));
    case "revoke":
      return revoke(trust, NOW);
    case "remove":
      return remove(trust, NOW);
    default:
      return kept(prove(trust, { admin: false }, given, 1, NOW));
  }
}

describe("for any history", () => {
  it("every grant that is sent again after a revocation, in any order, changes nothing", () => {
    const history = fc.array(move, { maxLength: 30 });
    fc.assert(
      fc.property(history, anyPolicy, fc.infiniteStream(fc.nat()), (moves, given, random) => {
        const before = revoke(
          moves.reduce((trust, one) => run(trust, one, given), stranger),
          NOW,
        );
        const old = moves.filter((one) => one.do === "grant").map((one) => ({ one, order: random.next().value }));
        old.sort((a, b) => a.order - b.order);
        const after = old.reduce((trust, { one }) => run(trust, one, given), before);
        expect(after).toEqual(before);
        expect(trustInEffect(after, given)).toBe(0);
      }),
    );
  });

  it("only our admin grants 3, and only our admin ends a revocation", () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 30 }), anyPolicy, (moves, given) => {
        let trust: PeerTrust = stranger;
        for (const one of moves) {
          const next = run(trust, one, given);
          if (next.granted === 3) expect(next.decided).toBe(3);
          if (trust.revokedAtMs !== null && one.do !== "decide") expect(next.revokedAtMs).not.toBeNull();
          if (next.revokedAtMs !== null || next.removedAtMs !== null) expect(trustInEffect(next, given)).toBe(0);
          trust = next;
        }
      }),
    );
  });
});
