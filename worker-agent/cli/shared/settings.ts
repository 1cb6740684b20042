import type { ParseArgsOptionDescriptor } from "node:util";

/** The type of a setting in ligand.toml. In variables and flags all values are text. */
type Kind = "text" | "number" | "switch" | "path" | "model";

export interface Setting {
  readonly kind: Kind;
  /** Several values: an array in the file, `a,b` in the variable, a repeated flag. */
  readonly list?: true;
}

const text = { kind: "text" } as const;
const number = { kind: "number" } as const;
const path = { kind: "path" } as const;
const toggle = { kind: "switch" } as const;

/**
 * All settings that a person can make permanent. The place of a setting gives its three names: `slots` in `worker` is
 * --slots, LIGAND_WORKER_SLOTS, and `slots` under `[worker]` in ligand.toml (docs/spec/pool.md#command-line). Settings in
 * `any` come before all sections.
 */
export const SETTINGS = {
  any: {
    pool: text,
    state: path,
    "public-url": text,
    "cors-origins": { kind: "text", list: true },
  },
  start: {
    port: number,
    host: text,
    model: { kind: "model" },
    "no-worker": toggle,
    cert: path,
    key: path,
    insecure: toggle,
    "allow-host": { kind: "text", list: true },
    "status-hold": number,
    "embedding-model": text,
  },
  worker: {
    "token-file": path,
    engine: text,
    model: { kind: "model", list: true },
    "models-dir": path,
    slots: number,
    context: number,
    "memory-limit": text,
    gpu: text,
    "upstream-url": text,
    "upstream-model": { kind: "text", list: true },
    "upstream-slots": number,
    "upstream-kinds": text,
    "upstream-timeout": number,
    "upstream-insecure": toggle,
    state: path,
    insecure: toggle,
    log: text,
    quiet: toggle,
  },
  chat: { model: text, system: text, "max-tokens": number, temperature: number },
} as const satisfies Record<string, Record<string, Setting>>;

type Settings = typeof SETTINGS;
export type Section = keyof Settings;

/** The full name of a setting in errors and documents: `worker.slots`. */
export function keyOf(section: Section, name: string): string {
  return section === "any" ? name : `${section}.${name}`;
}

/** The variable of a setting, for example `LIGAND_WORKER_SLOTS`. */
export function variableOf(section: Section, name: string): string {
  return `LIGAND_${keyOf(section, name)}`.replace(/[.-]/g, "_").toUpperCase();
}

/** A flag. If the flag is also a setting, `setting` names it. */
export interface Option extends ParseArgsOptionDescriptor {
  readonly setting?: { readonly section: Section; readonly name: string };
}

/** The flags of these settings, for a command's `options`. Without names, all settings of the section. */
export function flagsOf<S extends Section>(
  section: S,
  names?: readonly (keyof Settings[S] & string)[],
): Readonly<Record<string, Option>> {
  const all: Record<string, Setting> = SETTINGS[section];
  return Object.fromEntries(
    (names ?? Object.keys(all)).map((name): [string, Option] => {
      const { kind, list } = all[name] as Setting;
      const type = kind === "switch" ? "boolean" : "string";
      return [name, { type, ...(list && { multiple: true }), setting: { section, name } }];
    }),
  );
}

/** The part of `--help` that says where else a command's flags can be set. */
export function settingsHelp(options: Readonly<Record<string, Option>>): string[] {
  const settings = Object.values(options).flatMap(({ setting }) => (setting ? [setting] : []));
  const [first] = settings;
  if (first === undefined) return [];
  const own = settings.length === 1 ? "It" : "Each";
  return [
    "",
    `Settings: ${settings.map(({ name }) => `--${name}`).join(", ")}.`,
    `${own} can also come from ~/.config/ligand/ligand.toml (${keyOf(first.section, first.name)}) or from a variable`,
    `(${variableOf(first.section, first.name)}): see docs/configuration.md.`,
  ];
}
