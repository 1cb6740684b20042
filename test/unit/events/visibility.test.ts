import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  audiencesOf,
  mayRead,
  mayReceive,
  mayRelay,
  maySee,
  ttlOnwards,
  type Visible,
} from "../../../edge/events/visibility-rules.ts";
import { type Visibility, visibility } from "../../../schema/wire/events.ts";

const alice = "a1".repeat(32);
const bob = "b0".repeat(32);
const TRUSTS = [0, 1, 2, 3, 4];

/** The trust levels at which Alice may see the event. */
it.each<[visibility: Visibility, ours: boolean, peer: string | undefined, want: number[]]>([
  ["private", true, undefined, []],
  ["private", true, alice, []],
  ["private", false, alice, []],
  ["direct", true, alice, TRUSTS],
  ["direct", true, bob, []],
  ["direct", true, undefined, []],
  ["direct", false, alice, []],
  ["peers", true, undefined, [3, 4]],
  ["peers", true, bob, [3, 4]],
  ["peers", false, undefined, []],
  ["peers", false, alice, []],
  ["public", true, undefined, [2, 3, 4]],
  ["public", true, bob, [2, 3, 4]],
  ["public", false, undefined, [2, 3, 4]],
])("%s, ours: %s, to %s", (visibility, ours, peer, want) => {
  const event: Visible = { visibility, ours, payload: peer === undefined ? {} : { peer } };
  expect(TRUSTS.filter((trust) => maySee(event, { atomId: alice, trust }))).toEqual(want);
});

it.each<[visibility: Visibility, ours: boolean, ttl: number, want: string[]]>([
  ["private", true, 3, ["all"]],
  ["direct", true, 3, ["all"]],
  ["direct", false, 3, ["all"]],
  ["peers", true, 3, ["all", "peers"]],
  ["peers", false, 3, ["all"]],
  ["public", true, 3, ["all", "public"]],
  ["public", false, 1, ["all", "public"]],
  ["public", false, 0, ["all"]],
])("%s, ours: %s, ttl %s is in %s", (visibility, ours, ttl, want) => {
  expect(audiencesOf({ visibility, ours }, ttl)).toEqual(want);
});

/** Events that Alice sends to us. */
it.each<[visibility: Visibility, origin: string, peer: string | undefined, want: boolean]>([
  ["private", alice, undefined, false],
  ["direct", alice, "us", true],
  ["direct", alice, bob, false],
  ["direct", bob, "us", false],
  ["peers", alice, undefined, true],
  ["peers", bob, undefined, false],
  ["public", alice, undefined, true],
  ["public", bob, undefined, true],
  ["public", "us", undefined, false],
  ["direct", "us", alice, false],
])("%s by %s naming %s may come from Alice: %s", (visibility, origin, peer, want) => {
  expect(mayReceive({ visibility, origin, payload: { peer } }, { from: alice, self: "us" })).toBe(want);
});

it.each([
  [3, 2],
  [2, 1],
  [1, 0],
  [0, 0],
  [900, 2],
  [-1, 0],
])("an event that arrived with ttl %i is relayed with %i", (came, want) => expect(ttlOnwards(came)).toBe(want));

const trust = fc.integer({ min: 0, max: 4 });
const someone = fc.constantFrom(alice, bob, "c".repeat(64));
const event = fc.record({
  visibility: fc.constantFrom(...visibility.options),
  ours: fc.boolean(),
  payload: fc.oneof(
    fc.record({ peer: someone }),
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.record({ peer: fc.jsonValue() }),
  ),
});

describe("for any event", () => {
  it("a direct event is visible to its peer only, at any trust, and is not relayed", () => {
    fc.assert(
      fc.property(event, someone, fc.integer({ min: -1, max: 99 }), (each, atomId, any) => {
        const direct = { ...each, visibility: "direct" } as const;
        if (maySee(direct, { atomId, trust: any })) expect(direct.payload).toMatchObject({ peer: atomId });
        expect(mayRelay(direct, any)).toBe(false);
        expect(audiencesOf(direct, any)).toEqual(["all"]);
        expect(maySee({ ...each, visibility: "private" }, { atomId, trust: any })).toBe(false);
      }),
    );
  });

  it("a peer that may read an audience may see each of its events", () => {
    fc.assert(
      fc.property(event, fc.integer({ min: 0, max: 5 }), someone, trust, (each, ttl, atomId, level) => {
        for (const audience of audiencesOf(each, ttl)) {
          if (mayRead(audience, level)) expect(maySee(each, { atomId, trust: level })).toBe(true);
        }
      }),
    );
  });

  it("more trust never shows a peer less", () => {
    fc.assert(
      fc.property(event, someone, fc.integer({ min: 0, max: 3 }), (each, atomId, level) => {
        if (maySee(each, { atomId, trust: level })) expect(maySee(each, { atomId, trust: level + 1 })).toBe(true);
      }),
    );
  });

  it("a trust that is not a number shows nothing", () => {
    expect(maySee({ visibility: "public", ours: true, payload: {} }, { atomId: alice, trust: Number.NaN })).toBe(false);
    expect(mayRead("peers", Number.NaN)).toBe(false);
    expect(TRUSTS.some((level) => mayRead("all", level))).toBe(false);
  });
});
