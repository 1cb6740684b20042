import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { autoModel } from "../../../edge/inference/jobs/auto-model-rules.ts";
import type { ModelLoad } from "../../../edge/inference/jobs/served-models-rules.ts";
import type { JobKind } from "../../../schema/wire/worker-frames.ts";

const load = (name: string, kinds: JobKind[], busy: Partial<ModelLoad> = {}): ModelLoad => ({
  ...{ name, kinds, workers: 1, slots: 4, free: 4, active: 0, queued: 0 },
  ...busy,
});

describe("auto for text", () => {
  it.each<[what: string, served: ModelLoad[], want: string | null]>([
    ["is none if no model is served", [], null],
    ["is none if no model does this kind", [load("e", ["embedding"])], null],
    ["is the model with more free slots", [load("a", ["chat"], { free: 1 }), load("b", ["chat"], { free: 2 })], "b"],
    [
      "is the model with the shorter queue for its size",
      [load("a", ["chat"], { free: 0, queued: 4 }), load("b", ["chat"], { free: 0, queued: 5, slots: 8 })],
      "b",
    ],
  ])("%s", (_what, served, want) => expect(autoModel("chat", served, "e", () => true)).toBe(want));
});

it("is a model whose workers can do all of the request, or another model if there is none", () => {
  const served = [load("busy", ["chat"], { free: 0 }), load("free", ["chat"])];
  expect(autoModel("chat", served, null, (name) => name === "busy")).toBe("busy");
  expect(autoModel("chat", served, null, () => false)).toBe("free");
});

describe("auto for embeddings", () => {
  it.each<[what: string, byDefault: string | null, served: ModelLoad[], want: string | null]>([
    [
      "is the first embedding model by name",
      null,
      [load("a", ["chat"]), load("b", ["embedding"]), load("c", ["embedding"])],
      "b",
    ],
    ["is the operator's default", "c", [load("b", ["embedding"]), load("c", ["chat", "embedding"])], "c"],
    ["is none while no worker serves the default", "d", [load("b", ["embedding"])], null],
    ["is none while the default only chats", "d", [load("b", ["embedding"]), load("d", ["chat"])], null],
    ["is none while no model embeds", null, [load("b", ["chat"])], null],
  ])("%s", (_what, byDefault, served, want) =>
    expect(autoModel("embedding", served, byDefault, () => true)).toBe(want),
  );

  it("is the same model whatever the load", () => {
    const busy = fc.record({
      free: fc.nat(9),
      queued: fc.nat(1_000),
      active: fc.nat(9),
      slots: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(fc.array(busy, { minLength: 2, maxLength: 8 }), (loads) => {
        const served = loads.map((each, i) => load(`m${i}`, ["embedding"], each));
        return (
          autoModel("embedding", served, null, () => true) === "m0" &&
          autoModel("embedding", served, "m1", () => true) === "m1"
        );
      }),
    );
  });
});
