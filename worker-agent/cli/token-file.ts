import { statSync } from "node:fs";
import { OperatorError } from "./shared/operator-error.ts";
import { readIfPresent } from "./shared/read-if-present.ts";
import { checkedSecret } from "./shared/secrets.ts";
import { shellWord } from "./shared/shell-word.ts";

/** Reads the worker token from a file. Prints a warning if other users can read the file. */
export function readTokenFile(file: string): string {
  const text = readIfPresent(file);
  if (text === undefined) {
    throw new OperatorError(`There is no file ${file}. Save the token of your invite in it, with mode 0600.`);
  }
  if (process.platform !== "win32" && (statSync(file).mode & 0o077) !== 0) {
    console.error(`Other users of this machine can read the token. Run: chmod 600 ${shellWord(file)}`);
  }
  return checkedSecret(text, `The token in ${file}`);
}
