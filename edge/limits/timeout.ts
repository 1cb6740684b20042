/** A promise that resolves with `value` after `ms`: to race against work that may never end. */
export interface Deadline<T> {
  readonly passed: Promise<T>;
  /** Call it when the work has ended: the timer is no longer needed. */
  clear(): void;
}

export function deadline<const T>(ms: number, value: T): Deadline<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const passed = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(value), ms);
  });
  return { passed, clear: () => clearTimeout(timer) };
}

/** Resolves after `ms`. */
export function pause(ms: number): Promise<void> {
  return deadline(ms, undefined).passed;
}

/** The answer, or null where it fails or takes longer than `ms`. */
export async function within<T>(ms: number, answer: Promise<T>): Promise<T | null> {
  return inTime(ms, answer).catch(() => null);
}

const LATE = Symbol();

/** The answer; rejects where it fails or takes longer than `ms`. `who`: named in the error. */
export async function inTime<T>(ms: number, answer: Promise<T>, who = "the other side"): Promise<T> {
  const late = deadline(ms, LATE);
  const first = await Promise.race([answer, late.passed]).finally(late.clear);
  if (first === LATE) throw new Error(`${who} did not answer in time`);
  return first;
}
