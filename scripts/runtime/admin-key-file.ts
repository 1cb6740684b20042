import { statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fromHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, SECRET_KEY_BYTES, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { configFolder } from "../../worker-agent/cli/shared/ligand-toml.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { readIfPresent } from "../../worker-agent/cli/shared/read-if-present.ts";
import { shellWord } from "../../worker-agent/cli/shared/shell-word.ts";
import { createFileOnce } from "../../worker-agent/state/files.ts";
import { makeFolder } from "../../worker-agent/state/make-folder.ts";

/**
 * The file of an admin's own key pair (docs/spec/federation.md#admin-keys). Persisted as base64 of the 32-byte secret key,
 * mode 0600. The secret goes into the signer and nowhere else.
 */

export function standardKeyFile(): string {
  return join(configFolder(process.env, homedir()), "admin.key");
}

/** Makes a key pair. Refuses a file that exists: its key may be registered at other pools. */
export async function createAdminKey(file: string): Promise<Signer> {
  const secret = generateSecretKey();
  makeFolder(dirname(file), 0o700);
  if (!(await createFileOnce(file, `${Buffer.from(secret).toString("base64")}\n`))) {
    throw new OperatorError(`${file} exists. Give another file with --file, or move it away.`);
  }
  return signerFrom(secret);
}

/** Opens the key. Refuses a file that other users of the machine can read. */
export async function openAdminKey(file: string): Promise<Signer> {
  const secret = secretIn(textOf(file));
  if (secret === null) throw new OperatorError(`${file} does not contain an admin key.`);
  if (process.platform !== "win32" && (statSync(file).mode & 0o077) !== 0) {
    throw new OperatorError(
      `Other users of this machine can read the admin key in ${file}. Run: chmod 600 ${shellWord(file)}\n` +
        "If somebody may have read it, make a new key.",
    );
  }
  return signerFrom(secret);
}

/** The public key in a file: its 64 hex digits, or the key file itself. Null for other contents. */
export async function publicKeyIn(file: string): Promise<Uint8Array | null> {
  const text = textOf(file);
  const publicKey = /^[0-9a-f]{64}$/.test(text) ? fromHex(text) : null;
  if (publicKey !== null) return publicKey;
  return secretIn(text) === null ? null : (await openAdminKey(file)).publicKey;
}

function textOf(file: string): string {
  const text = readIfPresent(file);
  if (text === undefined) throw new OperatorError(`There is no file ${file}.`);
  return text.trim();
}

function secretIn(text: string): Uint8Array | null {
  const secret = Buffer.from(text, "base64");
  return secret.length === SECRET_KEY_BYTES && secret.toString("base64") === text ? new Uint8Array(secret) : null;
}
