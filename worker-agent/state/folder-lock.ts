import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { parseJson } from "../../schema/wire/json-text.ts";
import { isErrno, writeFileAtomically } from "./files.ts";
import { makeFolder } from "./make-folder.ts";
import { pidSpace, processCommand, processIdentity } from "./processes.ts";

/**
 * One process a state folder: two pool runtimes on one state both write (docs/spec/pool.md#where-it-runs), and two agents with one key push
 * each other out of their pool.
 *
 * Each puts down a file of its own, never used again under that name, and only then looks at the others': of two that
 * start at once, whichever wrote second sees the first. The files of those that have ended are swept away, which can
 * take nobody's lock because a name never comes back.
 */

/** Persisted: `lock/<name>.json` in the state folder. */
const claim = z.object({
  pid: z.int().positive(),
  identity: z.string(),
  space: z.string(),
  command: z.string(),
  since: z.string(),
  /** Where the holder listens, if it does. */
  url: z.string().nullable(),
  state: z.enum(["claiming", "holding"]),
});
export type Claim = z.infer<typeof claim>;

export interface FolderLock {
  /** Tells whoever is refused where the holder listens. */
  setUrl(url: string): Promise<void>;
  release(): void;
}

export type Locked =
  | { readonly ok: true; readonly lock: FolderLock }
  | { readonly ok: false; readonly owner: Claim; readonly state: OwnerState };

/** A pid of another host or container says nothing here, so such a holder shows that it lives by touching its file. */
const BEAT_MS = 5_000;
const BEAT_LOST_MS = 30_000;
const CLAIM_WAIT_MS = 50;
const CLAIM_WAITS = 100;

export type OwnerState = "ended" | "elsewhere" | "alive";

/** Pure: what a claim's file says of its process. `identityNow` is that of the same pid here and now. */
export function ownerState(
  owner: Claim,
  here: { space: string; identityNow: string | undefined; fileAgeMs: number },
): OwnerState {
  if (owner.space === here.space) return here.identityNow === owner.identity ? "alive" : "ended";
  return here.fileAgeMs < BEAT_LOST_MS ? "elsewhere" : "ended";
}

/** Pure: who has the folder, for the one that is refused: a pid, and the host where it is another one. */
export function formatOwner(owner: Claim, state: OwnerState): string {
  const host = state === "elsewhere" ? ` on ${owner.space.split("/")[0]}` : "";
  return `pid ${owner.pid}${host}, since ${owner.since}`;
}

/** Locks a folder that is there, until released or until this process ends. */
export async function lockFolder(stateDir: string): Promise<Locked> {
  const folder = join(stateDir, "lock");
  makeFolder(folder, 0o700);
  const name = `${randomBytes(8).toString("hex")}.json`;
  const identity = processIdentity(process.pid);
  const own: Claim = {
    pid: process.pid,
    identity: identity ?? "",
    // Where nothing says which start a pid means, only the touched file shows who lives, as across hosts.
    space: identity === undefined ? `${hostname()}/${name}` : pidSpace(),
    command: processCommand(process.pid),
    since: new Date().toISOString(),
    url: null,
    state: "claiming",
  };
  const file = join(folder, name);
  const save = () => writeFileAtomically(file, `${JSON.stringify(own, null, 2)}\n`);
  const drop = () => rmSync(file, { force: true });

  await save();
  for (let waits = 0; ; waits++) {
    const others = livingClaims(folder, name);
    const holder = others.find((other) => other.claim.state === "holding");
    const rival = holder ?? others[0];
    if (rival === undefined) break;
    // Of those who start at once the smallest name goes on; the others leave.
    if (holder !== undefined || rival.name < name || waits >= CLAIM_WAITS) {
      drop();
      return { ok: false, owner: rival.claim, state: rival.state };
    }
    await sleep(CLAIM_WAIT_MS);
  }
  own.state = "holding";
  await save();

  const beat = setInterval(() => {
    try {
      utimesSync(file, new Date(), new Date());
    } catch {
      // The folder was taken away; there is nothing left to guard.
    }
  }, BEAT_MS);
  beat.unref();
  return {
    ok: true,
    lock: {
      setUrl(url) {
        own.url = url;
        return save();
      },
      release() {
        clearInterval(beat);
        drop();
      },
    },
  };
}

/** Whether the process with this pid holds the lock of the folder now. Changes nothing. */
export function holdsFolder(stateDir: string, pid: number): boolean {
  const folder = join(stateDir, "lock");
  const here = { space: pidSpace(), identityNow: processIdentity(pid), fileAgeMs: Number.POSITIVE_INFINITY };
  return (existsSync(folder) ? readdirSync(folder) : []).some((name) => {
    const owner = claim.safeParse(parseJson(readIfPresent(join(folder, name)) ?? "")).data;
    return owner?.pid === pid && owner.state === "holding" && ownerState(owner, here) === "alive";
  });
}

/** The claims of those that live, in the order of their names; the others' files are removed. */
function livingClaims(folder: string, ownName: string): { name: string; claim: Claim; state: OwnerState }[] {
  const living: { name: string; claim: Claim; state: OwnerState }[] = [];
  const space = pidSpace();
  for (const name of readdirSync(folder).sort()) {
    if (name === ownName || !name.endsWith(".json")) continue;
    const file = join(folder, name);
    const text = readIfPresent(file);
    if (text === undefined) continue;
    const parsed = claim.safeParse(parseJson(text));
    const state = parsed.success
      ? ownerState(parsed.data, { space, identityNow: processIdentity(parsed.data.pid), fileAgeMs: ageMs(file) })
      : "ended";
    if (!parsed.success || state === "ended") rmSync(file, { force: true });
    else living.push({ name, claim: parsed.data, state });
  }
  return living;
}

function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

function ageMs(file: string): number {
  return Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0);
}
