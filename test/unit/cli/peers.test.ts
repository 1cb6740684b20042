import { expect, it } from "vitest";
import { federation } from "../../../scripts/cli/federation.ts";
import { peers } from "../../../scripts/cli/peers.ts";
import { pool } from "../../../scripts/cli/pool.ts";
import { type Command, type Group, parseCommand } from "../../../worker-agent/cli/shared/command.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";
import { UsageError } from "../../../worker-agent/cli/shared/usage-error.ts";

const ligand: Group = { summary: "", commands: { pool, peers, federation } };

/** The error for a command. No pool is called. */
async function wrong(args: string[]): Promise<string> {
  const parsed = parseCommand(ligand, "ligand", args);
  if (parsed.kind !== "run") return parsed.text;
  const asked = parsed.command.run({ ...parsed.values, state: "nowhere" }, parsed.positionals, hintsOf({}, {}));
  const error = await asked.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UsageError);
  return (error as UsageError).message;
}

it.each<[args: string[], says: string]>([
  [["peers", "add"], "URL is missing."],
  [
    ["peers", "add", "https://pool.example/v1"],
    "is not the URL of a pool, such as https://pool.example, without a path.",
  ],
  [["peers", "add", "pool.example"], '"pool.example" is not the URL of a pool'],
  [["peers", "add", "https://pool.example", "--atom-id", "abcd"], "--atom-id must be the 64 hex digits"],
  [["peers", "trust", "abcdef01"], "LEVEL is missing."],
  [["peers", "trust", "abcdef01", "4"], 'LEVEL must be 0, 1, 2 or 3, not "4".'],
  [["peers", "trust", "abcdef01", "0x1"], 'LEVEL must be 0, 1, 2 or 3, not "0x1".'],
  [["pool", "name", ""], '"" is not a valid name. A name has 1 to 100 characters'],
  [["pool", "name", " Alder"], "no spaces at its ends"],
  [["pool", "name", "Al\u001bder"], '"Al\ufffdder" is not a valid name.'],
  [["peers", "drop", "abcdef01"], 'There is no command "ligand peers drop".'],
  [["federation", "set"], "NAME=VALUE… is missing."],
  [["federation", "set", "speed=on"], 'There is no switch "speed". The switches are: accept_reads,'],
  [["federation", "on", "now"], 'Unexpected argument "now".'],
])("%j is refused, and the error says what to do", async (args, says) => expect(await wrong(args)).toContain(says));

it.each(Object.entries({ ...peers.commands, ...federation.commands }) as [string, Command][])(
  "the help of %s names every flag that it takes",
  (name, command) => {
    const parsed = parseCommand(command, `ligand ${name}`, ["--help"]);
    expect(parsed.kind).toBe("help");
    const { text } = parsed as { text: string };
    for (const flag of Object.keys(command.options)) expect(text).toContain(`--${flag}`);
  },
);
