import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { START } from "../../worker-agent/cli/shared/called-as.ts";
import { text, type Values } from "../../worker-agent/cli/shared/command.ts";
import { IS_PACKAGE } from "../../worker-agent/cli/shared/is-package.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { normalUrl, poolFlag } from "../../worker-agent/cli/shared/pool-flag.ts";
import { SECRETS, secretOf } from "../../worker-agent/cli/shared/secrets.ts";
import { flagsOf } from "../../worker-agent/cli/shared/settings.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { type Credentials, credentialsFile, readCredentials } from "../runtime/credentials.ts";

/**
 * The state folder of the pool on this machine, unless `--state` names another. A clone uses its own folder `state`,
 * whatever the current folder is. An installed package uses `state` in the current folder.
 */
export const DEFAULT_STATE_DIR = IS_PACKAGE ? resolve("state") : fileURLToPath(new URL("../../state", import.meta.url));

export const ACCESS_OPTIONS = flagsOf("any", ["pool", "state"]);
export const ACCESS_HELP = [
  "--pool URL    the pool (default: the pool of --state)",
  "--state DIR   the state folder of a pool on this machine (default: ./state)",
] as const;

export type Secret = "admin" | "client";

/** Where the URL and the secret may come from. */
export interface AccessSources {
  /** From a flag, a variable or ligand.toml. */
  pool: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  credentials: Credentials | undefined;
}

export type Access = { ok: true; url: string; secret: string } | { ok: false; message: string };

const LABELS: Record<Secret, string> = { admin: "admin token", client: "client key" };
const SECRET_NAMES = { admin: "admin-token", client: "key" } as const;

/**
 * The pool's URL and the secret for it. A secret from local credentials is sent only to the pool of these
 * credentials. A secret from a variable is sent to the pool that the operator names.
 */
export function findAccess(kind: Secret, { pool, env, credentials }: AccessSources): Access {
  const url = pool === undefined ? credentials?.url : normalUrl(pool);
  if (url === undefined) {
    return {
      ok: false,
      message:
        pool === undefined
          ? `No pool was found on this machine. Start one with ${START}, or give the URL of a pool with --pool or LIGAND_POOL.`
          : `"${pool}" is not the URL of a pool, such as https://pool.example or http://127.0.0.1:8787.`,
    };
  }
  const fromEnv = secretOf(SECRET_NAMES[kind], env);
  if (fromEnv !== undefined) return { ok: true, url, secret: fromEnv };
  if (credentials !== undefined && normalUrl(credentials.url) === normalUrl(url)) {
    return { ok: true, url, secret: kind === "admin" ? credentials.admin_token : credentials.client_key };
  }
  return {
    ok: false,
    message: `There is no ${LABELS[kind]} for ${url}. Set ${SECRETS[SECRET_NAMES[kind]].variable}, or give the state folder of a pool on this machine with --state DIR.`,
  };
}

/** As `findAccess`, with this process's flags, variables and files. */
export function access(kind: Secret, values: Values): { url: string; secret: string } {
  const found = findAccess(kind, {
    pool: poolFlag(values),
    env: process.env,
    credentials: localState(values)?.credentials,
  });
  if (!found.ok) throw new OperatorError(found.message);
  return found;
}

/** The pool's URL, for commands that send no secret. */
export function poolUrl(values: Values): string {
  const url = poolFlag(values) ?? localState(values)?.credentials.url;
  if (url === undefined) throw new UsageError("No pool is given. Give --pool URL or set LIGAND_POOL.");
  return url;
}

/** The URL at which other machines reach the pool at `url`. */
export function publicUrl(values: Values, url: string): string {
  const credentials = localState(values)?.credentials;
  return credentials?.url === url ? (credentials.public_url ?? url) : url;
}

/** The state folder of a pool on this machine, and its credentials. */
export function localState(values: Values): { stateDir: string; credentials: Credentials } | undefined {
  const given = text(values, "state");
  for (const stateDir of given !== undefined ? [resolve(given)] : [resolve("state"), DEFAULT_STATE_DIR]) {
    const credentials = readCredentials(stateDir);
    if (credentials !== undefined) return { stateDir, credentials };
    // With --pool alone, a broken file in the default folder does not matter.
    const isNeeded = given !== undefined || text(values, "pool") === undefined;
    if (isNeeded && existsSync(credentialsFile(stateDir))) {
      throw new OperatorError(
        `${credentialsFile(stateDir)} is damaged. Start the pool again with ${START}: a start writes a new file.`,
      );
    }
  }
  if (given === undefined) return undefined;
  throw new OperatorError(
    `There is no ${credentialsFile(given)}. Give the state folder of a pool that was started on this machine.`,
  );
}
