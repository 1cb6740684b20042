import { EXIT, flag, type Values } from "../../worker-agent/cli/shared/command.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { adminClient } from "../runtime/admin-client.ts";
import { ACCESS_HELP, ACCESS_OPTIONS, access } from "./access.ts";

/** What all of `ligand pool …` share. */
export const COMMON_OPTIONS = { ...ACCESS_OPTIONS, json: { type: "boolean" } } as const;
export const COMMON_HELP = [
  ...ACCESS_HELP,
  "              a pool that is not on this machine wants its admin token in LIGAND_ADMIN_TOKEN",
  "--json        one JSON value instead of words",
] as const;

export function admin(values: Values) {
  const { url, secret } = access("admin", values);
  return adminClient(url, secret);
}

/** `warning`: what went well all the same; a member of its own for a program. */
export function print(values: Values, json: object, words: string, warning?: string): number {
  const isJson = flag(values, "json");
  console.log(isJson ? jsonLine(warning === undefined ? json : { ...json, warning }) : words);
  if (!isJson && warning !== undefined) console.error(warning);
  return EXIT.ok;
}

/** Work that takes a while, with a line of how far it is: in a terminal only, and gone when it ends. */
export async function watched<T>(values: Values, work: (show: (line: string) => void) => Promise<T>): Promise<T> {
  const shown = process.stderr.isTTY && !flag(values, "json");
  try {
    return await work((line) => {
      if (shown) process.stderr.write(`\r${line}${CLEAR_REST}`);
    });
  } finally {
    if (shown) process.stderr.write(`\r${CLEAR_REST}`);
  }
}

const CLEAR_REST = "\u001b[K";
