import { afterEach, describe, expect, it, vi } from "vitest";
import { ligand } from "../../../scripts/cli/ligand.ts";
import type { Command, Group } from "../../../worker-agent/cli/shared/command.ts";
import { runCommand } from "../../../worker-agent/cli/shared/run-command.ts";

/** What holds for every command that there is, and for the next one that is added. */

type Leaf = [line: string, command: Command];
const leaves = (node: Command | Group, path: string[]): Leaf[] =>
  "commands" in node
    ? Object.entries(node.commands).flatMap(([name, child]) => leaves(child, [...path, name]))
    : [[path.join(" "), node]];
const groups = (node: Command | Group, path: string[]): string[] =>
  "commands" in node
    ? [path.join(" "), ...Object.entries(node.commands).flatMap(([name, child]) => groups(child, [...path, name]))]
    : [];

afterEach(() => vi.restoreAllMocks());

async function said(...args: string[]) {
  const lines = { out: [] as string[], err: [] as string[] };
  vi.spyOn(console, "log").mockImplementation((line: string) => void lines.out.push(line));
  vi.spyOn(console, "error").mockImplementation((line: string) => void lines.err.push(line));
  return { code: await runCommand(ligand, "ligand", args), ...lines };
}

describe.each(leaves(ligand, []))("ligand %s", (line, command) => {
  const words = line.split(" ");

  it("takes --json, and says there what is wrong with its flags, and nothing beside it", async () => {
    expect(command.options).toHaveProperty("json");
    const { code, out, err } = await said(...words, "--bogus", "--json");
    expect({ code, err, lines: out.length }).toEqual({ code: 2, err: [], lines: 1 });
    const message = "Unknown option '--bogus'.";
    expect(JSON.parse(out[0] ?? "")).toEqual({ error: { code: "cli/usage", message } });
  });

  it("without --json says it in words, with its help", async () => {
    const { code, out, err } = await said(...words, "--bogus");
    expect({ code, out }).toEqual({ code: 2, out: [] });
    expect(err.join("\n")).toMatch(new RegExp(`^Unknown option '--bogus'\\.\n\nligand ${line}`));
  });

  it("has help that names each of its options, and what it is for", async () => {
    const { code, out, err } = await said(...words, "--help");
    expect({ code, err }).toEqual({ code: 0, err: [] });
    const text = out.join("\n");
    expect(text).toContain(command.summary);
    if (!line.startsWith("worker install")) {
      for (const option of Object.keys(command.options)) expect(text).toContain(`--${option}`);
    }
  });

  it("says which of its arguments is missing", async () => {
    const { min } = command.positionals;
    if (min === 0) return;
    const { code, out } = await said(...words, "--json");
    expect(code).toBe(2);
    expect(JSON.parse(out[0] ?? "").error.message).toMatch(/^[A-Z]+(=[A-Z…]+)? is missing\.$/);
  });
});

// `pool start` runs a pool here; the others call one that may be elsewhere.
const ofPool = leaves(ligand, []).filter(
  ([line, { options }]) => options.state?.setting?.section === "any" && line !== "pool start",
);
it.each(ofPool)("ligand %s names in its help what opens a pool elsewhere", async (line) => {
  const { out } = await said(...line.split(" "), "--help");
  expect(out.join("\n")).toContain(line === "chat" ? "LIGAND_KEY" : "LIGAND_ADMIN_TOKEN");
});

it.each(groups(ligand, []).map((line) => [line]))("ligand %s nothing --json fails as JSON", async (line) => {
  const words = line === "" ? [] : line.split(" ");
  const { code, out, err } = await said(...words, "nothing", "--json");
  expect({ code, err }).toEqual({ code: 2, err: [] });
  const name = ["ligand", ...words, "nothing"].join(" ");
  expect(JSON.parse(out.join("\n"))).toEqual({
    error: { code: "cli/usage", message: `There is no command "${name}".` },
  });
});
