import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import * as z from "zod";
import { CACHE_FOLDER, readCached } from "./cache-folder.ts";
import { writePrivateFile } from "./private-files.ts";

/** Persisted under the cache folder: a bundle, and by absolute path the hash of each file that it was made of. */
const keptBundle = z.object({ inputs: z.record(z.string(), z.string()), script: z.string() });

/**
 * The pool's Worker as one module, bundled as `wrangler deploy` would. One that was made of the same files is taken again:
 * hashing them takes a tenth of the time.
 *
 * @param cacheFolder where bundles are kept
 */
export async function bundlePool(
  entry: string,
  define: Record<string, string>,
  cacheFolder = CACHE_FOLDER,
): Promise<string> {
  const { version } = createRequire(import.meta.url)("esbuild/package.json") as { version: string };
  const key = sha256(JSON.stringify([entry, define, version]));
  const file = join(cacheFolder, `bundle-${key.slice(0, 32)}.json`);
  const kept = keptBundle.safeParse(readCached(file));
  if (kept.success && isMadeOf(kept.data.inputs)) return kept.data.script;
  const startedMs = Date.now();
  const { inputs, script } = await build(entry, define);
  // One that was written meanwhile may have been read before and hashed after.
  if (Object.keys(inputs).some((input) => statSync(input).mtimeMs >= startedMs)) return script;
  try {
    writePrivateFile(file, JSON.stringify({ inputs, script }));
  } catch {
    // Where it cannot be kept it is made again.
  }
  return script;
}

function isMadeOf(inputs: Record<string, string>): boolean {
  return Object.entries(inputs).every(([file, hash]) => hash === hashOf(file));
}

function hashOf(file: string): string | undefined {
  try {
    return sha256(readFileSync(file));
  } catch {
    return undefined;
  }
}

/** Of this process: they share one esbuild, and whoever stops it while another builds leaves that one waiting for ever. */
let building = 0;

async function build(entry: string, define: Record<string, string>) {
  // Loaded only here: most starts find their bundle.
  const esbuild = await import("esbuild");
  building += 1;
  try {
    const { metafile, outputFiles } = await esbuild.build({
      entryPoints: [entry],
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      target: "es2024",
      conditions: ["workerd", "worker", "browser"],
      external: ["cloudflare:*", "node:*"],
      define: { "process.env.NODE_ENV": '"production"', ...define },
      keepNames: true,
      logLevel: "silent",
    });
    const [output] = outputFiles;
    if (output === undefined) throw new Error("esbuild gave no output");
    const files = Object.keys(metafile.inputs).map((file) => resolve(file));
    return { inputs: Object.fromEntries(files.map((file) => [file, hashOf(file) ?? ""])), script: output.text };
  } finally {
    building -= 1;
    // Else its process stays as long as the pool's.
    if (building === 0) await esbuild.stop();
  }
}

const sha256 = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");
