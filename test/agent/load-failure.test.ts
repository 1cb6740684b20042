import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Llama } from "node-llama-cpp";
import { InsufficientMemoryError, NoBinaryFoundError } from "node-llama-cpp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadLlamaEngine } from "../../worker-agent/engine/llama/llama-engine.ts";
import { startLlama, stopLlama } from "../../worker-agent/engine/llama/llama-runtime.ts";
import { loadFailureMessage } from "../../worker-agent/engine/llama/load-failure.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { findModel } from "../../worker-agent/models/model-file.ts";
import { Counters } from "../../worker-agent/session/counters.ts";
import { temporaryFolder } from "../temporary-folder.ts";

/** The message names the file and says what its owner can do, for damaged files as they occur in practice. */

let folder: string;
let runtime: Llama;
let model: Buffer;
beforeAll(async () => {
  folder = temporaryFolder();
  model = await readFile(EMBEDDED_MODEL.path);
  runtime = await startLlama({ gpu: false });
});
afterAll(async () => {
  await stopLlama(runtime);
});

/** The embedded model with other bytes starting at `at`. */
function patched(at: number, ...bytes: number[]): Buffer {
  const copy = Buffer.from(model);
  copy.set(bytes, at);
  return copy;
}
const architecture = () => model.indexOf("llama", model.indexOf("general.architecture"));

describe("a model file", () => {
  it.each<[what: string, content: () => Buffer, says: RegExp]>([
    [
      "that ends in its header",
      () => model.subarray(0, 1_000),
      /is damaged, or was not downloaded whole \(failed to read/,
    ],
    ["that ends in its weights", () => model.subarray(0, model.length / 2), /is damaged.*not within the file bounds/],
    ["whose header is noise", () => Buffer.concat([model.subarray(0, 200), Buffer.alloc(2_000, 0xee)]), /is damaged/],
    ["of an unknown architecture", () => patched(architecture(), 122, 122), /unknown architecture \(zzama\)/],
    [
      "of a later version",
      () => patched(4, 9),
      /is a GGUF file of version 9, and this agent reads versions 2 and 3\. Update/,
    ],
    ["whose version is noise", () => patched(4, 255, 255, 255, 255), /is a damaged GGUF file\. Download it again/],
    ["of four bytes", () => model.subarray(0, 4), /is not a GGUF file, or is an incomplete download/],
  ])("%s is reported with advice", async (_what, content, says) => {
    const path = join(folder, "model.gguf");
    await writeFile(path, content());
    const found = await findModel(path, join(folder, "hashes.json"));
    const warned: string[] = [];
    const outcome = found.ok
      ? await loadLlamaEngine({
          file: found.file,
          runtime,
          meter: new Counters(),
          threads: async () => 1,
          onWarning: (line) => warned.push(line),
        })
      : found;
    if (outcome.ok) throw new Error("it was loaded");
    expect(outcome.message).toMatch(says);
    expect(outcome.message).toContain(path);
    expect(outcome.message).toMatch(/(Download it again|Update the agent|Set --model).*\.$/);
    // The message has the reason. llama.cpp's log lines would repeat it four times.
    expect(warned).toEqual([]);
  });
});

it.each<[what: string, error: unknown, said: string[], says: RegExp]>([
  ["a missing binary", new NoBinaryFoundError(), [], /^There is no prebuilt llama\.cpp/],
  [
    "too little memory",
    new InsufficientMemoryError("A context of 8192"),
    [],
    /not enough memory .*\(A context of 8192\).*--slots/,
  ],
  [
    "memory that llama.cpp could not get",
    new Error("Failed to load model"),
    ["ggml_backend_alloc: unable to allocate CPU buffer"],
    /not enough memory for the model \/m\.gguf \(unable to allocate CPU buffer\)/,
  ],
  ["llama.cpp's own message", new Error("Failed to load model"), ["a: it rained"], /could not be loaded \(it rained\)/],
  ["an error without a line", new Error("It rained"), [], /could not be loaded \(It rained\)\. Try a smaller model/],
  ["a value that is not an error", "rain", [], /could not be loaded \(rain\)/],
])("%s is reported", (_what, error, logLines, says) =>
  expect(loadFailureMessage(error, "/m.gguf", logLines)).toMatch(says),
);
