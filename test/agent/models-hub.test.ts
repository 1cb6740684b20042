import { randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { type DownloadOptions, downloadModel } from "../../worker-agent/models/hub.ts";
import { hubName, nameOfFile, splitFiles } from "../../worker-agent/models/hub-name.ts";
import { findModel } from "../../worker-agent/models/model-file.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { HubDouble } from "./hub-double.ts";

const MIB = 1024 * 1024;
/** Several of the downloader's chunks and a bit more; only the beginning is that of a model. */
const LARGE = Buffer.concat([Buffer.from("GGUF"), randomBytes(16 * MIB)]);

const TINY = await readFile(EMBEDDED_MODEL.path);

let hub: HubDouble;
let modelsDir: string;
let hashesPath: string;
let progress: number[];
beforeEach(async () => {
  hub = await HubDouble.listen();
  const folder = temporaryFolder();
  modelsDir = join(folder, "models");
  hashesPath = join(folder, "hashes.json");
  progress = [];
  hub.files.push({ at: "acme/Tiny-GGUF/Tiny-Q8_0.gguf", bytes: TINY });
  hub.files.push({ at: "acme/Large-GGUF/q/Large.Q4_K_M.gguf", bytes: LARGE });
  hub.quants.set("acme/Tiny-GGUF:Q8_0", "Tiny-Q8_0.gguf");
  hub.quants.set("acme/Large-GGUF:Q4_K_M", "q/Large.Q4_K_M.gguf");
});
afterEach(() => hub.close());

const download = (spec: string, options: Partial<DownloadOptions> = {}) =>
  downloadModel(spec, {
    modelsDir,
    hashesPath,
    endpoint: hub.url,
    onProgress: ({ bytes }) => progress.push(bytes),
    signal: new AbortController().signal,
    ...options,
  });

async function downloaded(spec: string, options: Partial<DownloadOptions> = {}): Promise<string> {
  const outcome = await download(spec, options);
  if (!outcome.ok) throw new Error(outcome.message);
  return outcome.path;
}

/** Compares bytes directly, because a matcher would inspect each of millions. */
const holds = async (path: string, bytes: Buffer) => bytes.equals(await readFile(path));

const askedBytes = () =>
  hub.ranges.reduce((sum, range) => {
    const [from = 0, to = 0] = range.split("-").map(Number);
    return sum + to - from + 1;
  }, 0);

describe("a model from the hub", () => {
  it("is chosen by its quantisation, shows its progress, and is a model file with a name", async () => {
    const path = await downloaded("hf:acme/Tiny-GGUF:Q8_0");
    expect(path).toBe(join(modelsDir, "acme", "Tiny-GGUF", "Tiny-Q8_0.gguf"));
    expect(await holds(path, TINY)).toBe(true);
    expect(progress.at(-1)).toBe(TINY.length);
    expect(await findModel(path, hashesPath)).toMatchObject({ ok: true, file: { name: "Tiny-Q8_0" } });
  });

  it("is downloaded once: the next start needs no network", async () => {
    const path = await downloaded("hf:acme/Tiny-GGUF:Q8_0");
    hub.close();
    expect(await downloaded("hf:acme/Tiny-GGUF:Q8_0")).toBe(path);
  });

  it("is downloaded again if its file is incomplete", async () => {
    const path = await downloaded("hf:acme/Tiny-GGUF:Q8_0");
    await writeFile(path, "GGUF");
    expect(await downloaded("hf:acme/Tiny-GGUF:Q8_0")).toBe(path);
    expect(await holds(path, TINY)).toBe(true);
  });

  it("may be named by its file", async () => {
    const path = await downloaded("hf:acme/Large-GGUF/q/Large.Q4_K_M.gguf");
    expect(await holds(path, LARGE)).toBe(true);
  });

  it.each(["hf:acme/Old:Q8_0", "hf:acme/Old/Tiny-Q8_0.gguf"])("comes from a renamed repository: %s", async (spec) => {
    hub.renamed.set("acme/Old", "acme/Older").set("acme/Older", "acme/Tiny-GGUF");
    expect(await holds(await downloaded(spec), TINY)).toBe(true);
  });

  it("matches the hub's hash, without the downloader's progress data", async () => {
    const bytes = Buffer.from("GGUF and notes");
    const sha256 = await sha256Hex(bytes.subarray(0, 4));
    hub.files.push({ at: "acme/Notes/N.gguf", bytes, size: 4, sha256 });
    expect(await readFile(await downloaded("hf:acme/Notes/N.gguf"), "utf8")).toBe("GGUF");
  });

  it("may be split: all its parts are downloaded", async () => {
    for (const nth of [1, 2]) {
      const bytes = Buffer.from(`GGUF\x03\0\0\0part ${nth}`);
      hub.files.push({ at: `acme/Split/S-0000${nth}-of-00002.gguf`, bytes });
    }
    hub.quants.set("acme/Split:latest", "S-00001-of-00002.gguf");
    const path = await downloaded("hf:acme/Split");
    expect(await readFile(path.replace("00001-of", "00002-of"), "utf8")).toBe("GGUF\x03\0\0\0part 2");
    expect(await findModel(path, hashesPath)).toMatchObject({ file: { name: "S" } });
  });

  it("that is gated needs a token, which is never shown", async () => {
    hub.files.push({ at: "acme/Gated/G.gguf", bytes: Buffer.from("GGUF gated"), gated: true });
    const refused = await download("hf:acme/Gated/G.gguf");
    expect(refused).toMatchObject({ ok: false, message: expect.stringMatching(/401.*acme\/Gated.*HF_TOKEN/) });
    const wrong = await download("hf:acme/Gated/G.gguf", { token: "hf_wrong" });
    expect(wrong).toMatchObject({ ok: false, message: expect.not.stringContaining("hf_wrong") });
    await downloaded("hf:acme/Gated/G.gguf", { token: hub.token });
  });
});

describe("an interrupted download", () => {
  it("continues by itself when the hub cuts the connection", async () => {
    hub.cuts = { times: 2, afterBytes: 6 * MIB };
    const path = await downloaded("hf:acme/Large-GGUF:Q4_K_M");
    expect(await holds(path, LARGE)).toBe(true);
    expect(hub.cuts.times).toBe(0);
    expect(askedBytes()).toBeGreaterThan(LARGE.length);
  });

  it("resumes when the worker starts again", async () => {
    const stop = new AbortController();
    hub.cuts = { times: 1_000, afterBytes: 6 * MIB };
    const onProgress = ({ bytes }: { bytes: number }) => {
      if (bytes > 11 * MIB) stop.abort();
    };
    const stopped = await download("hf:acme/Large-GGUF:Q4_K_M", { signal: stop.signal, onProgress });
    expect(stopped).toMatchObject({ ok: false, message: expect.stringMatching(/next start resumes it/) });
    expect(await readdir(join(modelsDir, "acme", "Large-GGUF"))).toEqual(["Large.Q4_K_M.gguf.ipull"]);

    hub.cuts.times = 0;
    hub.ranges.length = 0;
    const path = await downloaded("hf:acme/Large-GGUF:Q4_K_M");
    expect(await holds(path, LARGE)).toBe(true);
    expect(askedBytes()).toBeGreaterThan(0);
    // Complete parts are not requested again. Their size and the chunk borders are up to the downloader.
    expect(askedBytes()).toBeLessThanOrEqual(LARGE.length - 3 * MIB);
  });

  it("that makes no progress is aborted, and resumes later", async () => {
    hub.stalls = true;
    const stalled = await download("hf:acme/Large-GGUF:Q4_K_M", { stalledMs: 500 });
    expect(stalled).toMatchObject({
      ok: false,
      message: expect.stringMatching(/makes no progress.*Start the worker again/),
    });
    hub.stalls = false;
    expect(await holds(await downloaded("hf:acme/Large-GGUF:Q4_K_M"), LARGE)).toBe(true);
  });
});

describe("a download that fails says what to do", () => {
  it("without a network", async () => {
    hub.close();
    for (const spec of ["hf:acme/Tiny-GGUF:Q8_0", "hf:acme/Tiny-GGUF/Tiny-Q8_0.gguf"]) {
      const message = expect.stringMatching(/^Could not reach .*use a local file: --model PATH\.gguf/);
      expect(await download(spec)).toEqual({ ok: false, message });
    }
  });

  it.each<[what: string, spec: string, message: RegExp]>([
    ["an unknown quantisation", "hf:acme/Tiny-GGUF:Q1_X", /no Q1_X in acme\/Tiny-GGUF/],
    ["a repository without GGUF files", "hf:acme/None", /no GGUF file in acme\/None/],
    ["an unknown file", "hf:acme/Tiny-GGUF/Other.gguf", /no Other\.gguf in/],
    ["no name", "hf:acme", /hf:OWNER\/REPO:QUANT/],
  ])("for %s", async (_what, spec, message) => {
    expect(await download(spec)).toEqual({ ok: false, message: expect.stringMatching(message) });
  });

  it.each([500, 503])("when the hub answers %i", async (status) => {
    hub.refuseWith = status;
    const message = expect.stringMatching(/cannot serve acme\/Tiny-GGUF now.*--model PATH\.gguf/);
    expect(await download("hf:acme/Tiny-GGUF:Q8_0")).toEqual({ ok: false, message });
  });

  it.each([
    ["of another hash", { sha256: "0".repeat(64) }, /its SHA-256 differs/],
    ["longer than the hub claims", { size: 7 }, /its SHA-256 differs/],
    ["shorter than the hub claims", { size: 70 }, /it has 10 bytes, and the hub's file has 70/],
  ])("when the file is %s: it is removed", async (_what, claims, message) => {
    hub.files.push({ at: "acme/False/F.gguf", bytes: Buffer.from("GGUF false"), ...claims });
    const outcome = await download("hf:acme/False/F.gguf");
    expect(outcome).toEqual({ ok: false, message: expect.stringMatching(message) });
    expect(await readdir(join(modelsDir, "acme", "False"))).toEqual([]);
  });

  it("when the hub gives a path outside of the folder, or is not a hub", async () => {
    hub.quants.set("acme/Evil:Q8_0", "../../../evil.gguf");
    const message = expect.stringMatching(/does not answer like a model hub/);
    expect(await download("hf:acme/Evil:Q8_0")).toEqual({ ok: false, message });
  });

  it("when the hub redirects in a loop, or to another server", async () => {
    hub.renamed.set("acme/A", "acme/B").set("acme/B", "acme/A");
    for (const spec of ["hf:acme/A:Q8_0", "hf:acme/B/Tiny-Q8_0.gguf"]) {
      expect(await download(spec)).toEqual({ ok: false, message: expect.stringMatching(/in a loop.*HF_ENDPOINT/) });
    }
    hub.renamed.set("acme/Away", "http://elsewhere.invalid/");
    const message = expect.stringMatching(/does not answer like a model hub/);
    expect(await download("hf:acme/Away:Q8_0")).toEqual({ ok: false, message });
  });

  it("when the disk is too small", async () => {
    hub.files.push({ at: "acme/Huge/H.gguf", bytes: Buffer.from("GGUF"), size: 2 ** 60 });
    const message = expect.stringMatching(/needs 1152921504\.6 GB.*--models-dir/);
    expect(await download("hf:acme/Huge/H.gguf")).toEqual({ ok: false, message });
  });
});

describe("a name on the hub", () => {
  it.each<[spec: string, want: object | null]>([
    ["hf:a/b", { owner: "a", repo: "b", branch: "main", wants: { quant: "latest" } }],
    ["hf:a-1/b.2:Q4_K_M", { owner: "a-1", repo: "b.2", branch: "main", wants: { quant: "Q4_K_M" } }],
    ["hf:a/b/c/d.gguf", { owner: "a", repo: "b", branch: "main", wants: { path: "c/d.gguf" } }],
    ["hf:a/b/d.gguf#dev", { owner: "a", repo: "b", branch: "dev", wants: { path: "d.gguf" } }],
    ["hf:a/b/../c.gguf", null],
    ["hf:../b", null],
    ["hf:a/..:Q4", null],
    ["hf:a/b:Q4:Q5", null],
    ["hf:a/b/c.bin", null],
    ["hf:a/b/c.gguf#..", null],
    ["hf:", null],
    ["a/b", null],
  ])("%j", (spec, want) => expect(hubName(spec)).toEqual(want));

  it("gives a model its name, split or not", () => {
    expect(nameOfFile("Big-Q4-00001-of-00003.gguf")).toBe("Big-Q4");
    expect(splitFiles("x/Big-00001-of-00003.gguf")).toEqual([1, 2, 3].map((nth) => `x/Big-0000${nth}-of-00003.gguf`));
    expect(splitFiles("Small.gguf")).toEqual(["Small.gguf"]);
  });
});
