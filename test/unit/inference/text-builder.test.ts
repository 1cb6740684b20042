import * as fc from "fast-check";
import { expect, it } from "vitest";
import { TextBuilder } from "../../../edge/inference/formats/text-builder.ts";

it("a text is all of its pieces, and the builder is empty after it is taken", () => {
  const pieces = fc.array(
    fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("x".repeat(1_023), "\ud83d", "\ude00")),
  );
  const text = new TextBuilder();
  fc.assert(
    fc.property(pieces, (all) => {
      for (const piece of all) text.add(piece);
      expect(text.take()).toBe(all.join(""));
    }),
  );
});
