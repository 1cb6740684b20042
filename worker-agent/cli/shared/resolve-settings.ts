import { homedir } from "node:os";
import type { Values } from "./command.ts";
import { type FileSettings, readSettings, settingsFile } from "./ligand-toml.ts";
import { OperatorError } from "./operator-error.ts";
import { readIfPresent } from "./read-if-present.ts";
import { keyOf, type Option, SETTINGS, type Setting, variableOf } from "./settings.ts";
import { UsageError } from "./usage-error.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface ResolvedSettings {
  readonly values: Values;
  /** The source of each value that was not given as a flag: `LIGAND_POOL`, or `/…/ligand.toml:3: pool`. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Resolves a command's settings: a flag overrides a variable, a variable overrides the file (docs/spec/pool.md#command-line). */
export function resolveSettings(
  options: Readonly<Record<string, Option>>,
  given: Values,
  env: Environment,
  { path, settings }: { path: string; settings: FileSettings },
): ResolvedSettings {
  const values: Values = { ...given };
  const sources = new Map<string, string>();
  const rank = new Map<string, number>();
  for (const [name, { setting }] of Object.entries(options)) {
    if (setting === undefined) continue;
    const variable = variableOf(setting.section, setting.name);
    const text = env[variable];
    const inFile = settings.get(keyOf(setting.section, setting.name));
    if (given[name] !== undefined) {
      rank.set(name, 0);
    } else if (text !== undefined && text !== "") {
      values[name] = parseVariable(setting, variable, text);
      sources.set(name, variable);
      rank.set(name, 1);
    } else if (inFile !== undefined) {
      values[name] = inFile.value;
      sources.set(name, `${path}:${inFile.line}: ${keyOf(setting.section, setting.name)}`);
      rank.set(name, 2);
    }
  }
  // Both name a pool. Only the one from the stronger source counts, so that a command never reaches the other pool.
  const { pool, state } = options;
  if (pool?.setting?.section === "any" && state?.setting?.section === "any") {
    const [toPool, toState] = [rank.get("pool") ?? 3, rank.get("state") ?? 3];
    if (toPool < toState) delete values.state;
    if (toState < toPool) delete values.pool;
  }
  return { values, sources };
}

function parseVariable({ section, name }: NonNullable<Option["setting"]>, variable: string, text: string) {
  const { kind, list } = (SETTINGS[section] as Record<string, Setting>)[name] as Setting;
  if (list) return text.split(",").map((each) => each.trim());
  if (kind !== "switch") return text;
  if (text !== "true" && text !== "false") throw new UsageError(`${variable} must be true or false, not "${text}".`);
  return text === "true";
}

/** As `resolveSettings`, with the variables and the file of this process. A command without settings reads no file. */
export function resolveSettingsHere(options: Readonly<Record<string, Option>>, given: Values): ResolvedSettings {
  if (Object.values(options).every(({ setting }) => setting === undefined))
    return { values: given, sources: new Map() };
  const path = settingsFile(process.env, homedir());
  const text = path === undefined ? undefined : readFile(path);
  const settings: FileSettings =
    path === undefined || text === undefined ? new Map() : readSettings(text, path, homedir());
  return resolveSettings(options, given, process.env, { path: path ?? "", settings });
}

function readFile(path: string): string | undefined {
  const text = readIfPresent(path);
  // A file that LIGAND_CONFIG names must exist. The default file need not.
  if (text === undefined && process.env.LIGAND_CONFIG !== undefined) {
    throw new OperatorError(
      `LIGAND_CONFIG names ${path}, which does not exist. To use no file, set LIGAND_CONFIG to an empty text.`,
    );
  }
  return text;
}
