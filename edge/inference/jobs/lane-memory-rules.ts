/**
 * The memory that a lane uses for clients: requests that wait or run, and answers that clients have not read yet. An
 * isolate has 128 MB, so both are bounded, for each key and for all keys together (docs/spec/inference.md#memory).
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

interface KeyBytes {
  requests: number;
  answers: number;
}

export interface LaneMemory extends KeyBytes {
  readonly byKey: Map<string, KeyBytes>;
}

export const emptyMemory = (): LaneMemory => ({ requests: 0, answers: 0, byKey: new Map() });

const MOST_OF_KEY = { requests: LIMITS.keyRequestBytes, answers: LIMITS.keyAnswerBytes } as const;

/**
 * Why there is no room. `never`: one key may never hold so much. `key`: the key holds too much now. `lane`: all keys
 * together do.
 */
export type NoRoom = "never" | "key" | "lane";

/** Why the lane cannot hold `bytes` more for this key; null if it can. */
export function noRoomFor(held: LaneMemory, keyId: string, what: keyof KeyBytes, bytes: number): NoRoom | null {
  if (bytes > MOST_OF_KEY[what]) return "never";
  const ofKey = held.byKey.get(keyId) ?? { requests: 0, answers: 0 };
  if (ofKey[what] + bytes > MOST_OF_KEY[what]) return "key";
  // A few keys can fill the lane. The reserve is for keys that hold little, so that they can still send requests.
  const isSmall = ofKey.requests + ofKey.answers + bytes <= LIMITS.smallKeyBytes;
  const most = LIMITS.laneBytes + (isSmall ? LIMITS.laneReserveBytes : 0);
  return held.requests + held.answers + bytes <= most ? null : "lane";
}

/** Whether the lane can hold `bytes` more for this key. */
export function hasRoom(held: LaneMemory, keyId: string, what: keyof KeyBytes, bytes: number): boolean {
  return noRoomFor(held, keyId, what, bytes) === null;
}

/** Counts `bytes` that the lane now holds for this key. */
export function addBytes(held: LaneMemory, keyId: string, what: keyof KeyBytes, bytes: number): void {
  const ofKey = held.byKey.get(keyId) ?? { requests: 0, answers: 0 };
  held[what] += bytes;
  ofKey[what] += bytes;
  if (ofKey.requests > 0 || ofKey.answers > 0) held.byKey.set(keyId, ofKey);
  else held.byKey.delete(keyId);
}

/** Counts `bytes` that the lane no longer holds for this key. */
export function removeBytes(held: LaneMemory, keyId: string, what: keyof KeyBytes, bytes: number): void {
  if (bytes > 0) addBytes(held, keyId, what, -bytes);
}
