import { statSync } from "node:fs";
import { credentialsFile } from "./credentials.ts";
import { secretsFile } from "./pool-secrets.ts";

/** Pure: whether others than its owner may do anything with a file of these permission bits. */
export function isOpen(mode: number | null): boolean {
  return mode !== null && (mode & 0o077) !== 0;
}

/** Pure: what to do about the secrets of a state folder that others could read. */
export function closeSecrets(stateDir: string): string {
  return `chmod 600 ${secretsFile(stateDir)} ${credentialsFile(stateDir)}, and rotate what was in them.`;
}

/** What a start says of secrets that others on this machine can read; undefined where they are their owner's alone. */
export function openSecretsWarning(stateDir: string): string | undefined {
  const files = [secretsFile(stateDir), credentialsFile(stateDir)];
  const open = files.filter((file) => isOpen(statSync(file, { throwIfNoEntry: false })?.mode ?? null));
  return open.length === 0
    ? undefined
    : `Others on this machine can read ${open.join(" and ")}: ${closeSecrets(stateDir)}`;
}
