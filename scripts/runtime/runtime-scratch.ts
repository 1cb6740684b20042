import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Miniflare names its folder for temporary files so, and removes it when it is disposed of. */
const SCRATCH = /^miniflare-[0-9a-f]{32}$/;

/** Runs `make`, and has the Miniflare that it makes keep its temporary files in this folder instead of the system's. */
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

/** Removes what a runner that was killed left. No runtime may be at work in this folder. */
export function removeScratch(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (SCRATCH.test(name)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
