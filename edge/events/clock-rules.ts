import type { HybridTime } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/**
 * A hybrid logical clock (docs/spec/events.md#clock; Kulkarni et al., "Logical Physical Clocks", 2014). Wall times are in
 * microseconds. The clock never goes back, whatever the wall clock does. Persisted contract: part of the log's state.
 */
export type Clock = Readonly<HybridTime>;

export const NEVER: Clock = Object.freeze({ physical_us: 0, logical: 0 });

export type Observation =
  | { outcome: "now"; clock: Clock }
  /** Hold the event until the wall clock reads `dueUs`. */
  | { outcome: "waits"; dueUs: number }
  | { outcome: "refused"; code: "events/excessive-drift" };

/** The time of a new event of ours: later than every time that the clock has given or observed. */
export function tick(clock: Clock, wallUs: number): Clock {
  return wallUs > clock.physical_us ? { physical_us: wallUs, logical: 0 } : next(clock);
}

/**
 * Our clock after an event of another pool with the time `remote`. The drift is measured from the wall clock, so that no
 * peer can pull our clock forward in small steps. A time that our clock has passed already is accepted, even where the wall
 * clock has stepped back since.
 */
export function observe(clock: Clock, remote: HybridTime, wallUs: number): Observation {
  if (compare(remote, clock) > 0) {
    const aheadUs = remote.physical_us - wallUs;
    if (aheadUs > LIMITS.clockDriftMs * 1_000) return { outcome: "refused", code: "events/excessive-drift" };
    const holdUs = LIMITS.clockHoldMs * 1_000;
    if (aheadUs > holdUs) return { outcome: "waits", dueUs: remote.physical_us - holdUs };
  }
  return { outcome: "now", clock: adopt(clock, remote, wallUs) };
}

/** Moves past a time that needs no check, such as the time of an event from our own export. */
export function adopt(clock: Clock, known: HybridTime, wallUs: number): Clock {
  return tick(compare(known, clock) > 0 ? known : clock, wallUs);
}

/** Negative when `a` is earlier. Equal times of two pools differ only by `node_id`, which this does not compare. */
export function compare(a: HybridTime, b: HybridTime): number {
  return a.physical_us - b.physical_us || a.logical - b.logical;
}

/** At its upper bound the counter restarts, one microsecond ahead of the wall clock. */
function next({ physical_us, logical }: Clock): Clock {
  return logical < LIMITS.clockLogicalMax
    ? { physical_us, logical: logical + 1 }
    : { physical_us: physical_us + 1, logical: 0 };
}
