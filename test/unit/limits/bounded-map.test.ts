import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BoundedMap } from "../../../edge/limits/bounded-map.ts";
import { Debts } from "../../../edge/limits/debt-tracker.ts";

describe("a bounded map", () => {
  it("holds the keys that were set last, the oldest first", () => {
    const keys = fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 50 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), keys, (most, keys) => {
        const map = new BoundedMap<number, string>(most);
        for (const key of keys) map.set(key, `${key}`);
        const newest = [...new Set(keys.toReversed())].slice(0, most).toReversed();
        expect([...map]).toEqual(newest.map((key) => [key, `${key}`]));
        expect([map.size, map.isFull]).toEqual([newest.length, newest.length === most]);
      }),
    );
  });

  it.each<[what: string, nowMs: number | undefined, found: boolean]>([
    ["counts from the time that it is set", 100, true],
    ["counts until its last moment", 199, true],
    ["has expired afterwards", 200, false],
    ["does not count before the time that it was set: the clock stepped back", 99, false],
    ["counts if no time is given", undefined, true],
  ])("an entry with a lifetime %s", (_what, nowMs, found) => {
    const map = new BoundedMap<string, number>(3);
    map.set("a", 1, { fromMs: 100, untilMs: 200 });
    expect(map.get("a", nowMs)).toBe(found ? 1 : undefined);
    expect(map.size).toBe(found ? 1 : 0);
  });

  it("forgets what is deleted, one by one and by a rule", () => {
    const map = new BoundedMap<string, number>(5);
    for (const [i, key] of ["a", "b", "c"].entries()) map.set(key, i);
    expect([map.delete("a"), map.delete("a")]).toEqual([true, false]);
    map.deleteWhere((value) => value === 2);
    expect([...map]).toEqual([["b", 1]]);
  });
});

describe("debts", () => {
  it("of many callers are bounded: callers without debt are forgotten first, then the oldest", () => {
    const debts = new Debts(3);
    debts.charge("paid", 10, 0);
    debts.charge("old", 1_000, 0);
    debts.charge("new", 1_000, 1);
    debts.charge("newer", 1_000, 100);
    expect(debts.size).toBe(3);
    expect(debts.waitMs("old", 0, 100)).toBe(900);
    debts.charge("newest", 1_000, 100);
    expect(debts.waitMs("new", 0, 100)).toBe(0);
    expect(debts.waitMs("old", 0, 100)).toBe(900);
  });
});
