import { statSync } from "node:fs";
import { OperatorError } from "./operator-error.ts";
import { readIfPresent } from "./read-if-present.ts";
import { checkedSecret } from "./secrets.ts";
import { shellWord } from "./shell-word.ts";

/**
 * Reads a secret from a file. Prints a warning if other users can read the file. `noun` names the secret, for example
 * `token`; `remedy` says what to do if there is no such file.
 */
export function readSecretFile(file: string, noun: string, remedy: string): string {
  const text = readIfPresent(file);
  if (text === undefined) throw new OperatorError(`There is no file ${file}. ${remedy}`);
  if (process.platform !== "win32" && (statSync(file).mode & 0o077) !== 0) {
    console.error(`Other users of this machine can read the ${noun}. Run: chmod 600 ${shellWord(file)}`);
  }
  return checkedSecret(text, `The ${noun} in ${file}`);
}
