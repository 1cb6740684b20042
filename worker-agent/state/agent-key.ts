import { chmod, readFile, stat } from "node:fs/promises";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { createFileOnce, isErrno } from "./files.ts";

export type OpenedKey =
  | { readonly ok: true; readonly signer: Signer; readonly wasExposed: boolean }
  | { readonly ok: false; readonly message: string };

/**
 * Opens the agent's key, or makes one at the first start (docs/spec/workers.md#enrolment). Persisted as base64 of the
 * 32-byte secret key, mode 0600. The secret key goes into the signer and nowhere else.
 */
export async function openAgentKey(path: string): Promise<OpenedKey> {
  let text = await readKey(path);
  if (text === null) {
    await createFileOnce(path, `${Buffer.from(generateSecretKey()).toString("base64")}\n`);
    // Another process may have made the file first. Use the key in the file.
    text = await readKey(path);
  }
  const secret = Buffer.from(text ?? "", "base64");
  if (secret.length !== 32) {
    return {
      ok: false,
      message: `${path} does not contain a worker key. Restore the file, or remove it to become a new worker.`,
    };
  }
  const wasExposed = process.platform !== "win32" && ((await stat(path)).mode & 0o077) !== 0;
  if (wasExposed) await chmod(path, 0o600);
  return { ok: true, signer: await signerFrom(new Uint8Array(secret)), wasExposed };
}

async function readKey(path: string): Promise<string | null> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return null;
    throw error;
  }
}
