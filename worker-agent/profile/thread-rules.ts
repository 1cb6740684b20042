/**
 * The number of threads is measured, because llama.cpp's threads spin while they wait for each other: on a machine that
 * runs other programs, one thread too many is very slow. On a busy two-core machine two threads gave 16 tokens a second,
 * and one thread 478 (docs/spec/engines.md#sequences-and-batching).
 */
export interface ThreadMeasurement {
  readonly threads: number;
  readonly tokensPerSecond: number;
}

/** How much faster more threads must be. Otherwise the cores are more useful to the machine's owner. */
const WORTHWHILE = 1.05;

/** 1, 2, 4, … and all cores. Those near half the cores come first, because the best is often there and time is limited. */
export function threadCandidates(cores: number): number[] {
  const candidates = new Set<number>();
  for (let threads = 1; threads < cores; threads *= 2) candidates.add(threads);
  candidates.add(Math.max(1, cores));
  const distance = (threads: number) => Math.abs(Math.log2(threads) - Math.log2(cores / 2));
  return [...candidates].sort((a, b) => distance(a) - distance(b) || a - b);
}

/** The lowest number of threads that no higher number beats by more than a few percent. */
export function chooseThreads(measurements: readonly ThreadMeasurement[]): number {
  let best: ThreadMeasurement = { threads: 1, tokensPerSecond: 0 };
  for (const one of [...measurements].sort((a, b) => a.threads - b.threads)) {
    if (one.tokensPerSecond > best.tokensPerSecond * WORTHWHILE) best = one;
  }
  return best.threads;
}

/** Explains the choice of `chooseThreads` to the machine's owner. */
export function explainThreads(measurements: readonly ThreadMeasurement[]): string {
  const chosen = chooseThreads(measurements);
  const at = measurements.find(({ threads }) => threads === chosen);
  if (at === undefined) return "Nothing could be measured; one thread is always safe.";
  const rate = (one: ThreadMeasurement) => Math.round(one.tokensPerSecond);
  const gives = `${chosen === 1 ? "1 thread gives" : `${chosen} threads give`} ${rate(at)} tokens a second`;
  const others = measurements.filter((one) => one !== at).sort((a, b) => a.threads - b.threads);
  if (others.length === 0) return `${gives}; no other number was tried.`;
  const list = (ones: readonly ThreadMeasurement[]) => ones.map((one) => `${one.threads}: ${rate(one)}`).join(", ");
  const more = others.filter(({ threads }) => threads > chosen);
  if (more.length === 0) return `${gives}, the most of all that were tried (${list(others)}).`;
  const slower = more.every((one) => one.tokensPerSecond < at.tokensPerSecond);
  return slower
    ? `${gives}; more threads are slower (${list(more)}), because they spin while they wait for each other and other programs use the cores too.`
    : `${gives}; more threads gain less than ${Math.round((WORTHWHILE - 1) * 100)} % (${list(more)}), so the other cores stay free for other programs.`;
}
