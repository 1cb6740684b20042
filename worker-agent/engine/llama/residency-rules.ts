/** A model in memory, and how it is used. */
export interface LoadedModelUse {
  readonly name: string;
  readonly bytes: number;
  /** Jobs that run on the model now. */
  readonly running: number;
  /** A counter value: a higher number means a more recent use. */
  readonly lastUse: number;
}

export type EvictionPlan =
  /** The model fits after these models are unloaded. */
  | { readonly type: "fits"; readonly unload: readonly string[] }
  /** The model fits only after running jobs have ended. */
  | { readonly type: "busy" };

/**
 * Decides which models are unloaded so that another one fits (docs/spec/engines.md#model-files). A model with running
 * jobs is never unloaded. Idle models are unloaded in the order of their last use, and no more than necessary. A model
 * larger than the limit is loaded alone.
 */
export function planEviction(bytes: number, residents: readonly LoadedModelUse[], limitBytes: number): EvictionPlan {
  const allowed = Math.max(0, limitBytes - bytes);
  let usedBytes = residents.reduce((sum, one) => sum + one.bytes, 0);
  const idle = residents.filter(({ running }) => running === 0).sort((a, b) => a.lastUse - b.lastUse);
  const selected: LoadedModelUse[] = [];
  for (const one of idle) {
    if (usedBytes <= allowed) break;
    selected.push(one);
    usedBytes -= one.bytes;
  }
  if (usedBytes > allowed) return { type: "busy" };
  // The last selected model may be so large that smaller ones, selected before it, can stay.
  const unload = selected.toReversed().filter((one) => {
    if (usedBytes + one.bytes > allowed) return true;
    usedBytes += one.bytes;
    return false;
  });
  return { type: "fits", unload: unload.reverse().map(({ name }) => name) };
}
