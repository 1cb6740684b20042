import * as z from "zod";
import { readJson, writeFileAtomically } from "../state/files.ts";
import { chooseThreads, type ThreadMeasurement, threadCandidates } from "./thread-rules.ts";

/** The time after which no further number of threads is tried. */
const BUDGET_MS = 4_000;

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

/** A calibration is valid for exactly these values. */
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

/** The cached number of threads, or a new measurement, which is then cached. */
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
