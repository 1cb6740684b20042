import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { bundlePool } from "../../../scripts/runtime/pool-bundle.ts";

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

it("pools that start together in one process are all bundled, whichever is done first", async () => {
  // The shorter one is done while the longer one is being read.
  const bundles = await Promise.all(
    [file("schema/wire/limits.ts"), file("edge/index.ts")].map((f) => bundlePool(f, {})),
  );
  expect(bundles.map((text) => text.includes("clientBodyBytes"))).toEqual([true, true]);
});
