import type { ParseArgsOptionDescriptor } from "node:util";

/** How a setting is written in ligand.toml; a variable and a flag are text that is read as the same. */
type Kind = "text" | "number" | "switch" | "path" | "model";

export interface Setting {
  readonly kind: Kind;
  /** Several: an array in the file, `a,b` in the variable, the flag repeated. */
  readonly list?: true;
}

const text = { kind: "text" } as const;
const number = { kind: "number" } as const;
const path = { kind: "path" } as const;
const toggle = { kind: "switch" } as const;

/**
 * What a person may settle once for a machine, and the one list of it. A setting's three names follow from its place:
 * `slots` of `worker` is --slots, LIGAND_WORKER_SLOTS, and `slots` under `[worker]` of ligand.toml (docs/spec/pool.md#command-line). Those of
 * `any` stand before all sections.
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

/** A setting's full name, as errors and documentation say it: `worker.slots`. */
export function keyOf(section: Section, name: string): string {
  return section === "any" ? name : `${section}.${name}`;
}

/** Pure: `LIGAND_WORKER_SLOTS`. */
export function variableOf(section: Section, name: string): string {
  return `LIGAND_${keyOf(section, name)}`.replace(/[.-]/g, "_").toUpperCase();
}

/** A flag, and the setting that it is, if it is one. */
export interface Option extends ParseArgsOptionDescriptor {
  readonly setting?: { readonly section: Section; readonly name: string };
}

/** Pure: the flags of these settings, for a command's `options`; without names, all of the section. */
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

/** Pure: for `--help`, where else a command's flags may be settled. */
export function settingsHelp(options: Readonly<Record<string, Option>>): string[] {
  const settled = Object.values(options).flatMap(({ setting }) => (setting ? [setting] : []));
  const [first] = settled;
  if (first === undefined) return [];
  const own = settled.length === 1 ? "It" : "Each";
  return [
    "",
    `Settings: ${settled.map(({ name }) => `--${name}`).join(", ")}.`,
    `${own} may also be in ligand.toml in ~/.config/ligand (${keyOf(first.section, first.name)}) or a variable`,
    `(${variableOf(first.section, first.name)}): docs/configuration.md.`,
  ];
}
