/**
 * How many threads the engine gets is measured, not guessed: llama.cpp's workers spin while they wait for each other,
 * so on a machine that has something else to do one thread too many is a disaster. On a busy two-core machine the
 * default of two threads gave 16 tokens a second where one thread gave 478 (docs/spec/engines.md#sequences-and-batching).
 */
export interface ThreadMeasurement {
  readonly threads: number;
  readonly tokensPerSecond: number;
}

/** What more threads must bring: below that, the machine's owner has better use for the cores. */
const WORTHWHILE = 1.05;

/** 1, 2, 4, … and all cores; those near half the cores first, so that a short budget is spent where the best often is. */
export function threadCandidates(cores: number): number[] {
  const candidates = new Set<number>();
  for (let threads = 1; threads < cores; threads *= 2) candidates.add(threads);
  candidates.add(Math.max(1, cores));
  const distance = (threads: number) => Math.abs(Math.log2(threads) - Math.log2(cores / 2));
  return [...candidates].sort((a, b) => distance(a) - distance(b) || a - b);
}

/** The fewest threads that nothing beats by more than a few percent. */
export function chooseThreads(measurements: readonly ThreadMeasurement[]): number {
  let best: ThreadMeasurement = { threads: 1, tokensPerSecond: 0 };
  for (const one of [...measurements].sort((a, b) => a.threads - b.threads)) {
    if (one.tokensPerSecond > best.tokensPerSecond * WORTHWHILE) best = one;
  }
  return best.threads;
}

/** Pure: why `chooseThreads` chose so, as a sentence for the machine's owner. */
export function explainThreads(measurements: readonly ThreadMeasurement[]): string {
  const chosen = chooseThreads(measurements);
  const at = measurements.find(({ threads }) => threads === chosen);
  if (at === undefined) return "Nothing could be measured, and one thread never stands in its own way.";
  const rate = (one: ThreadMeasurement) => Math.round(one.tokensPerSecond);
  const gives = `${chosen === 1 ? "1 thread gives" : `${chosen} threads give`} ${rate(at)} tokens a second`;
  const others = measurements.filter((one) => one !== at).sort((a, b) => a.threads - b.threads);
  if (others.length === 0) return `${gives}; nothing else was tried.`;
  const list = (ones: readonly ThreadMeasurement[]) => ones.map((one) => `${one.threads}: ${rate(one)}`).join(", ");
  const more = others.filter(({ threads }) => threads > chosen);
  if (more.length === 0) return `${gives}, the most of what was tried (${list(others)}).`;
  const slower = more.every((one) => one.tokensPerSecond < at.tokensPerSecond);
  return slower
    ? `${gives}; more are slower (${list(more)}), because threads that wait for each other spin and other programs use the cores too.`
    : `${gives}; more bring less than ${Math.round((WORTHWHILE - 1) * 100)} % (${list(more)}), so the other cores stay free for their owner.`;
}
