import { expect, it } from "vitest";
import {
  drop,
  hasRoom,
  keep,
  type NoRoom,
  noBytes,
  noRoomFor,
} from "../../../edge/inference/jobs/lane-memory-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MIB = 1024 * 1024;

/** A lane that two keys have filled. */
function full() {
  const held = noBytes();
  for (const keyId of ["a", "b"]) {
    expect(hasRoom(held, keyId, "answers", LIMITS.keyAnswerBytes)).toBe(true);
    keep(held, keyId, "answers", LIMITS.keyAnswerBytes);
  }
  return held;
}

it.each<[what: string, keyId: string, kind: "requests" | "answers", bytes: number, want: NoRoom | null]>([
  ["more answers of a key than it may have", "a", "answers", 1, "key"],
  ["a large request beside what fills the lane", "c", "requests", MIB, "lane"],
  ["a large answer beside what fills the lane", "c", "answers", MIB, "lane"],
  ["a small request of a key that holds little", "c", "requests", LIMITS.smallKeyBytes, null],
  ["a small request of a key that fills the lane", "a", "requests", 1, "lane"],
  ["a request that no key may have", "c", "requests", LIMITS.keyRequestBytes + 1, "never"],
])("why there is no room for %s", (_what, keyId, kind, bytes, want) =>
  expect(noRoomFor(full(), keyId, kind, bytes)).toBe(want),
);

it("the room for keys that hold little is bounded too", () => {
  const held = full();
  const keys = LIMITS.laneReserveBytes / LIMITS.smallKeyBytes;
  for (let i = 0; i < keys; i++) {
    expect(hasRoom(held, `small-${i}`, "answers", LIMITS.smallKeyBytes)).toBe(true);
    keep(held, `small-${i}`, "answers", LIMITS.smallKeyBytes);
  }
  expect(hasRoom(held, "late", "answers", 1)).toBe(false);
  drop(held, "a", "answers", LIMITS.keyAnswerBytes);
  expect(hasRoom(held, "late", "answers", MIB)).toBe(true);
});

it("nothing is left of a key that holds nothing", () => {
  const held = noBytes();
  keep(held, "a", "requests", 3);
  keep(held, "a", "answers", 4);
  drop(held, "a", "requests", 3);
  expect([held.requests, held.answers, held.byKey.size]).toEqual([0, 4, 1]);
  drop(held, "a", "answers", 4);
  expect(held).toEqual(noBytes());
});
