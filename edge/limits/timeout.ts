/** The answer, or null where it fails or takes longer than `ms`. */
export async function within<T>(ms: number, answer: Promise<T>): Promise<T | null> {
  return inTime(ms, answer).catch(() => null);
}

/** The answer; rejects where it fails or takes longer than `ms`. `who`: named in the error. */
export async function inTime<T>(ms: number, answer: Promise<T>, who = "the other side"): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${who} did not answer in time`)), ms);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
