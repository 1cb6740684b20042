import { readSecretFile } from "./shared/secret-file.ts";

/** Reads the worker token from a file. Prints a warning if other users can read the file. */
export function readTokenFile(file: string): string {
  return readSecretFile(file, "token", "Save the token of your invite in it, with mode 0600.");
}
