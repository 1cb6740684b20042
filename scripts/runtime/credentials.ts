import { join } from "node:path";
import * as z from "zod";
import { readIfPresent } from "../../worker-agent/cli/shared/read-if-present.ts";
import { secretProblem } from "../../worker-agent/secret-text.ts";
import type { AdminClient } from "./admin-client.ts";
import { writePrivateFile } from "./private-files.ts";

/** A secret goes into an HTTP header. A malformed one would appear in the error of the HTTP client. */
const secret = z.string().refine((text) => secretProblem(text) === null);

/** Persisted: `credentials.json` in the state folder, mode 0600. Local tools find the pool with it. */
const credentials = z.object({
  /** The pool's URL for programs on this machine. */
  url: z.url(),
  /** The pool's URL for other machines, if it differs. */
  public_url: z.url().optional(),
  atom_id: z.string(),
  admin_token: secret,
  client_key: secret,
});
export type Credentials = z.infer<typeof credentials>;

export function credentialsFile(stateDir: string): string {
  return join(stateDir, "credentials.json");
}

/** The credentials in a state folder; undefined if there are none or they are not valid. */
export function readCredentials(stateDir: string): Credentials | undefined {
  const text = readIfPresent(credentialsFile(stateDir));
  if (text === undefined) return undefined;
  try {
    return credentials.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** The limits of the local client key are high, because the operator owns it. */
const LOCAL_KEY = { label: "local", requests_per_minute: 100_000, streams: 64 };

/** Writes the credentials of a running pool. The client key is created once and kept. */
export async function saveCredentials(
  stateDir: string,
  { url, publicUrl }: { url: string; publicUrl: string },
  adminToken: string,
  admin: Pick<AdminClient, "pool" | "createKey">,
): Promise<Credentials> {
  const { atom_id } = await admin.pool();
  const before = readCredentials(stateDir);
  const client_key = before?.atom_id === atom_id ? before.client_key : (await admin.createKey(LOCAL_KEY)).key;
  const saved: Credentials = {
    url,
    ...(publicUrl !== url && { public_url: publicUrl }),
    atom_id,
    admin_token: adminToken,
    client_key,
  };
  writePrivateFile(credentialsFile(stateDir), `${JSON.stringify(saved, null, 2)}\n`);
  return saved;
}
