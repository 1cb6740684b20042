import type { Gpu, Measured, WorkerProfile } from "./profile.ts";

/**
 * Coarse bands (docs/spec/workers.md#profile-and-manifest): all that a pool would ever be told of a machine beyond its models, wide enough that they
 * single nobody out.
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

/** Ten to the ninth, as memory and model files are sold. */
const GB = 1e9;

/** Pure: `up to 4 GB`, `over 8 up to 16 GB`, `over 128 GB`. */
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

/** What a model's file needs beside itself while it runs: context and scratch memory. */
const OVERHEAD = 1.3;
/** The machine has other things to do with its memory. */
const SHARE = Object.freeze({ cpu: 0.6, gpu: 0.9 } as const);
/** Below this a general model is not worth its download. */
const SMALLEST_MODEL_GB = 0.4;

/** The largest model file, in GB, that runs in this many bytes. */
function largestModelGb(bytes: number, share: number): number {
  const gb = (bytes * share) / OVERHEAD / GB;
  return gb >= 10 ? Math.floor(gb) : Math.floor(gb * 10) / 10;
}

export interface Role {
  readonly role: "gpu-inference" | "cpu-inference" | "embedded-model" | "upstream";
  readonly largestModelGb: number | null;
  readonly why: string;
}

/** What this machine suits, best first. Recommended, never taken: the owner chooses with `worker start --model`. */
export function rolesFor({
  memory,
  gpu,
  npu,
}: {
  memory: WorkerProfile["memory"];
  gpu: Gpu | null;
  npu: WorkerProfile["npu"];
}): Role[] {
  const roles: Role[] = [];
  const onGpu = gpu === null ? 0 : largestModelGb(gpu.freeBytes, SHARE.gpu);
  if (gpu !== null && onGpu >= SMALLEST_MODEL_GB) {
    const why = `serves models up to about ${onGpu} GB on the GPU (${gpu.kind}).`;
    roles.push({ role: "gpu-inference", largestModelGb: onGpu, why });
  }
  const onCpu = largestModelGb(memory.freeBytes, SHARE.cpu);
  if (onCpu >= SMALLEST_MODEL_GB) {
    const why = `serves models up to about ${onCpu} GB from memory; the larger the model, the slower, in proportion.`;
    roles.push({ role: "cpu-inference", largestModelGb: onCpu, why });
  }
  roles.push({
    role: "embedded-model",
    largestModelGb: null,
    why: "serves the embedded model, which needs next to nothing.",
  });
  if (npu.devices.length > 0) {
    const why = "has an NPU: the agent uses one only through a server of the NPU's vendor that speaks the OpenAI API.";
    roles.push({ role: "upstream", largestModelGb: null, why });
  }
  return roles;
}
