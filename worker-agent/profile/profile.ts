import * as z from "zod";
import { loadLlamaEngine } from "../engine/llama/llama-engine.ts";
import { EMBEDDED_MODEL } from "../models/embedded.ts";
import { Counters } from "../session/counters.ts";
import { bandsOf } from "./band-rules.ts";
import { measureThreads } from "./calibration.ts";
import { inspectMachine } from "./machine.ts";
import { rolesFor } from "./role-rules.ts";
import { chooseThreads, explainThreads, type ThreadMeasurement } from "./thread-rules.ts";

const bytes = z.number().nonnegative();

const gpu = z.object({
  /** llama.cpp's backend: `cuda`, `vulkan`, `metal`. */
  kind: z.string(),
  names: z.array(z.string()),
  totalBytes: bytes,
  freeBytes: bytes,
  /** Whether the GPU shares the machine's memory. */
  unified: z.boolean(),
});
export type Gpu = z.infer<typeof gpu>;

const measured = z.object({ backend: z.string(), threads: z.int().positive(), tokensPerSecond: z.number() });
export type Measured = z.infer<typeof measured>;

/** What `profile --json` prints. README.md in this folder documents it. While `v` is 1, fields are only added. */
export const workerProfile = z.object({
  v: z.literal(1),
  platform: z.string(),
  arch: z.string(),
  cpu: z.object({
    model: z.string(),
    physicalCores: z.int().positive().nullable(),
    logicalCores: z.int().positive(),
    features: z.array(z.string()),
  }),
  memory: z.object({ totalBytes: bytes, freeBytes: bytes }),
  gpu: gpu.nullable(),
  npu: z.object({ looked: z.boolean(), devices: z.array(z.string()) }),
  benchmark: z.object({ model: z.string(), measurements: z.array(measured), failed: z.string().nullable() }),
  threads: z.object({ chosen: z.int().positive(), why: z.string() }),
  bands: z.object({
    cores: z.string(),
    vectors: z.string(),
    memory: z.string(),
    gpu: z.string(),
    gpuMemory: z.string(),
    npu: z.string(),
    speed: z.string(),
  }),
  roles: z.array(
    z.object({
      role: z.enum(["gpu-inference", "cpu-inference", "embedded-model", "upstream"]),
      largestModelGb: z.number().nullable(),
      why: z.string(),
    }),
  ),
  details: z.object({ llamaSystem: z.string() }).optional(),
});
export type WorkerProfile = z.infer<typeof workerProfile>;

/** Enough for every number of threads on a large machine. The owner who runs `profile` can wait. */
const BUDGET_MS = 20_000;

export interface ProfileOptions {
  readonly verbose: boolean;
  readonly onStep: (step: string) => void;
  readonly nowMs: () => number;
}

/**
 * Inspects this machine and measures it with the embedded model (docs/spec/workers.md#profile-and-manifest). Sends and
 * writes nothing.
 */
export async function profileMachine({ verbose, onStep, nowMs }: ProfileOptions): Promise<WorkerProfile> {
  onStep("inspecting processor and memory");
  // Before anything is loaded, so that all memory that a model could use counts as free.
  const machine = await inspectMachine();
  onStep("looking for GPUs");
  const { gpu: found, llamaSystem } = await inspectGpu();

  const cpu = await measureOn("cpu", BUDGET_MS, onStep, nowMs);
  const accelerated =
    found === null ? { measurements: [], failed: null } : await measureOn("gpu", BUDGET_MS, onStep, nowMs);
  const benchmark = {
    model: EMBEDDED_MODEL.name,
    measurements: [...cpu.measurements, ...accelerated.measurements],
    failed: cpu.failed ?? accelerated.failed,
  };
  const { npu, memory } = machine;
  const looked = {
    cpu: { ...machine.cpu, features: [...machine.cpu.features] },
    memory: { ...memory },
    gpu: found,
    npu: { looked: npu.looked, devices: [...npu.devices] },
    benchmark,
  };
  return {
    v: 1,
    platform: machine.platform,
    arch: machine.arch,
    ...looked,
    threads: { chosen: chooseThreads(cpu.measurements), why: explainThreads(cpu.measurements) },
    bands: bandsOf(looked),
    roles: rolesFor(looked),
    ...(verbose ? { details: { llamaSystem } } : {}),
  };
}

async function inspectGpu(): Promise<{ gpu: Gpu | null; llamaSystem: string }> {
  const { getLlama, LlamaLogLevel } = await import("node-llama-cpp");
  try {
    const llama = await getLlama({
      build: "never",
      skipDownload: true,
      progressLogs: false,
      gpu: "auto",
      logLevel: LlamaLogLevel.disabled,
    });
    try {
      const llamaSystem = llama.systemInfo.trim();
      if (llama.gpu === false) return { gpu: null, llamaSystem };
      const { total, free, unifiedSize } = await llama.getVramState();
      const names = await llama.getGpuDeviceNames();
      return {
        gpu: { kind: llama.gpu, names, totalBytes: total, freeBytes: free, unified: unifiedSize > 0 },
        llamaSystem,
      };
    } finally {
      await llama.dispose();
    }
  } catch (error) {
    // There is no prebuilt llama.cpp for this machine. The benchmark reports that.
    return { gpu: null, llamaSystem: error instanceof Error ? error.message : String(error) };
  }
}

/** Measures in the same way as `start`, so that it chooses the same number of threads. */
async function measureOn(
  where: "cpu" | "gpu",
  budgetMs: number,
  onStep: (step: string) => void,
  nowMs: () => number,
): Promise<{ measurements: Measured[]; failed: string | null }> {
  let measurements: Measured[] = [];
  const loaded = await loadLlamaEngine({
    file: { ...EMBEDDED_MODEL, sha256: "" },
    meter: new Counters(),
    ...(where === "cpu" ? { gpu: false } : {}),
    threads: async ({ cores, backend, measure }) => {
      const one = async (threads: number) => {
        onStep(`measuring ${backend} with ${threads} thread${threads === 1 ? "" : "s"}`);
        return measure(threads);
      };
      // The GPU computes; threads only feed it.
      const tried: ThreadMeasurement[] =
        where === "cpu"
          ? await measureThreads(cores, one, nowMs, budgetMs)
          : [{ threads: 1, tokensPerSecond: await one(1) }];
      measurements = tried.map(({ threads, tokensPerSecond }) => ({
        backend,
        threads,
        tokensPerSecond: Math.round(tokensPerSecond * 10) / 10,
      }));
      return chooseThreads(tried);
    },
  });
  if (!loaded.ok) return { measurements, failed: loaded.message };
  await loaded.engine.dispose();
  return { measurements, failed: null };
}
