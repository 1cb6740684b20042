import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { adminClient } from "../runtime/admin-client.ts";
import { ACCESS_HELP, ACCESS_OPTIONS, access } from "./access.ts";
import { EXIT, flag, type Values } from "./command.ts";

/** What all of `ligand pool …` share. */
export const COMMON_OPTIONS = { ...ACCESS_OPTIONS, json: { type: "boolean" } } as const;
export const COMMON_HELP = [...ACCESS_HELP, "--json        one JSON value instead of words"] as const;

export function admin(values: Values) {
  const { url, secret } = access("admin", values);
  return adminClient(url, secret);
}

export function print(values: Values, json: object, words: string): number {
  console.log(flag(values, "json") ? jsonLine(json) : words);
  return EXIT.ok;
}
