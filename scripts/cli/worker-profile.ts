import type { WorkerProfile } from "../../worker-agent/profile/profile.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { LIGAND } from "./called-as.ts";
import { type Command, EXIT, flag } from "./command.ts";
import { printable, table } from "./table.ts";
import type { Screen } from "./worker-display.ts";

/** `ligand worker profile`: what this machine is good for. */
export const workerProfileCommand: Command = {
  summary: "What this machine is good for: processor, memory, GPU, NPU, and measured speed.",
  usage: "[--json] [--verbose-manifest]",
  help: [
    "--json               one JSON value (worker-agent/profile/README.md says what is in it)",
    "--verbose-manifest   also each feature of the processor, and what llama.cpp says it found",
    "",
    "Takes a few seconds to measure with the embedded model. Nothing is sent or written, and no serial number is read.",
  ],
  options: { json: { type: "boolean" }, "verbose-manifest": { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const [json, verbose] = [flag(values, "json"), flag(values, "verbose-manifest")];
    // Loaded only here: it brings the model runtime.
    const { profileMachine } = await import("../../worker-agent/profile/profile.ts");
    const progress = progressOn(process.stderr, json);
    const profile = await profileMachine({ verbose, onStep: progress.step, nowMs: Date.now });
    progress.done();
    console.log(json ? jsonLine(profile) : profileWords(profile, verbose));
    if (profile.benchmark.failed === null) return EXIT.ok;
    console.error(profile.benchmark.failed);
    return EXIT.failed;
  },
};

/** What is being done: one line that is taken back in a terminal, lines elsewhere, nothing beside JSON. */
export function progressOn(screen: Screen, json: boolean): { step: (step: string) => void; done: () => void } {
  if (screen.isTTY === true) {
    return { step: (step) => screen.write(`\r\u001b[2K… ${step}`), done: () => screen.write("\r\u001b[2K") };
  }
  return { step: (step) => json || screen.write(`… ${step}\n`), done: () => {} };
}

/** Pure: the profile as a person reads it. */
export function profileWords(profile: WorkerProfile, verbose: boolean): string {
  const { cpu, memory, gpu, npu, benchmark, threads, bands, roles } = profile;
  const cores = cpu.physicalCores === null ? "" : `${cpu.physicalCores} cores, `;
  const features = verbose ? cpu.features.join(" ") : bands.vectors;
  const rows: (readonly [string, string])[] = [
    ["Processor", `${cpu.model}: ${cores}${cpu.logicalCores} threads usable, ${features || "no vector units known"}`],
    ["Memory", `${gigabytes(memory.totalBytes)}, ${gigabytes(memory.freeBytes)} free`],
    ["GPU", gpu === null ? "none found" : gpuWords(gpu)],
    ["NPU", npu.devices.length > 0 ? npu.devices.join(", ") : npu.looked ? "none found" : "no way to tell here"],
    ["Threads", `${threads.chosen}. ${threads.why}`],
  ];
  const measurements = benchmark.measurements.map((it) => [
    it.backend,
    String(it.threads),
    String(Math.round(it.tokensPerSecond)),
  ]);
  return [
    ...rows.map(([label, words]) => `${label.padEnd(9)}  ${printable(words)}`),
    "",
    table(["Measured", "Threads", "Tokens a second"], measurements, "Nothing could be measured."),
    `(with ${benchmark.model}, four texts at once; larger models are slower in proportion to their size)`,
    "",
    "This machine",
    ...roles.map(({ why }) => `  ${why}`),
    `Nothing is chosen for you: say what to serve with ${LIGAND} worker start --model.`,
    "",
    "In coarse bands",
    `  ${Object.entries(bands)
      .map(([name, value]) => `${name} ${value}`)
      .join("; ")}`,
    ...(profile.details === undefined ? [] : ["", "llama.cpp", `  ${printable(profile.details.llamaSystem)}`]),
  ].join("\n");
}

function gpuWords({ kind, names, totalBytes, freeBytes, unified }: NonNullable<WorkerProfile["gpu"]>): string {
  const shared = unified ? ", shared with the processor" : "";
  return `${names.join(", ")} (${kind}): ${gigabytes(totalBytes)}, ${gigabytes(freeBytes)} free${shared}`;
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
