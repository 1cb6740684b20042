/**
 * The bytes that a lane holds in memory for clients: requests that wait or run, and answers that are not read yet. An
 * isolate has 128 MB, so both are bounded, for each key and in all. Pure: the state is changed in place.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

interface OfKey {
  requests: number;
  answers: number;
}

export interface LaneBytes extends OfKey {
  readonly byKey: Map<string, OfKey>;
}

export const noBytes = (): LaneBytes => ({ requests: 0, answers: 0, byKey: new Map() });

const MOST_OF_KEY = { requests: LIMITS.keyRequestBytes, answers: LIMITS.keyAnswerBytes } as const;

/** Why there is no room: there is none for so much ever, or the key or the lane holds too much now. */
export type NoRoom = "never" | "key" | "lane";

export function noRoomFor(held: LaneBytes, keyId: string, what: keyof OfKey, bytes: number): NoRoom | null {
  if (bytes > MOST_OF_KEY[what]) return "never";
  const ofKey = held.byKey.get(keyId) ?? { requests: 0, answers: 0 };
  if (ofKey[what] + bytes > MOST_OF_KEY[what]) return "key";
  // A few keys can fill the lane. A key that holds little then still has room, so that nobody is shut out.
  const isSmall = ofKey.requests + ofKey.answers + bytes <= LIMITS.smallKeyBytes;
  const most = LIMITS.laneBytes + (isSmall ? LIMITS.laneReserveBytes : 0);
  return held.requests + held.answers + bytes <= most ? null : "lane";
}

export function hasRoom(held: LaneBytes, keyId: string, what: keyof OfKey, bytes: number): boolean {
  return noRoomFor(held, keyId, what, bytes) === null;
}

export function keep(held: LaneBytes, keyId: string, what: keyof OfKey, bytes: number): void {
  const ofKey = held.byKey.get(keyId) ?? { requests: 0, answers: 0 };
  held[what] += bytes;
  ofKey[what] += bytes;
  if (ofKey.requests > 0 || ofKey.answers > 0) held.byKey.set(keyId, ofKey);
  else held.byKey.delete(keyId);
}

export function drop(held: LaneBytes, keyId: string, what: keyof OfKey, bytes: number): void {
  if (bytes > 0) keep(held, keyId, what, -bytes);
}
