import { expect, it } from "vitest";
import {
  addBytes,
  emptyMemory,
  hasRoom,
  type NoRoom,
  noRoomFor,
  removeBytes,
} from "../../../edge/inference/jobs/lane-memory-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MIB = 1024 * 1024;

/** A lane whose memory two keys have filled. */
function full() {
  const held = emptyMemory();
  for (const keyId of ["a", "b"]) {
    expect(hasRoom(held, keyId, "answers", LIMITS.keyAnswerBytes)).toBe(true);
    addBytes(held, keyId, "answers", LIMITS.keyAnswerBytes);
  }
  return held;
}

it.each<[what: string, keyId: string, kind: "requests" | "answers", bytes: number, want: NoRoom | null]>([
  ["more answers than one key may hold", "a", "answers", 1, "key"],
  ["a large request in a full lane", "c", "requests", MIB, "lane"],
  ["a large answer in a full lane", "c", "answers", MIB, "lane"],
  ["a small request of a key that holds little", "c", "requests", LIMITS.smallKeyBytes, null],
  ["a small request of a key that fills the lane", "a", "requests", 1, "lane"],
  ["a request larger than any key may hold", "c", "requests", LIMITS.keyRequestBytes + 1, "never"],
])("why there is no room for %s", (_what, keyId, kind, bytes, want) =>
  expect(noRoomFor(full(), keyId, kind, bytes)).toBe(want),
);

it("the reserve for keys that hold little is bounded", () => {
  const held = full();
  const keys = LIMITS.laneReserveBytes / LIMITS.smallKeyBytes;
  for (let i = 0; i < keys; i++) {
    expect(hasRoom(held, `small-${i}`, "answers", LIMITS.smallKeyBytes)).toBe(true);
    addBytes(held, `small-${i}`, "answers", LIMITS.smallKeyBytes);
  }
  expect(hasRoom(held, "late", "answers", 1)).toBe(false);
  removeBytes(held, "a", "answers", LIMITS.keyAnswerBytes);
  expect(hasRoom(held, "late", "answers", MIB)).toBe(true);
});

it("a key that holds nothing leaves no entry", () => {
  const held = emptyMemory();
  addBytes(held, "a", "requests", 3);
  addBytes(held, "a", "answers", 4);
  removeBytes(held, "a", "requests", 3);
  expect([held.requests, held.answers, held.byKey.size]).toEqual([0, 4, 1]);
  removeBytes(held, "a", "answers", 4);
  expect(held).toEqual(emptyMemory());
});
