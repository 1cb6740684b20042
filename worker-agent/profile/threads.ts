import * as z from "zod";
import { readJson, writeFileAtomically } from "../state/files.ts";

/**
 * How many threads the engine gets is measured, not guessed: llama.cpp's workers spin while they wait for each other,
 * so on a machine that has something else to do one thread too many is a disaster. On a busy two-core machine the
 * default of two threads gave 16 tokens a second where one thread gave 478 (docs/spec/engines.md#engines).
 */
export interface ThreadMeasurement {
  readonly threads: number;
  readonly tokensPerSecond: number;
}

/** After this time no further thread count is tried. */
const BUDGET_MS = 4_000;

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
export function whyThreads(measurements: readonly ThreadMeasurement[]): string {
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

export async function measureThreads(
  cores: number,
  measure: (threads: number) => Promise<number>,
  nowMs: () => number,
  budgetMs: number = BUDGET_MS,
): Promise<ThreadMeasurement[]> {
  const untilMs = nowMs() + budgetMs;
  const measurements: ThreadMeasurement[] = [];
  for (const threads of threadCandidates(cores)) {
    if (measurements.length > 0 && nowMs() >= untilMs) break;
    measurements.push({ threads, tokensPerSecond: await measure(threads) });
  }
  return measurements;
}

/** What a calibration holds for; anything else about the machine may change without a new one. */
export interface CalibrationSubject {
  readonly modelSha256: string;
  readonly cpu: string;
  readonly cores: number;
  readonly gpu: string;
  readonly agentVersion: string;
}

/** Persisted in `calibration.json`. */
const calibrationFile = z.strictObject({
  v: z.literal(1),
  entries: z.record(
    z.string(),
    z.strictObject({
      threads: z.int().positive(),
      measuredAt: z.string(),
      measurements: z.array(z.strictObject({ threads: z.int().positive(), tokensPerSecond: z.number() })),
    }),
  ),
});

export interface Calibration {
  readonly threads: number;
  readonly measurements: readonly ThreadMeasurement[];
  readonly cached: boolean;
}

/** The cached thread count, or a new measurement that is then cached. */
export async function calibrate(options: {
  readonly path: string;
  readonly subject: CalibrationSubject;
  readonly again: boolean;
  readonly measure: (threads: number) => Promise<number>;
  readonly nowMs: () => number;
}): Promise<Calibration> {
  const { path, subject, measure, nowMs } = options;
  const key = [subject.modelSha256, subject.cpu, subject.cores, subject.gpu, subject.agentVersion].join("|");
  const file = (await readJson(path, calibrationFile)) ?? { v: 1, entries: {} };
  const cached = file.entries[key];
  if (cached !== undefined && !options.again) return { ...cached, cached: true };

  const measurements = await measureThreads(subject.cores, measure, nowMs);
  const threads = chooseThreads(measurements);
  const entry = { threads, measuredAt: new Date(nowMs()).toISOString(), measurements };
  await writeFileAtomically(path, JSON.stringify({ v: 1, entries: { ...file.entries, [key]: entry } }, null, 2));
  return { threads, measurements, cached: false };
}
