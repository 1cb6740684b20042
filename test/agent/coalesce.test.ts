import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { coalescer } from "../../worker-agent/session/coalesce.ts";

const LIMITS = { tokens: 4, ms: 25, chars: 10 };

describe("deltas", () => {
  it("go out at once for the first text, then at most every 25 ms", () => {
    const deltas = coalescer(LIMITS);
    expect(deltas.push({ text: "a", tokens: 1 }, 0)).toEqual([{ text: "a", tokens: 1 }]);
    expect(deltas.dueMs()).toBeNull();
    expect(deltas.push({ text: "b", tokens: 1 }, 10)).toEqual([]);
    expect(deltas.dueMs()).toBe(35);
    expect(deltas.push({ text: "c", tokens: 1 }, 35)).toEqual([{ text: "bc", tokens: 2 }]);
  });

  it("go out when they hold as many tokens as allowed", () => {
    const deltas = coalescer(LIMITS);
    deltas.push({ text: "first", tokens: 1 }, 0);
    for (let i = 0; i < 3; i++) expect(deltas.push({ text: "x", tokens: 1 }, 1)).toEqual([]);
    expect(deltas.push({ text: "x", tokens: 1 }, 1)).toEqual([{ text: "xxxx", tokens: 4 }]);
  });

  it("are cut to the frame's limit between characters", () => {
    const deltas = coalescer(LIMITS);
    const parts = deltas.push({ text: `123456789😀${"z".repeat(10)}`, tokens: 3 }, 0);
    expect(parts.map((part) => part.text)).toEqual(["123456789", "😀zzzzzzzz", "zz"]);
    expect(parts.map((part) => part.tokens)).toEqual([3, 0, 0]);
  });

  it("join to the text that was generated, and count its tokens, whatever the timing", () => {
    const piece = fc.record({
      text: fc.string({ unit: "binary", maxLength: 30 }),
      tokens: fc.nat({ max: 6 }),
      afterMs: fc.nat({ max: 40 }),
      timerFires: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const deltas = coalescer(LIMITS);
        let nowMs = 0;
        const out = pieces.flatMap(({ text, tokens, afterMs, timerFires }) => {
          nowMs += afterMs;
          const due = timerFires ? deltas.flush() : [];
          return [...due, ...deltas.push({ text, tokens: text === "" ? 0 : tokens }, nowMs)];
        });
        out.push(...deltas.flush());
        const whole = pieces.map(({ text }) => text).join("");
        const tokens = pieces.reduce((sum, it) => sum + (it.text === "" ? 0 : it.tokens), 0);
        expect(out.map(({ text }) => text).join("")).toBe(whole);
        expect(out.reduce((sum, delta) => sum + delta.tokens, 0)).toBe(tokens);
        for (const delta of out) {
          expect(delta.text.length).toBeLessThanOrEqual(LIMITS.chars);
          expect(delta.text.isWellFormed()).toBe(true);
        }
      }),
    );
  });
});
