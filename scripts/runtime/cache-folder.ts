import { readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

/** The folder for cached results of slow work. It can be deleted at any time. */
export const CACHE_FOLDER = fileURLToPath(new URL("../../node_modules/.cache/ligand/", import.meta.url));

/**
 * Caches the compiled code of later imports, so that a command starts in half the time. Without write access there is no
 * cache.
 */
export function keepCompiledCode(): void {
  enableCompileCache(`${CACHE_FOLDER}code`);
}

/** Reads a cached JSON file; undefined if it is missing, damaged or not readable. */
export function readCached(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
