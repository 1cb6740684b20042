import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import * as z from "zod";
import { CACHE_FOLDER, readCached } from "./cache-folder.ts";
import { writePrivateFile } from "./private-files.ts";

/** Persisted in the cache folder: a bundle, and the hash of each source file by its absolute path. */
const keptBundle = z.object({ inputs: z.record(z.string(), z.string()), script: z.string() });

/**
 * Bundles the pool's Worker into one module, as `wrangler deploy` does. A cached bundle of the same files is reused, because
 * hashing the files takes a tenth of the time.
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
  // A file that changed during the build may have been read before the change and hashed after it.
  if (Object.keys(inputs).some((input) => statSync(input).mtimeMs >= startedMs)) return script;
  try {
    writePrivateFile(file, JSON.stringify({ inputs, script }));
  } catch {
    // Without a cache the next start bundles again.
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

/** Builds of this process share one esbuild. Stopping it during a build would leave that build waiting forever. */
let building = 0;

async function build(entry: string, define: Record<string, string>) {
  // Imported only here, because most starts find a cached bundle.
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
    // Otherwise the esbuild process runs as long as the pool.
    if (building === 0) await esbuild.stop();
  }
}

const sha256 = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");
