import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Values } from "../../../worker-agent/cli/shared/command.ts";
import { readSettings, settingsFile } from "../../../worker-agent/cli/shared/ligand-toml.ts";
import { resolveSettings } from "../../../worker-agent/cli/shared/resolve-settings.ts";
import { SECRETS } from "../../../worker-agent/cli/shared/secrets.ts";
import {
  flagsOf,
  keyOf,
  SETTINGS,
  type Section,
  type Setting,
  variableOf,
} from "../../../worker-agent/cli/shared/settings.ts";

const FILE = "/home/w/.config/ligand/ligand.toml";
const read = (text: string) => readSettings(text, FILE, "/home/w");
const all = (Object.keys(SETTINGS) as Section[]).flatMap((section) =>
  Object.entries<Setting>(SETTINGS[section]).map(([name, setting]) => ({ section, name, setting })),
);

describe("ligand.toml", () => {
  it("gives the same values as flags, each with its line number", () => {
    const text = [
      "# this machine",
      'pool = "https://pool.example"',
      "",
      "[worker]",
      "slots = 2 # not more",
      'model = ["embedded", "~/models/a.gguf",',
      '  "hf:o/r:Q4"]',
      "quiet = true",
      'token-file = "/etc/ligand/worker.token"',
      'upstream-model = "one"',
      "chat.x = 1",
    ];
    expect([...read(text.slice(0, -1).join("\n"))]).toEqual([
      ["pool", { value: "https://pool.example", line: 2 }],
      ["worker.slots", { value: "2", line: 5 }],
      ["worker.model", { value: ["embedded", "/home/w/models/a.gguf", "hf:o/r:Q4"], line: 6 }],
      ["worker.quiet", { value: true, line: 8 }],
      ["worker.token-file", { value: "/etc/ligand/worker.token", line: 9 }],
      ["worker.upstream-model", { value: ["one"], line: 10 }],
    ]);
  });

  it.each<[text: string, line: number]>([
    ["worker.slots = 2", 1],
    ["\n\nworker = { quiet = true,\n slots = 2 }", 3],
    ['[chat]\nsystem = """\nslots = 1\n[worker]\nslots = 3"""\n[worker]\n"slots" = 2', 7],
    ["[worker]\r\nquiet = true\r\nslots = 2\r\n", 3],
  ])("a setting's line is found in %j", (text, line) =>
    expect(read(text).get("worker.slots")).toEqual({ value: "2", line }),
  );

  it.each<[text: string, says: string]>([
    ["[worker]\nslots 2", ":2: this is not valid TOML:"],
    ["a = 1\na = 2", ":2: this is not valid TOML:"],
    ["[worker]\n\nslots = '2'", ":3: worker.slots must be a number, without quotes."],
    ["[worker]\nquiet = 'yes'", ":2: worker.quiet must be true or false."],
    ["pool = 1", ':1: pool must be text in quotes, as in "text".'],
    ["[worker]\nmodel = [1]", ":2: worker.model must be an array, each item text in quotes"],
    ["state = './state'", ":1: state must be a path that is absolute, or under your home folder as in ~/models"],
    ["[start]\nmodel = 'a.gguf'", ":2: start.model must be embedded, hf:OWNER/REPO:QUANT, or a path that is absolute"],
    ["[worker]\nslot = 2", ":2: there is no setting worker.slot. Did you mean worker.slots?"],
    ["[worker]\nmodels_dir = '/m'", ":2: there is no setting worker.models_dir. Did you mean worker.models-dir?"],
    ["slots = 2", ":1: there is no setting slots. Did you mean worker.slots? It goes under [worker]."],
    ["[worker]\npool = 'x'", "Did you mean pool? It goes before the first [section]."],
    [
      "[chat]\nbogus = 2",
      ":2: there is no setting chat.bogus. The settings under [chat] are: model, system, max-tokens",
    ],
    ["bogus = 2", ":1: there is no setting bogus. The settings outside of [start], [worker], [chat] are: pool, state"],
    ["[pool]\nname = 'x'", ":1: pool must be text"],
    ["[workers]\nslots = 2", ":1: there is no section [workers]. The sections are [start], [worker], [chat]."],
    ["[any]\npool = 'x'", ":1: there is no section [any]."],
    ["[worker.slots]\na = 2", ":1: worker.slots must be a number"],
    ["[[worker]]\nslots = 2", ":1: there is no setting worker. "],
    ["constructor = 1", ":1: there is no setting constructor."],
  ])("%j is refused", (text, says) => {
    expect(() => read(text)).toThrow(says);
    expect(() => read(text)).toThrow(FILE);
  });

  it.each<[text: string, variable: string]>([
    ["admin-token = 's3cret'", "LIGAND_ADMIN_TOKEN"],
    ["LIGAND_KEY = 's3cret'", "LIGAND_KEY"],
    ["key = 's3cret'", "LIGAND_KEY"],
    ["client_key = 's3cret'", "LIGAND_KEY"],
    ["[worker]\ntoken = 's3cret'", "LIGAND_WORKER_TOKEN"],
    ["[worker]\nupstream-key = 's3cret'", "LIGAND_UPSTREAM_KEY"],
    ["[upstream-key]\nvalue = 's3cret'", "LIGAND_UPSTREAM_KEY"],
    ["[start]\npassphrase = 's3cret'", "LIGAND_PASSPHRASE"],
    ["POOL_SECRET_KEY = 's3cret'", "LIGAND_POOL_SECRET_KEY"],
  ])("%j is refused because it holds a secret, and the error does not repeat it", (text, variable) => {
    expect(() => read(text)).toThrow(new RegExp(`:\\d+: .* is a secret .* Use ${variable}[,.]`));
    expect(() => read(text)).not.toThrow("s3cret");
  });

  it("is never quoted in an error, however broken it is", () => {
    const value = fc.stringMatching(/^[a-z]{1,9}$/).map((it) => `s3cret${it}`);
    const text = fc.tuple(
      value,
      fc.constantFrom("pool = '%", "token-file = '%'", "%", "[%]", "[worker]\nmodel = ['%'"),
    );
    fc.assert(
      fc.property(text, ([secret, around]) => {
        let message = "";
        try {
          read(around.replace("%", secret));
        } catch (error) {
          message = String(error);
        }
        // The error may name an unknown setting, so that the user can find it.
        if (around !== "%" && around !== "[%]") expect(message).not.toContain(secret);
        expect(message).not.toBe("");
      }),
    );
  });
});

