import type { HybridTime } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/**
 * The hybrid logical clock of docs/spec/events.md#events (Kulkarni et al., "Logical Physical Clocks", 2014). Pure: the wall clock comes
 * in, in microseconds. It never steps back, whatever the wall clock does. Persisted contract: part of the log's state.
 */
export type Clock = Readonly<HybridTime>;

export const NEVER: Clock = Object.freeze({ physical_us: 0, logical: 0 });

export type Observation =
  | { outcome: "now"; clock: Clock }
  /** Stored, unseen and not relayed until our wall clock reads `dueUs`. */
  | { outcome: "waits"; dueUs: number }
  | { outcome: "refused"; code: "events/excessive-drift" };

/** The time of an event of our own: later than all that the clock has given or observed. */
export function tick(clock: Clock, wallUs: number): Clock {
  return wallUs > clock.physical_us ? { physical_us: wallUs, logical: 0 } : next(clock);
}

/**
 * An event of another pool, with its time: what our clock becomes. The distance is to the wall clock, so that nobody
 * can drag ours along in small steps; a time that our clock has already passed moves nothing, however far the wall clock
 * has stepped back since.
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

/** Past a time that is known to be good, such as that of an event of our own from a backup. */
export function adopt(clock: Clock, known: HybridTime, wallUs: number): Clock {
  return tick(compare(known, clock) > 0 ? known : clock, wallUs);
}

/** Below zero when `a` is earlier. Times of one microsecond and one counter are told apart by their node, not here. */
export function compare(a: HybridTime, b: HybridTime): number {
  return a.physical_us - b.physical_us || a.logical - b.logical;
}

/** At the counter's bound the clock runs ahead of the wall by a microsecond. */
function next({ physical_us, logical }: Clock): Clock {
  return logical < LIMITS.clockLogicalMax
    ? { physical_us, logical: logical + 1 }
    : { physical_us: physical_us + 1, logical: 0 };
}
