import { join } from "node:path";
import { parse, TomlError, type TomlTable, type TomlValue } from "smol-toml";
import { SECRETS, type SecretName } from "./secrets.ts";
import { keyOf, SETTINGS, type Section, type Setting } from "./settings.ts";
import { UsageError } from "./usage-error.ts";

/** The settings of a file by full name, as text for the command line, with their line numbers. */
export type FileSettings = ReadonlyMap<string, { readonly value: string | boolean | string[]; readonly line: number }>;

type Environment = Readonly<Record<string, string | undefined>>;

/** Ligand's folder in the XDG config folder. The XDG specification tells programs to ignore a relative folder. */
export function configFolder(env: Environment, home: string): string {
  const base = env.XDG_CONFIG_HOME;
  return join(base?.startsWith("/") ? base : join(home, ".config"), "ligand");
}

/** The settings file: LIGAND_CONFIG, or ligand.toml in `configFolder`. An empty LIGAND_CONFIG means no file. */
export function settingsFile(env: Environment, home: string): string | undefined {
  if (env.LIGAND_CONFIG !== undefined) return env.LIGAND_CONFIG || undefined;
  return join(configFolder(env, home), "ligand.toml");
}

/** Parses the settings. Errors name the file and the line, and never a value, which may be a secret. */
export function readSettings(text: string, file: string, home: string): FileSettings {
  const table = parsed(text, file);
  const settings = new Map<string, { value: string | boolean | string[]; line: number }>();
  const add = (section: Section, name: string, value: TomlValue) => {
    const path = section === "any" ? [name] : [section, name];
    const line = lineOf(text, path);
    const problem = (message: string) => new UsageError(`${file}:${line}: ${message}`);
    const setting = settingOf(section, name);
    if (setting === undefined) throw problem(unknown(section, name));
    const read = readValue(setting, value, home);
    if ("expected" in read) throw problem(`${keyOf(section, name)} must be ${read.expected}.`);
    settings.set(keyOf(section, name), { value: read.value, line });
  };
  for (const [name, value] of Object.entries(table)) {
    if (!isTable(value) || settingOf("any", name) !== undefined) add("any", name, value);
    else if (isSection(name)) for (const [inner, it] of Object.entries(value)) add(name, inner, it);
    else throw new UsageError(`${file}:${lineOf(text, [name])}: ${unknownSection(name)}`);
  }
  return settings;
}

function parsed(text: string, file: string): TomlTable {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The other lines of the message quote the file.
    const [what = ""] = error.message.replace("Invalid TOML document: ", "").split("\n");
    throw new UsageError(`${file}:${error.line}: this is not valid TOML: ${what} (column ${error.column}).`);
  }
}

/**
 * The line where a key begins. The parser gives no positions, so this parses longer and longer beginnings of the file until
 * the key appears. A beginning that ends inside a value does not parse.
 */
function lineOf(text: string, path: readonly string[]): number {
  const lines = text.split("\n");
  let begins = 1;
  for (let taken = 1; taken <= lines.length; taken++) {
    const table = beginning(lines, taken);
    if (table === undefined) continue;
    if (holds(table, path)) return begins;
    begins = taken + 1;
  }
  return begins;
}

function beginning(lines: readonly string[], taken: number): TomlTable | undefined {
  try {
    return parse(`${lines.slice(0, taken).join("\n")}\n`);
  } catch {
    return undefined;
  }
}

function holds(table: TomlTable, [first = "", ...rest]: readonly string[]): boolean {
  const value = Object.hasOwn(table, first) ? table[first] : undefined;
  if (rest.length === 0 || value === undefined) return value !== undefined;
  return isTable(value) && holds(value, rest);
}

const isSection = (name: string): name is Section => name !== "any" && Object.hasOwn(SETTINGS, name);

const isTable = (value: TomlValue): value is TomlTable =>
  typeof value === "object" && !Array.isArray(value) && !(value instanceof Date);

function settingOf(section: Section, name: string): Setting | undefined {
  const of: Record<string, Setting> = SETTINGS[section];
  return Object.hasOwn(of, name) ? of[name] : undefined;
}

