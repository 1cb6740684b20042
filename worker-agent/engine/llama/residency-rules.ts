/** A model that is in memory. */
export interface Resident {
  readonly name: string;
  readonly bytes: number;
  /** Jobs that run on it now. */
  readonly running: number;
  /** Grows with every use of any model. */
  readonly lastUse: number;
}

export type Room =
  /** After these are unloaded the model fits; none of them is needed less than one that stays and would do. */
  | { readonly type: "room"; readonly unload: readonly string[] }
  /** Only jobs that end make room. */
  | { readonly type: "busy" };

/**
 * Pure: which models go so that another one fits. A model with running jobs never goes; of the idle ones those go that
 * were used longest ago, and no more than needed. A model larger than the limit is loaded alone.
 */
export function roomFor(bytes: number, residents: readonly Resident[], limitBytes: number): Room {
  const allowed = Math.max(0, limitBytes - bytes);
  let used = residents.reduce((sum, one) => sum + one.bytes, 0);
  const idle = residents.filter(({ running }) => running === 0).sort((a, b) => a.lastUse - b.lastUse);
  const leaving: Resident[] = [];
  for (const one of idle) {
    if (used <= allowed) break;
    leaving.push(one);
    used -= one.bytes;
  }
  if (used > allowed) return { type: "busy" };
  // A large one that had to go may have made room for small ones that were chosen before it.
  const unload = leaving.toReversed().filter((one) => {
    if (used + one.bytes > allowed) return true;
    used += one.bytes;
    return false;
  });
  return { type: "room", unload: unload.reverse().map(({ name }) => name) };
}
