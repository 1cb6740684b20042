import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { adopt, type Clock, compare, NEVER, observe, tick } from "../../../edge/events/clock-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const S = 1_000_000;
const at = (physical_us: number, logical = 0): Clock => ({ physical_us, logical });
const MAX = LIMITS.clockLogicalMax;

it.each<[what: string, clock: Clock, wallUs: number, want: Clock]>([
  ["starts with the wall clock", NEVER, 5, at(5)],
  ["follows the wall clock", at(5, 9), 6, at(6)],
  ["counts within a microsecond", at(5, 9), 5, at(5, 10)],
  ["counts on when the wall clock steps back", at(5, 9), 1, at(5, 10)],
  ["moves ahead by a microsecond at the counter's bound", at(5, MAX), 5, at(6)],
  ["needs no step where the wall clock has passed the bound", at(5, MAX), 7, at(7)],
])("a tick %s", (_what, clock, wallUs, want) => expect(tick(clock, wallUs)).toEqual(want));

it.each<[what: string, clock: Clock, remote: Clock, wallUs: number, want: ReturnType<typeof observe>]>([
  ["a past event: it is accepted, and the clock advances", at(5), at(1), 9, { outcome: "now", clock: at(9) }],
  ["an event of the same time: the clock steps past it", at(5, 1), at(5, 7), 5, { outcome: "now", clock: at(5, 8) }],
  [
    "an event when the clock is later: the clock steps past its own time",
    at(5, 7),
    at(5, 1),
    5,
    { outcome: "now", clock: at(5, 8) },
  ],
  ["an event that is 10 s ahead: it is accepted", NEVER, at(10 * S), 0, { outcome: "now", clock: at(10 * S, 1) }],
  ["an event that is slightly further ahead: it is held", NEVER, at(10 * S + 1), 0, { outcome: "waits", dueUs: 1 }],
  ["an event that is 60 s ahead: it is held", NEVER, at(60 * S), 0, { outcome: "waits", dueUs: 50 * S }],
  [
    "an event that is further ahead: it is refused",
    NEVER,
    at(60 * S + 1),
    0,
    { outcome: "refused", code: "events/excessive-drift" },
  ],
  [
    "an event that the clock has passed, although the wall clock stepped back: it is accepted",
    at(90 * S),
    at(89 * S),
    0,
    { outcome: "now", clock: at(90 * S, 1) },
  ],
  [
    "an event that the clock has not passed: the wall clock decides, and it is refused",
    at(90 * S),
    at(91 * S),
    0,
    { outcome: "refused", code: "events/excessive-drift" },
  ],
  [
    "an event whose counter is at its bound: the clock steps over it",
    NEVER,
    at(5, MAX),
    0,
    { outcome: "now", clock: at(6) },
  ],
])("observing %s", (_what, clock, remote, wallUs, want) => expect(observe(clock, remote, wallUs)).toEqual(want));

const time = fc.record({
  physical_us: fc.integer({ min: 0, max: 200 * S }),
  logical: fc.integer({ min: 0, max: MAX }),
});
const wall = fc.integer({ min: 0, max: 200 * S });
const steps = fc.array(
  fc.oneof(
    wall.map((wallUs) => ({ wallUs, remote: null })),
    fc.record({ wallUs: wall, remote: time }),
  ),
  { maxLength: 60 },
);

describe("under any schedule of wall clocks and events", () => {
  it("the clock only moves forward, and every time that it returns is new", () => {
    fc.assert(
      fc.property(steps, (schedule) => {
        let clock = NEVER;
        for (const { wallUs, remote } of schedule) {
          const seen = remote === null ? tick(clock, wallUs) : stepped(clock, remote, wallUs);
          if (seen === null) continue;
          expect(compare(seen, clock)).toBeGreaterThan(0);
          clock = seen;
        }
      }),
    );
  });

  it("a time after an observed event is later than the event", () => {
    fc.assert(
      fc.property(time, time, wall, wall, (clock, remote, wallUs, laterUs) => {
        const after = stepped(clock, remote, wallUs);
        if (after === null) return;
        const own = tick(after, laterUs);
        expect(compare(own, remote)).toBeGreaterThan(0);
        expect(compare(own, clock)).toBeGreaterThan(0);
        expect(compare(adopt(clock, remote, wallUs), remote)).toBeGreaterThan(0);
      }),
    );
  });

  it("no event moves the clock further than 10 s past the latest wall clock", () => {
    fc.assert(
      fc.property(steps, (schedule) => {
        let clock = NEVER;
        let latestUs = 0;
        for (const { wallUs, remote } of schedule) {
          latestUs = Math.max(latestUs, wallUs);
          clock = (remote === null ? tick(clock, wallUs) : stepped(clock, remote, wallUs)) ?? clock;
          // Plus one microsecond for each counter that reached its bound.
          expect(clock.physical_us).toBeLessThanOrEqual(latestUs + 10 * S + schedule.length);
        }
      }),
    );
  });
});

function stepped(clock: Clock, remote: Clock, wallUs: number): Clock | null {
  const seen = observe(clock, remote, wallUs);
  return seen.outcome === "now" ? seen.clock : null;
}