type Read = { readonly value: string | boolean | string[] } | { readonly expected: string };

function readValue(setting: Setting, value: TomlValue, home: string): Read {
  if (!setting.list) return oneOf(setting, value, home);
  const all = [value].flat().map((each) => oneOf(setting, each, home));
  const wrong = all.find((each) => "expected" in each);
  if (wrong !== undefined && "expected" in wrong) return { expected: `an array, each item ${wrong.expected}` };
  return { value: all.flatMap((each) => ("value" in each ? [String(each.value)] : [])) };
}

const OWN_PLACE = "absolute, or under your home folder as in ~/models";

function oneOf({ kind }: Setting, value: TomlValue, home: string): Read {
  if (kind === "switch") return typeof value === "boolean" ? { value } : { expected: "true or false" };
  if (kind === "number") {
    const is = typeof value === "number" || typeof value === "bigint";
    return is ? { value: String(value) } : { expected: "a number, without quotes" };
  }
  if (typeof value !== "string") return { expected: 'text in quotes, as in "text"' };
  if (kind === "text" || (kind === "model" && /^(embedded$|hf:)/.test(value))) return { value };
  const place = value.startsWith("~/") ? join(home, value.slice(2)) : value;
  if (place.startsWith("/")) return { value: place };
  return {
    expected:
      kind === "path" ? `a path that is ${OWN_PLACE}` : `embedded, hf:OWNER/REPO:QUANT, or a path that is ${OWN_PLACE}`,
  };
}

/** The error for an unknown name. It says where a secret belongs, or suggests a similar setting. */
function unknown(section: Section, name: string): string {
  const key = keyOf(section, name);
  const secret = secretNamed(section, name);
  if (secret !== undefined) {
    const { variable, or } = SECRETS[secret];
    return `${key} is a secret and does not belong in this file. Use ${variable}${or === null ? "" : `, or ${or}`}.`;
  }
  const names = namesOf(section);
  const meant = names.find((it) => it === plainly(name)) ?? names.find((it) => isLike(it, name));
  if (meant !== undefined) return `there is no setting ${key}. Did you mean ${keyOf(section, meant)}?`;
  const elsewhere = (Object.keys(SETTINGS) as Section[]).find((it) => settingOf(it, name) !== undefined);
  if (elsewhere !== undefined) {
    const where = elsewhere === "any" ? "before the first [section]" : `under [${elsewhere}]`;
    return `there is no setting ${key}. Did you mean ${keyOf(elsewhere, name)}? It goes ${where}.`;
  }
  const where = section === "any" ? `The settings outside of ${sections()} are` : `The settings under [${section}] are`;
  return `there is no setting ${key}. ${where}: ${names.join(", ")}.`;
}

function unknownSection(name: string): string {
  const secret = secretNamed("any", name);
  return secret === undefined ? `there is no section [${name}]. The sections are ${sections()}.` : unknown("any", name);
}

const sections = () =>
  Object.keys(SETTINGS)
    .filter(isSection)
    .map((name) => `[${name}]`)
    .join(", ");

const namesOf = (section: Section) => Object.keys(SETTINGS[section]);

/** Recognizes `UPSTREAM_KEY`, `upstream-key`, `LIGAND_UPSTREAM_KEY`, and `token` in `[worker]`. */
function secretNamed(section: Section, name: string): SecretName | undefined {
  const plain = plainly(name).replace(/^ligand-/, "");
  const all = Object.keys(SECRETS) as SecretName[];
  return all.find((it) => it === plain || it === `${section}-${plain}` || plain === `client-${it}`);
}

const plainly = (name: string) => name.toLowerCase().replaceAll("_", "-");

/** Whether one name begins with the other, or they differ only in hyphens. */
function isLike(known: string, name: string): boolean {
  const given = plainly(name);
  return (
    given.length > 2 && (known.startsWith(given) || given.startsWith(known) || given === known.replaceAll("-", ""))
  );
}