it.each<[env: Record<string, string>, want: string | undefined]>([
  [{}, "/home/w/.config/ligand/ligand.toml"],
  [{ XDG_CONFIG_HOME: "/etc/w" }, "/etc/w/ligand/ligand.toml"],
  [{ XDG_CONFIG_HOME: "relative" }, "/home/w/.config/ligand/ligand.toml"],
  [{ LIGAND_CONFIG: "other.toml", XDG_CONFIG_HOME: "/etc/w" }, "other.toml"],
  [{ LIGAND_CONFIG: "" }, undefined],
])("for %j the file is %s", (env, want) => expect(settingsFile(env, "/home/w")).toBe(want));

describe("the resolved settings", () => {
  const pools = flagsOf("any", ["pool", "state"]);
  const hold = (flags: Record<string, string>, env: Record<string, string>, text: string, options = pools) =>
    resolveSettings(options, flags, env, { path: FILE, settings: read(text) });

  it.each<[what: string, flags: Record<string, string>, env: Record<string, string>, text: string, want: object]>([
    ["are empty without any source", {}, {}, "", {}],
    ["come from the file", {}, {}, "pool = 'file'", { pool: "file" }],
    ["come from the variable rather than the file", {}, { LIGAND_POOL: "env" }, "pool = 'file'", { pool: "env" }],
    [
      "come from the flag rather than both",
      { pool: "flag" },
      { LIGAND_POOL: "env" },
      "pool = 'file'",
      { pool: "flag" },
    ],
    ["ignore an empty variable", {}, { LIGAND_POOL: "" }, "pool = 'file'", { pool: "file" }],
    ["prefer a pool from a nearer source to a state folder", { pool: "flag" }, {}, "state = '/s'", { pool: "flag" }],
    [
      "prefer a state folder from a nearer source to a pool",
      { state: "/s" },
      { LIGAND_POOL: "env" },
      "",
      { state: "/s" },
    ],
    [
      "contain both pool and state folder from one source",
      {},
      {},
      "pool = 'p'\nstate = '/s'",
      { pool: "p", state: "/s" },
    ],
  ])("%s", (_what, flags, env, text, want) => expect(hold(flags, env, text).values).toEqual(want));

  it("of every kind come from the flag, then the variable, then the file, and their source is known", () => {
    const samples: Record<Setting["kind"], [string | boolean, string | boolean, string | boolean]> = {
      text: ["a", "b", "c"],
      number: ["1", "2", "3"],
      switch: [true, false, true],
      path: ["/a", "/b", "/c"],
      model: ["embedded", "hf:o/r:Q", "/m"],
    };
    for (const { section, name, setting } of all) {
      const [flag, variable, inFile] = samples[setting.kind].map((it) => (setting.list ? [String(it)] : it));
      const written = setting.kind === "number" ? `${inFile}` : JSON.stringify(inFile);
      const text = `${section === "any" ? "" : `[${section}]\n`}${name} = ${written}`;
      const env = { [variableOf(section, name)]: String(variable) };
      const options = flagsOf(section);
      const of = (flags: Record<string, typeof flag>, vars: typeof env | object) =>
        resolveSettings(options, flags as Values, { ...vars }, { path: FILE, settings: read(text) });
      expect(of({ [name]: flag }, env).values[name]).toEqual(flag);
      expect(of({}, env).values[name]).toEqual(variable);
      expect(of({}, env).sources.get(name)).toBe(variableOf(section, name));
      expect(of({}, {}).values[name]).toEqual(inFile);
      expect(of({}, {}).sources.get(name)).toBe(`${FILE}:${section === "any" ? 1 : 2}: ${keyOf(section, name)}`);
    }
  });

  it("accept only true or false for a switch in a variable", () => {
    const quiet = flagsOf("worker", ["quiet"]);
    expect(hold({}, { LIGAND_WORKER_QUIET: "false" }, "[worker]\nquiet = true", quiet).values).toEqual({
      quiet: false,
    });
    expect(() => hold({}, { LIGAND_WORKER_QUIET: "yes" }, "", quiet)).toThrow(
      "LIGAND_WORKER_QUIET must be true or false",
    );
  });

  it("split a list in a variable at commas", () => {
    const model = flagsOf("worker", ["model"]);
    const { values } = hold({}, { LIGAND_WORKER_MODEL: "embedded, hf:o/r:Q" }, "", model);
    expect(values).toEqual({ model: ["embedded", "hf:o/r:Q"] });
  });
});

describe("docs/configuration.md", () => {
  const page = readFileSync(new URL("../../../docs/configuration.md", import.meta.url), "utf8");

  it("names every setting of every section and every secret, and nothing else", () => {
    const rows = [...page.matchAll(/^\| (before all sections|`\[(\w+)\]`) \| (.*) \|$/gm)];
    const named = rows.map(([, , section = "any", names = ""]) => [
      section,
      [...names.matchAll(/`([\w-]+)`/g)].map(([, it]) => it),
    ]);
    expect(Object.fromEntries(named)).toEqual(
      Object.fromEntries(Object.entries(SETTINGS).map(([section, settings]) => [section, Object.keys(settings)])),
    );
    const variables = [...page.matchAll(/^\| `(LIGAND_\w+)` \|/gm)].map(([, it]) => it);
    expect(variables.sort()).toEqual(
      Object.values(SECRETS)
        .map(({ variable }) => variable)
        .sort(),
    );
  });

  it("has an example that parses", () => {
    const [, example = ""] = /```toml\n(.*?)```/s.exec(page) ?? [];
    expect(read(example).size).toBeGreaterThan(8);
  });
});
