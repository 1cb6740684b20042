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
 * Lets one process at a time use a state folder. Two pool runtimes on one state would both write
 * (docs/spec/pool.md#where-it-runs), and two agents with one key would replace each other's connection.
 *
 * Each process writes a lock file with a random name, and then reads the others. Of two processes that start together, the
 * one that wrote second sees the first. Files of processes that have ended are removed. That cannot remove a lock in use,
 * because no name is used twice.
 */

/** Persisted: `lock/<name>.json` in the state folder. */
const claim = z.object({
  pid: z.int().positive(),
  identity: z.string(),
  space: z.string(),
  command: z.string(),
  since: z.string(),
  /** The URL at which the holder listens, if it does. */
  url: z.string().nullable(),
  state: z.enum(["claiming", "holding"]),
});
export type Claim = z.infer<typeof claim>;

export interface FolderLock {
  /** Adds the URL at which the holder listens, for the message to the process that is refused. */
  setUrl(url: string): Promise<void>;
  release(): void;
}

export type Locked =
  | { readonly ok: true; readonly lock: FolderLock }
  | { readonly ok: false; readonly owner: Claim; readonly state: OwnerState };

/** A pid of another host or container has no meaning here. Such a holder shows that it is alive by touching its file. */
const BEAT_MS = 5_000;
const BEAT_LOST_MS = 30_000;
const CLAIM_WAIT_MS = 50;
const CLAIM_WAITS = 100;

export type OwnerState = "ended" | "elsewhere" | "alive";

/** Whether the process of a claim is alive. `identityNow`: the identity of the process that has this pid now. */
export function ownerState(
  owner: Claim,
  here: { space: string; identityNow: string | undefined; fileAgeMs: number },
): OwnerState {
  if (owner.space === here.space) return here.identityNow === owner.identity ? "alive" : "ended";
  return here.fileAgeMs < BEAT_LOST_MS ? "elsewhere" : "ended";
}

/** The holder of the folder, for the message to the process that is refused. */
export function formatOwner(owner: Claim, state: OwnerState): string {
  const host = state === "elsewhere" ? ` on ${owner.space.split("/")[0]}` : "";
  return `pid ${owner.pid}${host}, since ${owner.since}`;
}

/** Locks an existing folder until it is released or this process ends. */
export async function lockFolder(stateDir: string): Promise<Locked> {
  const folder = join(stateDir, "lock");
  makeFolder(folder, 0o700);
  const name = `${randomBytes(8).toString("hex")}.json`;
  const identity = processIdentity(process.pid);
  const own: Claim = {
    pid: process.pid,
    identity: identity ?? "",
    // If this system does not identify processes, use the touched file, as between hosts.
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
    // Of processes that start together, the one with the smallest name continues.
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
      // The folder was removed, and the lock with it.
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

/** The claims of living processes, by name. Removes the files of processes that have ended. */
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
