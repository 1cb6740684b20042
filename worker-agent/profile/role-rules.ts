import type { Gpu, WorkerProfile } from "./profile.ts";

/** The decimal gigabyte, the usual unit of memory and model files. */
const GB = 1e9;

/** Memory for a running model relative to its file: the file, its context and scratch memory. */
const OVERHEAD = 1.3;
/** The share of free memory to use: other programs need memory too. */
const SHARE = Object.freeze({ cpu: 0.6, gpu: 0.9 } as const);
/** A smaller general model is not useful. */
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

/** The roles that suit this machine, best first. They are recommendations: the owner chooses with `start --model`. */
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
    const why = `serves models up to about ${onCpu} GB from memory; speed falls in proportion to the model's size.`;
    roles.push({ role: "cpu-inference", largestModelGb: onCpu, why });
  }
  roles.push({
    role: "embedded-model",
    largestModelGb: null,
    why: "serves the embedded model, which needs very little memory.",
  });
  if (npu.devices.length > 0) {
    const why = "has an NPU, which the agent can use only through the vendor's server, if that speaks the OpenAI API.";
    roles.push({ role: "upstream", largestModelGb: null, why });
  }
  return roles;
}
