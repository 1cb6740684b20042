import { statSync } from "node:fs";
import { OperatorError } from "../runtime/operator-error.ts";
import { readIfPresent } from "../runtime/private-files.ts";
import { checkedSecret } from "./secrets.ts";
import { shellWord } from "./worker-service.ts";

/** The worker token in that file, with a word of warning where others may read it too. */
export function readTokenFile(file: string): string {
  const text = readIfPresent(file);
  if (text === undefined)
    throw new OperatorError(`There is no ${file}. Save the token of your invite in it, mode 0600.`);
  if (process.platform !== "win32" && (statSync(file).mode & 0o077) !== 0) {
    console.error(`Others on this machine can read the token. Run: chmod 600 ${shellWord(file)}`);
  }
  return checkedSecret(text, `The token in ${file}`);
}
