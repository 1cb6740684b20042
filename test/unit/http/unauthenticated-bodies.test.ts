import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type UnauthenticatedBody, UnauthenticatedBodyBudget } from "../../../edge/http/unauthenticated-bodies.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MOST = LIMITS.unauthenticatedBodiesBytes / LIMITS.unauthenticatedBodyMinBytes;
const begin = (budget: UnauthenticatedBodyBudget, n: number) => Array.from({ length: n }, () => budget.begin(0));

describe("the budget of unauthenticated bodies", () => {
  it("admits every body: the oldest are dropped, and leave nothing behind", () => {
    const budget = new UnauthenticatedBodyBudget();
    const first = begin(budget, MOST);
    expect(first.map(({ isDropped }) => isDropped)).not.toContain(true);
    const late = begin(budget, 3);
    expect(first.filter(({ isDropped }) => isDropped)).toEqual(first.slice(0, 3));
    expect(late.map(({ isDropped }) => isDropped)).toEqual([false, false, false]);
    expect(first[0]?.finish().byteLength).toBe(0);
    for (const body of [...first, ...late]) body.finish();
    expect(budget.bytes).toBe(0);
  });

  it("counts the bytes that arrive, piece by piece", () => {
    const budget = new UnauthenticatedBodyBudget();
    const [oldest, body] = begin(budget, 2) as [UnauthenticatedBody, UnauthenticatedBody];
    for (let i = 0; i < LIMITS.federatedBodyBytes; i++) body.add(Uint8Array.of(i % 251));
    expect(budget.bytes).toBe(LIMITS.unauthenticatedBodyMinBytes + LIMITS.federatedBodyBytes);
    expect(body.add(new Uint8Array(1)), "one byte too many").toBe(false);
    expect(oldest.isDropped).toBe(false);
    const all = body.finish();
    expect(all.byteLength).toBe(LIMITS.federatedBodyBytes);
    expect(all.every((byte, i) => byte === i % 251)).toBe(true);
  });

  it("drops bodies whose clients disconnected, once their time is over", () => {
    const budget = new UnauthenticatedBodyBudget();
    const [gone] = begin(budget, 1);
    budget.begin(LIMITS.unauthenticatedBodyReadMs - 1);
    expect(gone?.isDropped).toBe(false);
    budget.begin(LIMITS.unauthenticatedBodyReadMs);
    expect(gone?.isDropped).toBe(true);
    expect(budget.bytes).toBe(2 * LIMITS.unauthenticatedBodyMinBytes);
    // The clock stepped back.
    budget.begin(-1);
    expect(budget.bytes).toBe(LIMITS.unauthenticatedBodyMinBytes);
  });

  it("is never exceeded, and the dropped bodies are the oldest", () => {
    const step = fc.record({ body: fc.nat(40), bytes: fc.integer({ min: 0, max: 1024 * 1024 }), ends: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const budget = new UnauthenticatedBodyBudget();
        const bodies: UnauthenticatedBody[] = [];
        const left = new Set<UnauthenticatedBody>();
        for (const { body: i, bytes, ends } of steps) {
          const body = bodies[i];
          if (body === undefined) bodies.push(budget.begin(0));
          else if (ends) left.add(body) && body.finish();
          else if (!left.has(body)) body.add(new Uint8Array(bytes));
          expect(budget.bytes).toBeLessThanOrEqual(LIMITS.unauthenticatedBodiesBytes);
          const here = bodies.filter((each) => !left.has(each));
          expect(budget.bytes).toBe(here.reduce((sum, each) => sum + (each.isDropped ? 0 : each.bytes), 0));
          const dropped = here.map(({ isDropped }) => isDropped);
          expect(dropped.lastIndexOf(true)).toBe(dropped.filter(Boolean).length - 1);
        }
      }),
      { numRuns: 100 },
    );
  });
});
