import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { normalUrl, poolFlag } from "../../worker-agent/cli/shared/pool-flag.ts";
import { SECRETS, secretOf } from "../../worker-agent/cli/shared/secrets.ts";
import { flagsOf } from "../../worker-agent/cli/shared/settings.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { type Credentials, credentialsFile, readCredentials } from "../runtime/credentials.ts";

/**
 * The state folder of the pool on this machine, unless `--state` names another. A checkout uses its own folder `state`,
 * whatever the current folder is; an installed package uses `state` in the current folder.
 */
export const DEFAULT_STATE_DIR = import.meta.filename.endsWith(".ts")
  ? fileURLToPath(new URL("../../state", import.meta.url))
  : resolve("state");

export const ACCESS_OPTIONS = flagsOf("any", ["pool", "state"]);
export const ACCESS_HELP = [
  "--pool URL    the pool; else that of the local credentials.json",
  "--state DIR   where credentials.json lies (default: ./state)",
] as const;

export type Secret = "admin" | "client";

export interface Given {
  /** As flag, variable or file say. */
  pool: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  credentials: Credentials | undefined;
}

export type Access = { ok: true; url: string; secret: string } | { ok: false; message: string };

const CALLED: Record<Secret, string> = { admin: "admin token", client: "client key" };
const NAMED = { admin: "admin-token", client: "key" } as const;

/**
 * Pure: the pool's URL and the secret to show it. A secret of the local credentials goes to the pool of these
 * credentials and to no other; the environment's goes wherever the operator points.
 */
export function findAccess(kind: Secret, { pool, env, credentials }: Given): Access {
  const url = pool === undefined ? credentials?.url : normalUrl(pool);
  if (url === undefined) {
    return {
      ok: false,
      message:
        pool === undefined
          ? "No pool is named and none was found here. Start one with npm start, or set LIGAND_POOL or --pool to its URL."
          : `"${pool}" is not the URL of a pool. One looks like https://pool.example or http://127.0.0.1:8787.`,
    };
  }
  const fromEnv = secretOf(NAMED[kind], env);
  if (fromEnv !== undefined) return { ok: true, url, secret: fromEnv };
  if (credentials !== undefined && normalUrl(credentials.url) === normalUrl(url)) {
    return { ok: true, url, secret: kind === "admin" ? credentials.admin_token : credentials.client_key };
  }
  return {
    ok: false,
    message: `No ${CALLED[kind]} for ${url} is known here. Set ${SECRETS[NAMED[kind]].variable}, or name the folder of a pool on this machine: --state DIR.`,
  };
}

/** As `findAccess`, from this process's flags, environment and files. */
export function access(kind: Secret, values: Values): { url: string; secret: string } {
  const found = findAccess(kind, {
    pool: poolFlag(values),
    env: process.env,
    credentials: localState(values)?.credentials,
  });
  if (!found.ok) throw new OperatorError(found.message);
  return found;
}

/** The pool's URL where no secret of ours is sent to it. */
export function poolUrl(values: Values): string {
  const url = poolFlag(values) ?? localState(values)?.credentials.url;
  if (url === undefined) throw new UsageError("Which pool? Give --pool URL or set LIGAND_POOL.");
  return url;
}

/** How other machines reach the pool that this one reaches at `url`. */
export function publicUrl(values: Values, url: string): string {
  const credentials = localState(values)?.credentials;
  return credentials?.url === url ? (credentials.public_url ?? url) : url;
}

/** The state folder of a pool on this machine, with what it says of how to reach it. */
export function localState(values: Values): { stateDir: string; credentials: Credentials } | undefined {
  const given = text(values, "state");
  for (const stateDir of given !== undefined ? [resolve(given)] : [resolve("state"), DEFAULT_STATE_DIR]) {
    const credentials = readCredentials(stateDir);
    if (credentials !== undefined) return { stateDir, credentials };
    // A pool that is named by its URL is none of this folder's.
    const isMeant = given !== undefined || text(values, "pool") === undefined;
    if (isMeant && existsSync(credentialsFile(stateDir))) {
      throw new OperatorError(
        `${credentialsFile(stateDir)} is broken: it is not what npm start writes. Start the pool again, which writes it anew.`,
      );
    }
  }
  if (given === undefined) return undefined;
  throw new OperatorError(`There is no ${credentialsFile(given)}. Is a pool running there?`);
}
