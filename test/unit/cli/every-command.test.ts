import { afterEach, describe, expect, it, vi } from "vitest";
import { ligand } from "../../../scripts/cli/ligand.ts";
import type { Command, Group } from "../../../worker-agent/cli/shared/command.ts";
import { runCommand } from "../../../worker-agent/cli/shared/run-command.ts";

/** What must hold for every command, including commands that are added later. */

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

  it("takes --json, and then prints errors about its flags as JSON only", async () => {
    expect(command.options).toHaveProperty("json");
    const { code, out, err } = await said(...words, "--bogus", "--json");
    expect({ code, err, lines: out.length }).toEqual({ code: 2, err: [], lines: 1 });
    const message = "Unknown option '--bogus'.";
    expect(JSON.parse(out[0] ?? "")).toEqual({ error: { code: "cli/usage", message } });
  });

  it("without --json prints the error as text, with its help", async () => {
    const { code, out, err } = await said(...words, "--bogus");
    expect({ code, out }).toEqual({ code: 2, out: [] });
    expect(err.join("\n")).toMatch(new RegExp(`^Unknown option '--bogus'\\.\n\nligand ${line}`));
  });

  it("has a help that describes each of its options", async () => {
    const { code, out, err } = await said(...words, "--help");
    expect({ code, err }).toEqual({ code: 0, err: [] });
    const text = out.join("\n");
    expect(text).toContain(command.summary);
    if (!line.startsWith("worker install")) {
      for (const option of Object.keys(command.options)) expect(text).toContain(`--${option}`);
    }
  });

  it("names the argument that is missing", async () => {
    const { min } = command.positionals;
    if (min === 0) return;
    const { code, out } = await said(...words, "--json");
    expect(code).toBe(2);
    expect(JSON.parse(out[0] ?? "").error.message).toMatch(/^[A-Z]+(=[A-Z…]+)? is missing\.$/);
  });
});

// `pool start` runs a pool on this machine. The other commands call a pool that may be elsewhere.
const ofPool = leaves(ligand, []).filter(
  ([line, { options }]) => options.state?.setting?.section === "any" && line !== "pool start",
);
it.each(ofPool)("the help of ligand %s names the secret for a pool elsewhere", async (line) => {
  const { out } = await said(...line.split(" "), "--help");
  expect(out.join("\n")).toContain(line === "chat" ? "LIGAND_KEY" : "LIGAND_ADMIN_TOKEN");
});

it.each(groups(ligand, []).map((line) => [line]))("ligand %s nothing --json prints the error as JSON", async (line) => {
  const words = line === "" ? [] : line.split(" ");
  const { code, out, err } = await said(...words, "nothing", "--json");
  expect({ code, err }).toEqual({ code: 2, err: [] });
  const name = ["ligand", ...words, "nothing"].join(" ");
  expect(JSON.parse(out.join("\n"))).toEqual({
    error: { code: "cli/usage", message: `There is no command "${name}".` },
  });
});
