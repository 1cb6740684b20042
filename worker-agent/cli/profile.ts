import type { WorkerProfile } from "../profile/profile.ts";
import { jsonLine } from "../terminal-text.ts";
import type { Screen } from "./display.ts";
import { type Command, EXIT, flag } from "./shared/command.ts";
import { printable, table } from "./shared/table.ts";

/** `profile`: what this machine can run. */
export const workerProfile: Command = {
  summary: "Show what this machine can run: processor, memory, GPU, NPU and measured speed.",
  usage: "[--json] [--verbose-manifest]",
  help: [
    "--json               print one JSON value (described in worker-agent/profile/README.md)",
    "--verbose-manifest   also print all processor features and what llama.cpp reports",
    "",
    "Measures for a few seconds with the embedded model. Sends nothing, writes nothing, and reads no serial numbers.",
  ],
  options: { json: { type: "boolean" }, "verbose-manifest": { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values, _positionals, hints) {
    const [json, verbose] = [flag(values, "json"), flag(values, "verbose-manifest")];
    // Imported only here, because it loads the model runtime.
    const { profileMachine } = await import("../profile/profile.ts");
    const progress = progressOn(process.stderr, json);
    const profile = await profileMachine({ verbose, onStep: progress.step, nowMs: Date.now });
    progress.done();
    console.log(json ? jsonLine(profile) : formatProfile(profile, verbose, hints.sibling("start")));
    if (profile.benchmark.failed === null) return EXIT.ok;
    console.error(profile.benchmark.failed);
    return EXIT.failed;
  },
};

/** Shows the current step: in a terminal one line that is erased at the end, elsewhere a line per step, with JSON nothing. */
export function progressOn(screen: Screen, json: boolean): { step: (step: string) => void; done: () => void } {
  if (screen.isTTY === true) {
    return { step: (step) => screen.write(`\r\u001b[2K… ${step}`), done: () => screen.write("\r\u001b[2K") };
  }
  return { step: (step) => json || screen.write(`… ${step}\n`), done: () => {} };
}

/** The profile as text. @param start the command that starts a worker */
export function formatProfile(profile: WorkerProfile, verbose: boolean, start: string): string {
  const { cpu, memory, gpu, npu, benchmark, threads, bands, roles } = profile;
  const cores = cpu.physicalCores === null ? "" : `${cpu.physicalCores} cores, `;
  const features = verbose ? cpu.features.join(" ") : bands.vectors;
  const rows: (readonly [string, string])[] = [
    ["Processor", `${cpu.model}: ${cores}${cpu.logicalCores} threads usable, ${features || "vector units unknown"}`],
    ["Memory", `${gigabytes(memory.totalBytes)}, ${gigabytes(memory.freeBytes)} free`],
    ["GPU", gpu === null ? "none found" : formatGpu(gpu)],
    [
      "NPU",
      npu.devices.length > 0 ? npu.devices.join(", ") : npu.looked ? "none found" : "cannot be detected on this system",
    ],
    ["Threads", `${threads.chosen}. ${threads.why}`],
  ];
  const measurements = benchmark.measurements.map((it) => [
    it.backend,
    String(it.threads),
    String(Math.round(it.tokensPerSecond)),
  ]);
  return [
    ...rows.map(([label, value]) => `${label.padEnd(9)}  ${printable(value)}`),
    "",
    table(["Measured", "Threads", "Tokens a second"], measurements, "The measurement failed."),
    `(with ${benchmark.model}, four texts at once; a model twice as large is about half as fast)`,
    "",
    "This machine",
    ...roles.map(({ why }) => `  ${why}`),
    `To choose a model: ${start} --model M`,
    "",
    "In broad classes",
    `  ${Object.entries(bands)
      .map(([name, value]) => `${name} ${value}`)
      .join("; ")}`,
    ...(profile.details === undefined ? [] : ["", "llama.cpp", `  ${printable(profile.details.llamaSystem)}`]),
  ].join("\n");
}

function formatGpu({ kind, names, totalBytes, freeBytes, unified }: NonNullable<WorkerProfile["gpu"]>): string {
  const shared = unified ? ", shared with the processor" : "";
  return `${names.join(", ")} (${kind}): ${gigabytes(totalBytes)}, ${gigabytes(freeBytes)} free${shared}`;
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
