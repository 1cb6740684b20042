import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/** The name of Miniflare's folder for temporary files, which Miniflare removes when it is disposed. */
const SCRATCH = /^miniflare-[0-9a-f]{32}$/;

/** Whether a file of this name is Miniflare's folder for temporary files. */
export function isScratch(name: string): boolean {
  return SCRATCH.test(name);
}

/** Runs `make`. The Miniflare that it makes keeps its temporary files in this folder instead of the system's. */
export function withScratchIn<T>(folder: string, make: () => T): T {
  const { TMPDIR } = process.env;
  process.env.TMPDIR = folder;
  try {
    return make();
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  }
}

/** Removes temporary files of a killed runner. No runtime may be running in this folder. */
export function removeScratch(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (isScratch(name)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
