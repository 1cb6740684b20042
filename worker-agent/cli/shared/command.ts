import { parseArgs } from "node:util";
import type { Hints } from "./hints.ts";
import { type Option, settingsHelp } from "./settings.ts";

/** Exit codes of the command line (docs/spec/pool.md#command-line). */
export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130, brokenPipe: 141 } as const;

export type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

export interface Command {
  summary: string;
  /** The arguments after the command's name, for example `ID [--json]`. */
  usage: string;
  /** One line for each option. */
  help?: readonly string[];
  options: Readonly<Record<string, Option>>;
  positionals: { min: number; max: number };
  run(values: Values, positionals: string[], hints: Hints): Promise<number>;
}

export interface Group {
  summary: string;
  commands: Record<string, Command | Group>;
  /** The command that runs when only the group is named. */
  standard?: string;
}

export type Parsed =
  | { kind: "help"; text: string }
  | { kind: "usage"; text: string }
  /** `group` is what a person types before the verb, for example `ligand worker`. */
  | { kind: "run"; command: Command; group: string; values: Values; positionals: string[] };

/** Finds the command that these arguments name, and parses its flags. */
export function parseCommand(node: Command | Group, name: string, args: readonly string[], group = name): Parsed {
  if (!("commands" in node)) return parseFlags(node, name, args, group);
  const [first, ...rest] = args;
  const child = first === undefined ? undefined : own(node.commands, first);
  if (first !== undefined && child !== undefined) return parseCommand(child, `${name} ${first}`, rest, name);
  if (first === "--help" || first === "-h" || first === "help") return { kind: "help", text: groupHelp(node, name) };
  const standard = node.standard === undefined ? undefined : own(node.commands, node.standard);
  if (standard !== undefined && (first === undefined || first.startsWith("-"))) {
    return parseCommand(standard, name, args, name);
  }
  if (first === undefined) return { kind: "usage", text: groupHelp(node, name) };
  if (first.startsWith("-")) return { kind: "usage", text: `COMMAND is missing.\n\n${groupHelp(node, name)}` };
  return { kind: "usage", text: `There is no command "${name} ${first}".\n\n${groupHelp(node, name)}` };
}

function parseFlags(command: Command, name: string, args: readonly string[], group: string): Parsed {
  const help = commandHelp(command, name);
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { ...command.options, help: { type: "boolean", short: "h" } },
      allowPositionals: true,
      strict: true,
    });
    if (values.help) return { kind: "help", text: help };
    const { min, max } = command.positionals;
    if (positionals.length < min) {
      // `usage` begins with the arguments, in their order.
      const missing = command.usage.split(" ")[positionals.length]?.replaceAll('"', "");
      return { kind: "usage", text: `${missing} is missing.\n\n${help}` };
    }
    if (positionals.length > max) {
      return { kind: "usage", text: `Unexpected argument "${positionals[max]}".\n\n${help}` };
    }
    return { kind: "run", command, group, values, positionals };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { kind: "usage", text: `${flagProblem(error.message, args)}\n\n${help}` };
  }
}

/** Turns the error of `parseArgs` into a sentence. */
function flagProblem(message: string, args: readonly string[]): string {
  const option = /^Option '(--[\w-]+)' argument is ambiguous/.exec(message)?.[1];
  if (option === undefined) return `${message.split(". ")[0]}.`;
  const value = args[args.indexOf(option) + 1];
  return `${option} needs a value, but "${value}" looks like an option. If it is the value, write ${option}=${value}`;
}

function commandHelp(command: Command, name: string): string {
  const options = command.help ?? [];
  return [
    `${name} ${command.usage}`.trim(),
    "",
    command.summary,
    ...(options.length > 0 ? ["", ...options.map((line) => `  ${line}`)] : []),
    ...settingsHelp(command.options),
  ].join("\n");
}

function groupHelp(group: Group, name: string): string {
  const width = Math.max(...Object.keys(group.commands).map((child) => child.length));
  return [
    `${name} COMMAND   (each command has --help)`,
    "",
    group.summary,
    "",
    ...Object.entries(group.commands).map(([child, node]) => `  ${child.padEnd(width)}  ${node.summary}`),
  ].join("\n");
}

function own<T>(record: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** The flag's text; undefined when the flag was not given. */
export function text(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
}

export function texts(values: Values, name: string): string[] {
  const value = values[name];
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}

export function flag(values: Values, name: string): boolean {
  return values[name] === true;
}
