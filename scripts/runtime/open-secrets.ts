import { statSync } from "node:fs";
import { credentialsFile } from "./credentials.ts";
import { secretsFile } from "./pool-secrets.ts";

/** Whether these permission bits give access to users other than the owner. */
export function isOpen(mode: number | null): boolean {
  return mode !== null && (mode & 0o077) !== 0;
}

/** The remedy for secrets that other users could read. */
export function closeSecrets(stateDir: string): string {
  return `chmod 600 ${secretsFile(stateDir)} ${credentialsFile(stateDir)}, and replace the secrets in them.`;
}

/** The warning of a start if other users can read the pool's secrets; undefined if only their owner can. */
export function openSecretsWarning(stateDir: string): string | undefined {
  const files = [secretsFile(stateDir), credentialsFile(stateDir)];
  const open = files.filter((file) => isOpen(statSync(file, { throwIfNoEntry: false })?.mode ?? null));
  return open.length === 0
    ? undefined
    : `Other users of this machine can read ${open.join(" and ")}: ${closeSecrets(stateDir)}`;
}
