import { readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

/** What is made once of a checkout's own files and costs time at every start; whoever removes it loses nothing. */
export const CACHE_FOLDER = fileURLToPath(new URL("../../node_modules/.cache/ligand/", import.meta.url));

/**
 * Keeps compiled code, types stripped, of what is imported from here on: a command starts in half the time. Where the
 * folder cannot be written, everything is compiled as ever.
 */
export function keepCompiledCode(): void {
  enableCompileCache(`${CACHE_FOLDER}code`);
}

/** What is kept there, parsed; undefined for what is absent, broken or another user's, which is made again. */
export function readCached(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
