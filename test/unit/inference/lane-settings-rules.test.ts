import { expect, it } from "vitest";
import { resolveLaneSettings } from "../../../edge/inference/lane-settings-rules.ts";

it.each<[given: string | undefined, wantMs: number]>([
  [undefined, 75_000],
  ["", 75_000],
  [" 20 ", 20_000],
  ["5", 5_000],
  ["4", 5_000],
  ["-1", 5_000],
  ["90", 90_000],
  ["1000", 90_000],
  ["soon", 75_000],
  ["Infinity", 75_000],
])("a status hold of %j is %i ms", (given, wantMs) => {
  const env = given === undefined ? {} : { STATUS_HOLD_SECONDS: given };
  expect(resolveLaneSettings(env).statusHoldMs).toBe(wantMs);
});

it.each<[given: string | undefined, want: string | null]>([
  [undefined, null],
  [" ", null],
  [" bge-m3 ", "bge-m3"],
])("an embedding model of %j is %j", (given, want) => {
  expect(resolveLaneSettings(given === undefined ? {} : { EMBEDDING_MODEL: given }).embeddingModel).toBe(want);
});
