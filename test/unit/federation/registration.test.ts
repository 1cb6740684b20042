import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ChallengeOwner, challengeMaker } from "../../../edge/federation/peering/registration-challenge.ts";
import {
  confirmRegistration,
  type LowTrustPeer,
  NO_REGISTRATIONS,
  type Registrations,
  roomForStranger,
} from "../../../edge/federation/peering/registration-rules.ts";
import { registerAnswer } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { seed } from "../crypto/ed25519-cases.ts";

const NOW = 1_776_358_800_000;
const owner: ChallengeOwner = { initiator: "aa".repeat(32), cardSha256: "bb".repeat(32) };
const ofA = "11".repeat(32);
const salt = "5a".repeat(16);
const maker = await challengeMaker(await seed("pool"));
const refused = { ok: false, code: "federation/challenge-refused" };

describe("a responder's challenge", () => {
  it("returns what it was made from, and needs no storage", async () => {
    const challenge = await maker.make(owner, ofA, salt, NOW);
    // Another isolate of the same pool.
    const again = await challengeMaker(await seed("pool"));
    expect(await again.read(challenge, owner, NOW)).toEqual({
      ok: true,
      id: challenge.slice(-64),
      expiresAtMs: NOW + 60_000,
      initiatorChallenge: ofA,
    });
    expect(registerAnswer.shape.challenge.parse(challenge)).toBe(challenge);
  });

  it.each<[what: string, owner: ChallengeOwner, afterMs: number, ok: boolean]>([
    ["in time", owner, 59_999, true],
    ["at its expiry", owner, 60_000, false],
    ["by another pool", { ...owner, initiator: "cc".repeat(32) }, 0, false],
    ["with another card", { ...owner, cardSha256: "cc".repeat(32) }, 0, false],
  ])("read %s", async (_what, by, afterMs, ok) => {
    const challenge = await maker.make(owner, ofA, salt, NOW);
    expect((await maker.read(challenge, by, NOW + afterMs)).ok).toBe(ok);
  });

  it("of another pool, or with any digit changed, is refused", async () => {
    const other = await challengeMaker(await seed("another pool"));
    expect(await maker.read(await other.make(owner, ofA, salt, NOW), owner, NOW)).toEqual(refused);
    const challenge = await maker.make(owner, ofA, salt, NOW);
    for (let at = 0; at < challenge.length; at++) {
      const digit = (Number.parseInt(challenge.charAt(at), 16) ^ 1).toString(16);
      const changed = challenge.slice(0, at) + digit + challenge.slice(at + 1);
      expect(await maker.read(changed, owner, NOW), `digit ${at}`).toEqual(refused);
    }
  });

  it("that is malformed is refused, and does not throw", async () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f]{176}$/));
    await fc.assert(
      fc.asyncProperty(text, async (given) => {
        expect(await maker.read(given, owner, NOW)).toEqual(refused);
      }),
    );
  });

  it("differs if only the salt differs", async () => {
    const other = await maker.make(owner, ofA, "a5".repeat(16), NOW);
    expect(other).not.toBe(await maker.make(owner, ofA, salt, NOW));
  });
});

describe("confirmed registrations", () => {
  const challenge = (id: string, expiresAtMs = NOW + 60_000) => ({ id, expiresAtMs });
  const confirmed = (given: Registrations, id: string, nowMs = NOW, expiresAtMs = nowMs + 60_000) => {
    const step = confirmRegistration(given, challenge(id, expiresAtMs), nowMs);
    return step.ok ? step.registrations : expect.fail(step.code);
  };

  it("use up their challenge", () => {
    const once = confirmed(NO_REGISTRATIONS, "a");
    expect(confirmRegistration(once, challenge("a"), NOW)).toEqual(refused);
    expect(confirmRegistration(once, challenge("b"), NOW).ok).toBe(true);
  });

  it("are ten a minute; a limited one does not use up its challenge", () => {
    let state = NO_REGISTRATIONS;
    for (let i = 0; i < 10; i++) state = confirmed(state, `${i}`, NOW + i);
    const late = challenge("late", NOW + 120_000);
    expect(confirmRegistration(state, late, NOW + 10)).toEqual({
      ok: false,
      code: "federation/rate-limited",
      retryAfterSeconds: 60,
    });
    expect(confirmRegistration(state, late, NOW + 60_000).ok).toBe(true);
  });

  it("never use one challenge twice, whatever the clock does", () => {
    const move = fc.record({ id: fc.nat({ max: 5 }), stepMs: fc.integer({ min: -90_000, max: 90_000 }) });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
        let state = NO_REGISTRATIONS;
        let nowMs = NOW;
        const expiries = new Map<number, number>();
        const used = new Set<number>();
        for (const { id, stepMs } of moves) {
          nowMs += stepMs;
          const expiresAtMs = expiries.get(id) ?? nowMs + 60_000;
          expiries.set(id, expiresAtMs);
          const step = confirmRegistration(state, challenge(`${id}`, expiresAtMs), nowMs);
          if (!step.ok) continue;
          expect(used.has(id)).toBe(false);
          used.add(id);
          state = JSON.parse(JSON.stringify(step.registrations));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("keep a bounded record", () => {
    let state = NO_REGISTRATIONS;
    for (let i = 0; i < 10_000; i++) {
      const nowMs = NOW + i * 250;
      const step = confirmRegistration(state, challenge(`${i}`, nowMs + 60_000), nowMs);
      if (step.ok) state = step.registrations;
      expect(state.confirmedAtMs.length).toBeLessThanOrEqual(LIMITS.registrationsPerMinute);
      expect(state.used.length).toBeLessThanOrEqual(2 * LIMITS.registrationsPerMinute);
    }
  });
});

describe("the place of a new stranger", () => {
  const peers = (count: number, changes: (i: number) => Partial<LowTrustPeer> = () => ({})) =>
    Array.from({ length: count }, (_, i) => ({
      atomId: `${i}`,
      addedAtMs: NOW + i,
      keptByAdmin: false,
      ...changes(i),
    }));

  it.each<[what: string, given: LowTrustPeer[], want: string | null]>([
    ["an empty pool", [], null],
    ["99 peers", peers(99), null],
    ["100: the oldest is evicted", peers(100), "0"],
    ["100: the oldest by time, not by position", peers(100, (i) => ({ addedAtMs: NOW - i })), "99"],
    ["100: the oldest that no admin has decided about", peers(100, (i) => ({ keptByAdmin: i < 7 })), "7"],
    [
      "100 that our admin decided about: none is evicted",
      peers(100, () => ({ keptByAdmin: true })),
      "federation/too-many-peers",
    ],
  ])("%s", (_what, given, want) => {
    const room = roomForStranger(given);
    expect(room.ok ? room.evict : room.code).toBe(want);
  });

  it("1,000 strangers evict no peer that our admin decided about, and a hundred stay", () => {
    let all = peers(5, () => ({ keptByAdmin: true }));
    for (let i = 0; i < 1_000; i++) {
      const room = roomForStranger(all);
      if (!room.ok) continue;
      all = all.filter(({ atomId }) => atomId !== room.evict);
      all.push({ atomId: `stranger ${i}`, addedAtMs: NOW + 1_000 + i, keptByAdmin: false });
    }
    expect(all.length).toBe(100);
    expect(all.filter(({ keptByAdmin }) => keptByAdmin).length).toBe(5);
  });
});
