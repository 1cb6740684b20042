import { execFile } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { arch, availableParallelism, cpus, totalmem } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";

/**
 * The hardware of a machine, as far as inference needs it (docs/spec/workers.md#profile-and-manifest). Only the fields named
 * here are read, and neither a serial number nor a unique id. Reading them needs no privileges.
 */
export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly cpu: Cpu;
  readonly memory: Memory;
  readonly npu: Npu;
}

export interface Cpu {
  readonly model: string;
  /** Physical cores; null if the system does not report them. */
  readonly physicalCores: number | null;
  /** The cores that this process may use: in a container these may be fewer than the machine has. */
  readonly logicalCores: number;
  /** Features that speed up inference, as /proc/cpuinfo or sysctl spell them. */
  readonly features: readonly string[];
}

export interface Memory {
  /** The memory that this process may use, with a container's limit. */
  readonly totalBytes: number;
  readonly freeBytes: number;
}

export interface Npu {
  /** False if NPUs cannot be detected on this system. */
  readonly looked: boolean;
  readonly devices: readonly string[];
}

/** Vector and matrix units that llama.cpp has kernels for. */
const X86_FEATURES = ["sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni"];
const X86_FAMILIES = /^(avx512[a-z0-9_]*|amx_[a-z0-9]+)$/;
const ARM_FEATURES = ["asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme", "neon", "fphp"];

/** Reads the hardware of this machine. What the system does not report is null or empty. */
export async function inspectMachine(): Promise<Machine> {
  const { platform } = process;
  return { platform, arch: arch(), cpu: await inspectCpu(), memory: inspectMemory(), npu: await inspectNpu() };
}

async function inspectCpu(): Promise<Cpu> {
  const fallback = { model: cpus()[0]?.model.trim() || "unknown", physicalCores: null, features: [] };
  const logicalCores = Math.max(1, availableParallelism());
  if (process.platform === "linux") {
    const found = parseCpuinfo(await readFile("/proc/cpuinfo", "utf8").catch(() => ""));
    return { ...found, model: found.model ?? fallback.model, logicalCores };
  }
  if (process.platform === "darwin") return { ...fallback, ...(await inspectMacCpu()), logicalCores };
  return { ...fallback, logicalCores };
}

interface Cpuinfo {
  readonly model: string | null;
  readonly physicalCores: number | null;
  readonly features: readonly string[];
}

/** The model, cores and features from `/proc/cpuinfo`. Ignores the serial number that some boards print there. */
export function parseCpuinfo(cpuinfo: string): Cpuinfo {
  const lines = cpuinfo.split("\n").map((line) => {
    const at = line.indexOf(":");
    return at < 0 ? null : ([line.slice(0, at).trim(), line.slice(at + 1).trim()] as const);
  });
  const first = (...names: string[]) => lines.find((line) => line !== null && names.includes(line[0]))?.[1] ?? null;
  const cores = new Set<string>();
  let socket = "0";
  for (const line of lines) {
    if (line?.[0] === "physical id") socket = line[1];
    if (line?.[0] === "core id") cores.add(`${socket}/${line[1]}`);
  }
  const flags = (first("flags", "Features") ?? "").split(/\s+/);
  const wanted = (flag: string) =>
    X86_FEATURES.includes(flag) || X86_FAMILIES.test(flag) || ARM_FEATURES.includes(flag);
  return {
    model: first("model name", "Model"),
    physicalCores: cores.size === 0 ? null : cores.size,
    features: flags.filter(wanted).sort(),
  };
}

async function inspectMacCpu(): Promise<{ physicalCores: number | null; features: readonly string[] }> {
  const run = promisify(execFile);
  const sysctl = async (name: string) =>
    (await run("sysctl", ["-n", name]).catch(() => ({ stdout: "" }))).stdout.trim();
  const physicalCores = Number(await sysctl("hw.physicalcpu"));
  const optional = { asimd: "hw.optional.arm64", i8mm: "hw.optional.arm.FEAT_I8MM", bf16: "hw.optional.arm.FEAT_BF16" };
  const intel = { avx2: "hw.optional.avx2_0", avx512f: "hw.optional.avx512f", fma: "hw.optional.fma" };
  const features: string[] = [];
  for (const [feature, name] of Object.entries(arch() === "arm64" ? optional : intel)) {
    if ((await sysctl(name)) === "1") features.push(feature);
  }
  return { physicalCores: physicalCores > 0 ? physicalCores : null, features };
}

function inspectMemory(): Memory {
  const limit = process.constrainedMemory();
  const totalBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { totalBytes, freeBytes: Math.min(totalBytes, process.availableMemory()) };
}

/** The device nodes that NPU drivers create, and the name of each device. */
const NPU_NODES: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/^accel\d*$/, "accelerator"],
  [/^apex_\d+$/, "Google Coral"],
  [/^davinci\d+$/, "Huawei Ascend"],
  [/^neuron\d+$/, "AWS Neuron"],
];

/** Drivers of the kernel's compute accelerator subsystem. */
const ACCEL_DRIVERS: Readonly<Record<string, string>> = {
  intel_vpu: "Intel NPU",
  amdxdna: "AMD XDNA NPU",
  qaic: "Qualcomm Cloud AI 100",
  habanalabs: "Intel Gaudi",
  rocket: "Rockchip NPU",
  ethosu: "Arm Ethos-U NPU",
};

async function inspectNpu(): Promise<Npu> {
  if (process.platform === "darwin") {
    return { looked: true, devices: arch() === "arm64" ? ["Apple Neural Engine (every Apple chip has one)"] : [] };
  }
  if (process.platform !== "linux") return { looked: false, devices: [] };
  return { looked: true, devices: await npuDevices("/dev", "/sys/class/accel") };
}

/** @param dev `/dev`, another folder in tests. @param sys `/sys/class/accel`, another folder in tests. */
export async function npuDevices(dev: string, sys: string): Promise<string[]> {
  const list = async (folder: string) => (await readdir(folder).catch(() => [])).sort();
  // Since Linux 6.2 the nodes are in /dev/accel. Older drivers put them into /dev.
  const nodes = [...(await list(join(dev, "accel"))), ...(await list(dev))].filter((node) => node !== "accel");
  const devices: string[] = [];
  for (const node of nodes) {
    const kind = NPU_NODES.find(([pattern]) => pattern.test(node))?.[1];
    if (kind === undefined) continue;
    const driver = basename(await readlink(join(sys, node, "device", "driver")).catch(() => ""));
    devices.push(ACCEL_DRIVERS[driver] ?? (driver === "" ? kind : `${kind} (driver ${driver})`));
  }
  return devices;
}
