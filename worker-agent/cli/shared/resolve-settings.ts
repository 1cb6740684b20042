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
  /** By flag, how what was not given as a flag is called where it was: `LIGAND_POOL`, `/…/ligand.toml:3: pool`. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Pure: flag over variable over file (docs/spec/pool.md#command-line), for those of a command's flags that are settings. */
export function resolveSettings(
  options: Readonly<Record<string, Option>>,
  given: Values,
  env: Environment,
  { path, settings }: { path: string; settings: FileSettings },
): ResolvedSettings {
  const values: Values = { ...given };
  const sources = new Map<string, string>();
  const distance = new Map<string, number>();
  for (const [name, { setting }] of Object.entries(options)) {
    if (setting === undefined) continue;
    const variable = variableOf(setting.section, setting.name);
    const text = env[variable];
    const inFile = settings.get(keyOf(setting.section, setting.name));
    if (given[name] !== undefined) {
      distance.set(name, 0);
    } else if (text !== undefined && text !== "") {
      values[name] = ofVariable(setting, variable, text);
      sources.set(name, variable);
      distance.set(name, 1);
    } else if (inFile !== undefined) {
      values[name] = inFile.value;
      sources.set(name, `${path}:${inFile.line}: ${keyOf(setting.section, setting.name)}`);
      distance.set(name, 2);
    }
  }
  // Both say which pool: the farther would send what was meant for one to the other.
  const { pool, state } = options;
  if (pool?.setting?.section === "any" && state?.setting?.section === "any") {
    const [toPool, toState] = [distance.get("pool") ?? 3, distance.get("state") ?? 3];
    if (toPool < toState) delete values.state;
    if (toState < toPool) delete values.pool;
  }
  return { values, sources };
}

function ofVariable({ section, name }: NonNullable<Option["setting"]>, variable: string, text: string) {
  const { kind, list } = (SETTINGS[section] as Record<string, Setting>)[name] as Setting;
  if (list) return text.split(",").map((each) => each.trim());
  if (kind !== "switch") return text;
  if (text !== "true" && text !== "false") throw new UsageError(`${variable} wants true or false, not "${text}".`);
  return text === "true";
}

/** As `settle`, of this process. A command without settings reads no file. */
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
  // One that was named is missed; the usual one need not be there.
  if (text === undefined && process.env.LIGAND_CONFIG !== undefined) {
    throw new OperatorError(`There is no ${path}, which LIGAND_CONFIG names. An empty LIGAND_CONFIG means: no file.`);
  }
  return text;
}
