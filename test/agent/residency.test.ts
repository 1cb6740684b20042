import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LoadedModelUse, planEviction } from "../../worker-agent/engine/llama/residency-rules.ts";

const resident = (name: string, bytes: number, lastUse: number, running = 0): LoadedModelUse => ({
  name,
  bytes,
  running,
  lastUse,
});

describe("room for a model", () => {
  it.each<[what: string, bytes: number, residents: LoadedModelUse[], want: string[] | "busy"]>([
    ["exists if no model is loaded", 5, [], []],
    ["exists beside another model", 4, [resident("a", 6, 1)], []],
    ["is made by unloading an idle model", 5, [resident("a", 6, 1)], ["a"]],
    ["is made by unloading the model that was unused longest", 4, [resident("a", 4, 2), resident("b", 4, 1)], ["b"]],
    [
      "is made by unloading several models, the longest unused first",
      8,
      [resident("a", 4, 2), resident("b", 4, 1), resident("c", 2, 3)],
      ["b", "a"],
    ],
    [
      "is made without unloading a small model if a large one must be unloaded",
      3,
      [resident("s", 1, 1), resident("l", 9, 2)],
      ["l"],
    ],
    ["waits for a running job", 5, [resident("a", 6, 1, 1)], "busy"],
    ["is made without unloading a running model", 4, [resident("a", 5, 1, 2), resident("b", 5, 2)], ["b"]],
    ["waits if the idle models are too small", 6, [resident("a", 5, 1, 1), resident("b", 5, 2)], "busy"],
    ["for a model that is too large is made by unloading all others", 50, [resident("a", 1, 1)], ["a"]],
    ["for a model that is too large waits until no other runs", 50, [resident("a", 1, 1, 1)], "busy"],
  ])("%s", (_what, bytes, residents, want) => {
    const room = planEviction(bytes, residents, 10);
    expect(room.type === "busy" ? "busy" : room.unload).toEqual(want);
  });

  it("never unloads a running model, always fits, and unloads none without need", () => {
    const one = fc.record({ bytes: fc.nat(20), running: fc.nat(1), lastUse: fc.nat(100) });
    const many = fc.array(one, { maxLength: 8 }).map((list) => list.map((it, i) => ({ name: `m${i}`, ...it })));
    fc.assert(
      fc.property(fc.nat(30), many, fc.nat(40), (bytes, residents, limitBytes) => {
        const room = planEviction(bytes, residents, limitBytes);
        const sum = (list: readonly LoadedModelUse[]) => list.reduce((total, it) => total + it.bytes, 0);
        const allowed = Math.max(0, limitBytes - bytes);
        const running = residents.filter((it) => it.running > 0);
        if (room.type === "busy") {
          expect(sum(running)).toBeGreaterThan(allowed);
          return;
        }
        const stay = residents.filter(({ name }) => !room.unload.includes(name));
        for (const it of running) expect(stay).toContain(it);
        expect(sum(stay)).toBeLessThanOrEqual(allowed);
        for (const name of room.unload) {
          const spared = residents.filter((it) => it.name === name || stay.includes(it));
          expect(sum(spared)).toBeGreaterThan(allowed);
        }
      }),
    );
  });
});
