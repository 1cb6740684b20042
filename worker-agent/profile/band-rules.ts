import type { Measured, WorkerProfile } from "./profile.ts";

/**
 * Coarse bands of a machine's properties (docs/spec/workers.md#profile-and-manifest), wide enough that they identify no
 * machine.
 */
export function bandsOf(profile: Pick<WorkerProfile, "cpu" | "memory" | "gpu" | "npu" | "benchmark">) {
  const { cpu, memory, gpu, npu, benchmark } = profile;
  return {
    cores: band(cpu.logicalCores, [2, 4, 8, 16, 32, 64], ""),
    vectors: vectorsOf(cpu.features),
    memory: band(memory.totalBytes / GB, [4, 8, 16, 32, 64, 128], " GB"),
    gpu: gpu === null ? "none" : gpu.kind,
    gpuMemory: gpu === null ? "none" : band(gpu.totalBytes / GB, [4, 8, 16, 24, 48, 96], " GB"),
    npu: npu.devices.length > 0 ? "present" : npu.looked ? "none" : "unknown",
    speed: band(best(benchmark.measurements), [50, 150, 500, 1_500, 5_000], " tokens a second"),
  };
}

/** The decimal gigabyte, the usual unit of memory and model files. */
const GB = 1e9;

/** For example `up to 4 GB`, `over 8 up to 16 GB`, `over 128 GB`. */
export function band(value: number, edges: readonly number[], unit: string): string {
  const above = edges.findIndex((edge) => value <= edge);
  if (above === 0) return `up to ${edges[0]}${unit}`;
  if (above < 0) return `over ${edges.at(-1)}${unit}`;
  return `over ${edges[above - 1]} up to ${edges[above]}${unit}`;
}

function vectorsOf(features: readonly string[]): string {
  const has = (start: string) => features.some((feature) => feature.startsWith(start));
  if (has("amx_")) return "amx";
  if (has("avx512")) return "avx512";
  if (has("avx2")) return "avx2";
  if (has("sve") || has("sme")) return "sve";
  if (has("i8mm")) return "neon-i8mm";
  if (has("asimd") || has("neon")) return "neon";
  return "baseline";
}

const best = (measurements: readonly Measured[]) =>
  measurements.reduce((most, { tokensPerSecond }) => Math.max(most, tokensPerSecond), 0);
