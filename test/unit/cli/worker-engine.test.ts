import { describe, expect, it } from "vitest";
import { downloadBar, tenthsOfDownloads } from "../../../worker-agent/cli/download-bar.ts";
import { engineChoice } from "../../../worker-agent/cli/engine-flags.ts";
import { sizeBytes } from "../../../worker-agent/cli/shared/size-flag.ts";

const llama = { models: [], modelsDir: "/data/ligand/models", recalibrate: false };
const upstream = { key: "k", models: [], allowInsecure: false };
const env = { XDG_DATA_HOME: "/data", LIGAND_UPSTREAM_KEY: " k\n" };
const url = "http://127.0.0.1:1/v1";

describe("the flags that choose an engine", () => {
  it.each<[flags: Record<string, string | boolean | string[]>, want: object]>([
    [{}, llama],
    [
      { model: ["a.gguf", "hf:o/r:Q4"], slots: "2" },
      { ...llama, models: ["a.gguf", "hf:o/r:Q4"], slots: 2 },
    ],
    [
      { "models-dir": "/m", "memory-limit": "7.5GB" },
      { ...llama, modelsDir: "/m", memoryLimitBytes: 7.5e9 },
    ],
    [
      { gpu: "off", recalibrate: true, context: "2048" },
      { ...llama, gpu: false, recalibrate: true, contextTokens: 2_048 },
    ],
    [{ gpu: "auto", engine: "llama" }, llama],
    [{ engine: "upstream", "upstream-url": url }, { upstream: { ...upstream, url } }],
    [
      { "upstream-url": url, "upstream-model": ["m", "n=o"], "upstream-slots": "9", context: "4096" },
      { upstream: { ...upstream, url, models: ["m", "n=o"] }, slots: 9, contextTokens: 4_096 },
    ],
    [
      { "upstream-url": url, "upstream-kinds": "chat, embedding", "upstream-timeout": "30", "upstream-insecure": true },
      { upstream: { ...upstream, url, kinds: ["chat", "embedding"], silenceMs: 30_000, allowInsecure: true } },
    ],
  ])("%j", (flags, want) => expect(engineChoice(flags, env)).toEqual(want));

  it.each<[flags: Record<string, string | boolean | string[]>, message: RegExp]>([
    [{ engine: "vllm" }, /--engine must be llama or upstream/],
    [{ engine: "upstream" }, /--upstream-url/],
    [{ "upstream-url": url, model: ["a.gguf"] }, /--model does not work with --engine upstream/],
    [{ "upstream-slots": "2" }, /--upstream-slots works only with --engine upstream/],
    [{ gpu: "1" }, /--gpu must be auto or off/],
    [{ "memory-limit": "8" }, /--memory-limit must be a size such as 8GB/],
    [{ "upstream-url": url, "upstream-kinds": "images" }, /--upstream-kinds must list/],
    [{ "upstream-url": url, "upstream-timeout": "300" }, /--upstream-timeout must be a whole number from 1 to 290/],
    [{ context: "3" }, /--context must be/],
  ])("%j is refused", (flags, message) => expect(() => engineChoice(flags, env)).toThrow(message));

  it("without a variable there is no upstream key", () => {
    expect(engineChoice({ "upstream-url": url }, { LIGAND_UPSTREAM_KEY: "" }).upstream?.key).toBeNull();
  });
});

it.each<[given: string, want: number | undefined]>([
  ["8GB", 8e9],
  ["1.5GiB", 1.5 * 2 ** 30],
  ["900 MB", 9e8],
  ["8", undefined],
  ["0GB", undefined],
  ["-1GB", undefined],
  ["8gb", undefined],
])("the size %j", (given, want) => expect(sizeBytes(given)).toBe(want));

describe("a download", () => {
  const at = (bytes: number) => ({ type: "downloading", file: "m.gguf", bytes, totalBytes: 2e8 }) as const;

  it("is shown as a bar in a terminal", () => {
    expect(downloadBar(at(0))).toBe("░░░░░░░░░░░░░░░░░░░░░░░░ 0 % of 200.0 MB · m.gguf");
    expect(downloadBar(at(1e8))).toBe("████████████░░░░░░░░░░░░ 50 % of 200.0 MB · m.gguf");
    expect(downloadBar({ ...at(0), totalBytes: 0 })).toContain("0 %");
  });

  it("is at most eleven lines in a log", () => {
    const wanted = tenthsOfDownloads();
    const shown = Array.from({ length: 2_001 }, (_, i) => at(i * 1e5)).filter(wanted);
    expect(shown.map(({ bytes }) => bytes / 2e8)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
    expect(wanted({ type: "warning", message: "other" })).toBe(true);
  });
});
