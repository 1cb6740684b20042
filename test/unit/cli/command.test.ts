import { describe, expect, it } from "vitest";
import { chat } from "../../../scripts/cli/chat.ts";
import { formatKey, formatStart, pool } from "../../../scripts/cli/pool.ts";
import { worker } from "../../../scripts/cli/worker.ts";
import { typedCommands, typedWorkerCommand } from "../../../worker-agent/cli/shared/called-as.ts";
import { type Command, type Group, parseCommand } from "../../../worker-agent/cli/shared/command.ts";
import { defaultStateDir, workerFolders } from "../../../worker-agent/cli/state-folders.ts";

const command = (summary: string): Command => ({
  summary,
  usage: "ID [--rpm N]",
  help: ["--rpm N  requests a minute"],
  options: { rpm: { type: "string" }, json: { type: "boolean" } },
  positionals: { min: 0, max: 1 },
  run: async () => 0,
});
const list = command("list them");
const revoke = { ...command("revoke one"), positionals: { min: 1, max: 1 } };
const root: Group = {
  summary: "all of it",
  commands: {
    pool: {
      summary: "the pool",
      commands: { workers: { summary: "workers", commands: { list, revoke }, standard: "list" } },
    },
  },
};
const parse = (line: string) => parseCommand(root, "ligand", line === "" ? [] : line.split(" "));

describe("the command line", () => {
  it.each<[line: string, command: Command, values: object, positionals: string[]]>([
    ["pool workers list --rpm 5", list, { rpm: "5" }, []],
    ["pool workers list --rpm=5 x", list, { rpm: "5" }, ["x"]],
    ["pool workers", list, {}, []],
    ["pool workers --json", list, { json: true }, []],
    ["pool workers revoke abc --json", revoke, { json: true }, ["abc"]],
    ["pool workers revoke -- --abc", revoke, {}, ["--abc"]],
  ])("%s", (line, want, values, positionals) => {
    const parsed = parse(line);
    expect(parsed).toMatchObject({ kind: "run", command: want, positionals });
    expect(parsed.kind === "run" ? { ...parsed.values } : null).toEqual(values);
  });

  it.each<[line: string, kind: "help" | "usage", says: string]>([
    ["", "usage", "all of it"],
    ["--help", "help", "the pool"],
    ["help", "help", "the pool"],
    ["pool", "usage", "ligand pool COMMAND"],
    ["pool -h", "help", "ligand pool COMMAND"],
    ["pool workers --help", "help", "revoke one"],
    ["pool workers revoke --help", "help", "requests a minute"],
    ["pool workers revoke", "usage", "ID is missing.\n\nligand pool workers revoke ID"],
    ["pool workers revoke a b", "usage", 'Unexpected argument "b"'],
    ["pool workers list --bogus", "usage", "Unknown option '--bogus'"],
    ["pool workers list --rpm", "usage", "--rpm"],
    ["pool workers list --rpm -5", "usage", '--rpm needs a value, but "-5" looks like an option'],
    ["pool nothing", "usage", 'There is no command "ligand pool nothing"'],
    ["pool --json", "usage", "COMMAND is missing.\n\nligand pool COMMAND"],
    ["constructor", "usage", 'There is no command "ligand constructor"'],
  ])('"%s" prints %s', (line, kind, says) => {
    const parsed = parse(line);
    expect(parsed.kind).toBe(kind);
    expect(parsed.kind === "run" ? "" : parsed.text).toContain(says);
  });
});

it("the usage of every command with an argument begins with that argument", () => {
  const commands = (node: Command | Group): Command[] =>
    "commands" in node ? Object.values(node.commands).flatMap(commands) : [node];
  for (const { usage, positionals } of [pool, worker, chat].flatMap(commands)) {
    expect(usage).toMatch(positionals.min > 0 ? /^"?[A-Z]+"?( |$)/ : /^(\[|--)/);
  }
});

it.each<[what: string, isPackage: boolean, env: Record<string, string>, ligand: string, start: string, worker: string]>(
  [
    ["in a package", true, {}, "ligand", "ligand pool start", "ligand-worker"],
    [
      "in a package with npx",
      true,
      { npm_execpath: "/npm-cli.js" },
      "npx ligand",
      "npx ligand pool start",
      "npx ligand-worker",
    ],
    ["in a clone", false, {}, "npm run ligand --", "npm start", "node /r/main.ts"],
    [
      "in a clone with npm",
      false,
      { npm_execpath: "/npm-cli.js" },
      "npm run ligand --",
      "npm start",
      "node /r/main.ts",
    ],
  ],
)("%s the printed commands can be pasted", (_what, isPackage, env, ligand, start, worker) => {
  expect(typedCommands(isPackage, env)).toEqual({ ligand, start, startWith: isPackage ? start : `${start} --` });
  expect(typedWorkerCommand(isPackage, "/r/main.ts", env)).toBe(worker);
});

it.each<[url: string, flags: string, elsewhere: boolean]>([
  ["https://pool.example", "--pool https://pool.example --token-file t", false],
  ["http://127.0.0.1:8787", "--pool http://127.0.0.1:8787 --token-file t", true],
  ["http://[::1]:8787", "--pool 'http://[::1]:8787' --token-file t", true],
  ["http://10.0.0.5:8787", "--pool http://10.0.0.5:8787 --token-file t --insecure", false],
])("an invite to %s shows the command that starts the worker", (url, flags, elsewhere) => {
  const [, command, more] = formatStart(url, "t").split("\n");
  expect(command).toBe(`  npm run ligand -- worker start ${flags}`);
  expect(more !== undefined).toBe(elsewhere);
});

it("a new client key is shown with its base URL", () =>
  expect(formatKey({ id: "i", key: "lk_i" }, "https://pool.example")).toBe(
    "lk_i\n\nClient key i. Use it as the API key of any OpenAI client, with the base URL https://pool.example/v1.",
  ));

it.each<[env: Record<string, string>, want: string]>([
  [{}, "/home/w/.local/state/ligand/worker"],
  [{ XDG_STATE_HOME: "/var/s" }, "/var/s/ligand/worker"],
  [{ XDG_STATE_HOME: "relative" }, "/home/w/.local/state/ligand/worker"],
])("the worker's state folder for %j is %s", (env, want) => expect(defaultStateDir(env, "/home/w")).toBe(want));

const TOKEN = `lw_${"0f".repeat(8)}_${"1".repeat(40)}_${"2".repeat(24)}_${"3".repeat(64)}`;
it.each<[what: string, given: string | undefined, stateDir: string, cacheDir: string]>([
  [
    "no folder: each token has its own folder, beside the caches",
    undefined,
    "/s/ligand/worker/0f0f0f0f0f0f0f0f",
    "/s/ligand/worker",
  ],
  ["the folder of a token, as a service gives it", "/s/ligand/worker/0f", "/s/ligand/worker/0f", "/s/ligand/worker"],
  ["another folder: state and caches are there", "/srv/w", "/srv/w", "/srv/w"],
])("a worker that is given %s", (_what, given, stateDir, cacheDir) =>
  expect(workerFolders("/s/ligand/worker", TOKEN, given)).toEqual({ stateDir, cacheDir }),
);
