import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Credentials, credentialsFile, readCredentials } from "../runtime/credentials.ts";
import { OperatorError } from "../runtime/operator-error.ts";
import { text, type Values } from "./command.ts";
import { UsageError } from "./usage-error.ts";

/** Where `npm start` keeps its state unless told otherwise. */
export const DEFAULT_STATE_DIR = fileURLToPath(new URL("../../state", import.meta.url));

export const ACCESS_OPTIONS = { pool: { type: "string" }, state: { type: "string" } } as const;
export const ACCESS_HELP = [
  "--pool URL    the pool; else LIGAND_POOL, else the local credentials.json",
  "--state DIR   where credentials.json lies (default: ./state)",
] as const;

export type Secret = "admin" | "client";

export interface Given {
  pool: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  credentials: Credentials | undefined;
}

export type Access = { ok: true; url: string; secret: string } | { ok: false; message: string };

const SECRETS: Record<Secret, string> = { admin: "admin token", client: "client key" };

const VARIABLE: Record<Secret, string> = { admin: "LIGAND_ADMIN_TOKEN", client: "LIGAND_KEY" };

/**
 * Pure: the pool's URL and the secret to show it. A secret of the local credentials goes to the pool of these
 * credentials and to no other; the environment's goes wherever the operator points.
 */
export function findAccess(kind: Secret, { pool, env, credentials }: Given): Access {
  const named = pool ?? nonEmpty(env.LIGAND_POOL);
  const url = named === undefined ? credentials?.url : normalUrl(named);
  if (url === undefined) {
    return {
      ok: false,
      message:
        named === undefined
          ? "No pool is named and none was found here. Start one with npm start, or set LIGAND_POOL or --pool to its URL."
          : `"${named}" is not the URL of a pool. One looks like https://pool.example or http://127.0.0.1:8787.`,
    };
  }
  const variable = VARIABLE[kind];
  const fromEnv = nonEmpty(env[variable]);
  if (fromEnv !== undefined) return { ok: true, url, secret: fromEnv };
  if (credentials !== undefined && normalUrl(credentials.url) === normalUrl(url)) {
    return { ok: true, url, secret: kind === "admin" ? credentials.admin_token : credentials.client_key };
  }
  return {
    ok: false,
    message: `No ${SECRETS[kind]} for ${url} is known here. Set ${variable}, or name the folder of a pool on this machine: --state DIR.`,
  };
}

/** Pure: scheme, host, port and path without a trailing slash; undefined for what is no HTTP URL. */
export function normalUrl(given: string): string | undefined {
  if (!URL.canParse(given)) return undefined;
  const url = new URL(given);
  if (!["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") return undefined;
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** As `findAccess`, from this process's flags, environment and files. */
export function access(kind: Secret, values: Values): { url: string; secret: string } {
  const found = findAccess(kind, {
    pool: text(values, "pool"),
    env: process.env,
    credentials: localState(values)?.credentials,
  });
  if (!found.ok) throw new OperatorError(found.message);
  return found;
}

/** The pool's URL where no secret of ours is sent to it. */
export function poolUrl(values: Values): string {
  const named = text(values, "pool") ?? nonEmpty(process.env.LIGAND_POOL) ?? localState(values)?.credentials.url;
  if (named === undefined) throw new UsageError("Which pool? Give --pool URL or set LIGAND_POOL.");
  const url = normalUrl(named);
  if (url === undefined) throw new UsageError(`"${named}" is not the URL of a pool.`);
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
  }
  if (given === undefined) return undefined;
  throw new OperatorError(`There is no ${credentialsFile(given)}. Is a pool running there?`);
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}
