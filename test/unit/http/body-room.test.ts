import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BodyRoom, type GrowingBody } from "../../../edge/http/unauthenticated-bodies.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MOST = LIMITS.unprovenBodiesBytes / LIMITS.unprovenBodyMinBytes;
const enter = (room: BodyRoom, n: number) => Array.from({ length: n }, () => room.enter(0));

describe("the room of bodies whose senders are not proved", () => {
  it("has place for whoever comes: those that have taken longest go, and leave nothing", () => {
    const room = new BodyRoom();
    const first = enter(room, MOST);
    expect(first.map(({ isDropped }) => isDropped)).not.toContain(true);
    const late = enter(room, 3);
    expect(first.filter(({ isDropped }) => isDropped)).toEqual(first.slice(0, 3));
    expect(late.map(({ isDropped }) => isDropped)).toEqual([false, false, false]);
    expect(first[0]?.leave().byteLength).toBe(0);
    for (const body of [...first, ...late]) body.leave();
    expect(room.bytes).toBe(0);
  });

  it("counts what came and not what was promised, piece by piece", () => {
    const room = new BodyRoom();
    const [oldest, body] = enter(room, 2) as [GrowingBody, GrowingBody];
    for (let i = 0; i < LIMITS.federatedBodyBytes; i++) body.add(Uint8Array.of(i % 251));
    expect(room.bytes).toBe(LIMITS.unprovenBodyMinBytes + LIMITS.federatedBodyBytes);
    expect(body.add(new Uint8Array(1)), "one more than it may have").toBe(false);
    expect(oldest.isDropped).toBe(false);
    const all = body.leave();
    expect(all.byteLength).toBe(LIMITS.federatedBodyBytes);
    expect(all.every((byte, i) => byte === i % 251)).toBe(true);
  });

  it("forgets those whose clients left, once nobody waits for them any more", () => {
    const room = new BodyRoom();
    const [gone] = enter(room, 1);
    room.enter(LIMITS.unprovenBodyReadMs - 1);
    expect(gone?.isDropped).toBe(false);
    room.enter(LIMITS.unprovenBodyReadMs);
    expect(gone?.isDropped).toBe(true);
    expect(room.bytes).toBe(2 * LIMITS.unprovenBodyMinBytes);
    // The clock stepped back.
    room.enter(-1);
    expect(room.bytes).toBe(LIMITS.unprovenBodyMinBytes);
  });

  it("is never fuller than it may be, and whoever was dropped was the oldest", () => {
    const step = fc.record({ body: fc.nat(40), bytes: fc.integer({ min: 0, max: 1024 * 1024 }), ends: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const room = new BodyRoom();
        const bodies: GrowingBody[] = [];
        const left = new Set<GrowingBody>();
        for (const { body: i, bytes, ends } of steps) {
          const body = bodies[i];
          if (body === undefined) bodies.push(room.enter(0));
          else if (ends) left.add(body) && body.leave();
          else if (!left.has(body)) body.add(new Uint8Array(bytes));
          expect(room.bytes).toBeLessThanOrEqual(LIMITS.unprovenBodiesBytes);
          const here = bodies.filter((each) => !left.has(each));
          expect(room.bytes).toBe(here.reduce((sum, each) => sum + (each.isDropped ? 0 : each.bytes), 0));
          const dropped = here.map(({ isDropped }) => isDropped);
          expect(dropped.lastIndexOf(true)).toBe(dropped.filter(Boolean).length - 1);
        }
      }),
      { numRuns: 100 },
    );
  });
});
