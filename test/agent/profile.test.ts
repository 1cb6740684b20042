import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { formatProfile } from "../../worker-agent/cli/profile.ts";
import { band } from "../../worker-agent/profile/band-rules.ts";
import { npuDevices, parseCpuinfo } from "../../worker-agent/profile/machine.ts";
import { profileMachine, type WorkerProfile, workerProfile } from "../../worker-agent/profile/profile.ts";
import { rolesFor } from "../../worker-agent/profile/role-rules.ts";
import { explainThreads } from "../../worker-agent/profile/thread-rules.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const X86 = `processor	: 0
model name	: Intel(R) Core(TM) Ultra 7
physical id	: 0
core id		: 0
flags		: fpu sse4_2 ht avx avx2 fma f16c avx512f avx512_vnni amx_int8 hypervisor
processor	: 1
model name	: Intel(R) Core(TM) Ultra 7
physical id	: 0
core id		: 0
flags		: fpu
processor	: 2
physical id	: 0
core id		: 1
processor	: 3
physical id	: 1
core id		: 1
`;
const RASPBERRY = `processor	: 0
Features	: fp asimd evtstrm crc32 cpuid asimddp
CPU part	: 0xd0b

Revision	: d04170
Serial		: 10000000deadbeef
Model		: Raspberry Pi 5 Model B Rev 1.0
`;

describe("/proc/cpuinfo", () => {
  it.each<[what: string, text: string, want: ReturnType<typeof parseCpuinfo>]>([
    [
      "of a PC gives its physical cores and its vector units",
      X86,
      {
        model: "Intel(R) Core(TM) Ultra 7",
        physicalCores: 3,
        features: ["amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "f16c", "fma", "sse4_2"],
      },
    ],
    [
      "of an Arm board gives the same",
      RASPBERRY,
      { model: "Raspberry Pi 5 Model B Rev 1.0", physicalCores: null, features: ["asimd", "asimddp"] },
    ],
    ["that cannot be read", "", { model: null, physicalCores: null, features: [] }],
  ])("%s", (_what, text, want) => expect(parseCpuinfo(text)).toEqual(want));

  it("gives no serial number", () => expect(JSON.stringify(parseCpuinfo(RASPBERRY))).not.toContain("deadbeef"));
});

it("finds NPUs by the nodes and names of their drivers", async () => {
  const root = temporaryFolder();
  const [dev, sys] = [join(root, "dev"), join(root, "sys")];
  expect(await npuDevices(dev, sys)).toEqual([]);
  await mkdir(join(dev, "accel"), { recursive: true });
  for (const node of ["accel/accel0", "accel/accel1", "apex_0", "null"]) await writeFile(join(dev, node), "");
  for (const [node, driver] of [
    ["accel0", "intel_vpu"],
    ["accel1", "newcomer"],
  ] as const) {
    await mkdir(join(sys, node, "device"), { recursive: true });
    await symlink(`../../../bus/pci/drivers/${driver}`, join(sys, node, "device", "driver"));
  }
  expect(await npuDevices(dev, sys)).toEqual(["Intel NPU", "accelerator (driver newcomer)", "Google Coral"]);
});

it.each<[value: number, want: string]>([
  [0, "up to 4 GB"],
  [4, "up to 4 GB"],
  [4.1, "over 4 up to 8 GB"],
  [8.1, "over 8 GB"],
])("%f is in the band %s", (value, want) => expect(band(value, [4, 8], " GB")).toBe(want));

describe("roles", () => {
  const gpu = { kind: "cuda", names: ["GPU"], totalBytes: 24e9, freeBytes: 22e9, unified: false };
  const memory = (freeBytes: number) => ({ totalBytes: 64e9, freeBytes });
  const none = { looked: true, devices: [] };
  it.each<[what: string, machine: Parameters<typeof rolesFor>[0], want: [string, number | null][]]>([
    [
      "a GPU box",
      { memory: memory(26e9), gpu, npu: none },
      [
        ["gpu-inference", 15],
        ["cpu-inference", 12],
        ["embedded-model", null],
      ],
    ],
    [
      "a laptop with an NPU",
      { memory: memory(6.5e9), gpu: null, npu: { looked: true, devices: ["Intel NPU"] } },
      [
        ["cpu-inference", 3],
        ["embedded-model", null],
        ["upstream", null],
      ],
    ],
    ["a board with little memory", { memory: memory(0.5e9), gpu: null, npu: none }, [["embedded-model", null]]],
  ])("of %s", (_what, machine, want) => {
    expect(rolesFor(machine).map(({ role, largestModelGb }) => [role, largestModelGb])).toEqual(want);
  });
});

it.each<[rates: [threads: number, tokensPerSecond: number][], says: RegExp]>([
  [[], /^Nothing could be measured/],
  [[[1, 50]], /^1 thread gives 50 tokens a second; no other number was tried\.$/],
  [
    [
      [1, 478],
      [2, 16],
    ],
    /^1 thread gives 478 tokens a second; more threads are slower \(2: 16\), because/,
  ],
  [
    [
      [2, 102],
      [1, 100],
    ],
    /^1 thread gives 100 tokens a second; more threads gain less than 5 % \(2: 102\), so the other cores stay free/,
  ],
  [
    [
      [1, 10],
      [4, 30],
      [2, 19],
    ],
    /^4 threads give 30 tokens a second, the most of all that were tried \(1: 10, 2: 19\)\.$/,
  ],
])("the reason for the number of threads, given %j", (rates, says) => {
  expect(explainThreads(rates.map(([threads, tokensPerSecond]) => ({ threads, tokensPerSecond })))).toMatch(says);
});

describe("this machine", () => {
  let profile: WorkerProfile;
  const steps: string[] = [];
  beforeAll(async () => {
    profile = await profileMachine({ verbose: true, onStep: (step) => steps.push(step), nowMs: Date.now });
  });

  it("is measured with the embedded model, and the profile has the documented shape", async () => {
    expect(workerProfile.strict().parse(profile)).toEqual(profile);
    expect(profile.benchmark.failed).toBeNull();
    expect(profile.benchmark.measurements.some(({ tokensPerSecond }) => tokensPerSecond > 0)).toBe(true);
    const tried = profile.benchmark.measurements.filter(({ backend }) => backend === "cpu");
    expect(tried.map(({ threads }) => threads)).toContain(profile.threads.chosen);
    expect(steps.filter((step) => step.startsWith("measuring cpu"))).toHaveLength(tried.length);
    const readme = await readFile(new URL("../../worker-agent/profile/README.md", import.meta.url), "utf8");
    for (const field of Object.keys(workerProfile.shape)) expect(readme, field).toContain(`\`${field}`);
  });

  it("is printed for people with everything that was inspected, found or not", () => {
    const words = formatProfile(
      { ...profile, gpu: null, npu: { looked: true, devices: [] } },
      false,
      "ligand-worker start",
    );
    for (const word of ["Processor", "Memory", "GPU        none found", "NPU        none found", "Threads"]) {
      expect(words).toContain(word);
    }
    expect(words).toContain(profile.threads.why);
  });

  it("is not identifiable: the profile has no id, no address and no name", async () => {
    const profileText = JSON.stringify(profile).toLowerCase();
    const id = (await readFile("/etc/machine-id", "utf8").catch(() => "")).trim();
    const addresses = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ mac }) => mac));
    for (const secret of [id, ...addresses].filter((it) => it !== ""))
      expect(profileText).not.toContain(secret.toLowerCase());
    expect(profileText).not.toContain(`"${hostname().toLowerCase()}"`);
    expect(profileText).not.toMatch(/serial|uuid/);
  });
});
