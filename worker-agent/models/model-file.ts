import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import * as z from "zod";
import { LIMITS } from "../../schema/wire/limits.ts";
import { readJson, writeFileAtomically } from "../state/files.ts";
import { EMBEDDED_MODEL } from "./embedded.ts";
import { nameOfFile } from "./hub-name.ts";

export interface ModelFile {
  /** The name for clients: the file's name without its extension. */
  readonly name: string;
  readonly path: string;
  /** The hash of the file's bytes, lowercase hex. */
  readonly sha256: string;
}

export type FoundModel =
  | { readonly ok: true; readonly file: ModelFile }
  | { readonly ok: false; readonly message: string };

/** Persisted in `model-hashes.json`, because hashing a large file is slow. */
const hashFile = z.strictObject({
  v: z.literal(1),
  entries: z.record(
    z.string(),
    z.strictObject({ bytes: z.number(), modifiedMs: z.number(), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  ),
});

/**
 * @param spec `embedded`, or the path of a GGUF file
 * @param cachePath the cache of hashes, by path, size and modification time
 */
export async function findModel(spec: string, cachePath: string): Promise<FoundModel> {
  const path = spec === "embedded" ? EMBEDDED_MODEL.path : resolve(spec);
  const name = spec === "embedded" ? EMBEDDED_MODEL.name : modelName(path);
  if (name === "" || name.length > LIMITS.modelNameChars) {
    return {
      ok: false,
      message: `A model has the name of its file. Give the file a name of 1 to ${LIMITS.modelNameChars} characters.`,
    };
  }
  const found = await stat(path).catch(() => null);
  if (found === null || !found.isFile()) {
    const remedy =
      spec === "embedded"
        ? "The file is part of the installation. Install the agent again, or use --model PATH.gguf."
        : "Set --model to the path of a GGUF file, or leave it out to use the embedded model.";
    return { ok: false, message: `There is no model file at ${path}. ${remedy}` };
  }
  const problem = await headerProblem(path);
  if (problem !== null) return { ok: false, message: `${path} ${problem}` };
  return { ok: true, file: { name, path, sha256: await sha256Of(path, found, cachePath) } };
}

/** The hash of a file, cached until its size or time changes. */
export async function sha256Of(path: string, found: Stats, cachePath: string): Promise<string> {
  const cache = (await readJson(cachePath, hashFile)) ?? { v: 1, entries: {} };
  const known = cache.entries[path];
  if (known !== undefined && known.bytes === found.size && known.modifiedMs === found.mtimeMs) return known.sha256;
  const sha256 = await sha256OfFile(path);
  const entry = { bytes: found.size, modifiedMs: found.mtimeMs, sha256 };
  await writeFileAtomically(cachePath, JSON.stringify({ v: 1, entries: { ...cache.entries, [path]: entry } }, null, 2));
  return sha256;
}

/** The name of a model for clients: the file's name without its extension. */
export function modelName(path: string): string {
  return nameOfFile(basename(path));
}

/** https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: the magic, then the version. */
const GGUF = Object.freeze({ magic: "GGUF", headBytes: 8, versions: [2, 3], plausibleVersions: 100 });

/** What is wrong with the file's header, to follow the file's name in a sentence; null if it is a model's. */
async function headerProblem(path: string): Promise<string | null> {
  const file = await open(path, "r");
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(GGUF.headBytes), 0, GGUF.headBytes, 0);
    if (bytesRead < GGUF.headBytes || buffer.toString("latin1", 0, 4) !== GGUF.magic) {
      return "is not a GGUF file, or is an incomplete download. Set --model to a GGUF file.";
    }
    const version = buffer.readUInt32LE(4);
    if (GGUF.versions.includes(version)) return null;
    return version > GGUF.plausibleVersions
      ? "is a damaged GGUF file. Download it again, or use another file."
      : `is a GGUF file of version ${version}, and this agent reads versions 2 and 3. Update the agent, or use another file.`;
  } finally {
    await file.close();
  }
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  return hash.digest("hex");
}
