import { EXIT, flag, type Values } from "../../worker-agent/cli/shared/command.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { adminClient } from "../runtime/admin-client.ts";
import { ACCESS_HELP, ACCESS_OPTIONS, access } from "./access.ts";

/** Options and output that the commands of a pool's operator share. */
export const COMMON_OPTIONS = { ...ACCESS_OPTIONS, json: { type: "boolean" } } as const;
export const COMMON_HELP = [
  ...ACCESS_HELP,
  "              for a pool on another machine, set LIGAND_ADMIN_TOKEN to its admin token",
  "--json        print one JSON value",
] as const;

export function admin(values: Values) {
  const { url, secret } = access("admin", values);
  return adminClient(url, secret);
}

/** Prints a result. A warning does not change the exit code; in JSON it is a field of its own. */
export function print(values: Values, json: object, text: string, warning?: string): number {
  const isJson = flag(values, "json");
  console.log(isJson ? jsonLine(warning === undefined ? json : { ...json, warning }) : text);
  if (!isJson && warning !== undefined) console.error(warning);
  return EXIT.ok;
}

/** Shows a progress line during long work. Only in a terminal; the line is erased at the end. */
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
