import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ligand, type PoolProcess, spawnLigand, startPool, waitFor } from "./support.ts";

/** `ligand events …` and `ligand audit …` against `npm start` with its worker, before and after a crash of the runtime. */

const folder = mkdtempSync(join(tmpdir(), "ligand-event-log-"));
afterAll(() => rmSync(folder, { recursive: true }));

let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool({ args: [] });
});

const here = () => ["--state", pool.stateDir];
async function json(...args: string[]) {
  const { code, stdout, stderr } = await ligand([...args, ...here(), "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, unknown>;
}
const rename = (name: string) =>
  fetch(`${pool.url}/admin/api/pool`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${pool.credentials.admin_token}`, "content-type": "application/json" },
    body: JSON.stringify({ name }),
  });

describe("ligand events", () => {
  it("shows that the worker joined, in the whole log and in the log for bonded peers", async () => {
    await waitFor(
      async () => ((await json("events", "tail", "--audience", "peers")).events as unknown[]).length > 0,
      10_000,
      "the worker to join",
    );
    const joined = expect.objectContaining({
      type: "worker_joined",
      visibility: "peers",
      payload: { worker: expect.stringMatching(/^[0-9a-f]{64}$/), models: ["ligand-embedded"] },
    });
    expect((await json("events", "tail", "--audience", "peers")).events).toEqual([joined]);
    expect((await json("events", "tail", "--audience", "public")).events).toEqual([]);
    const printed = await ligand(["events", "tail", ...here()]);
    expect(printed.stdout).toContain("worker_joined  peers");
  });

  it("follows the log, and resumes at the same position after the runtime was killed", async () => {
    const { head } = await json("events", "tail", "--limit", "1");
    const following = spawnLigand(["events", "tail", "--follow", "--limit", "1", "--json", ...here()]);
    const lines = () =>
      following.output.stdout
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line));
    await waitFor(() => lines().length > 0, 10_000, "the newest event");
    await rename("one");
    await waitFor(() => lines().length > 1, 10_000, "the next event");
    process.kill(pool.workerdPid(), "SIGKILL");
    await waitFor(async () => (await rename("two")).ok, 30_000, "the pool to be back");
    const last = (await json("events", "tail", "--limit", "1")).head;
    await waitFor(() => lines().at(-1)?.seq >= Number(last), 10_000, "what happened after the crash");
    following.child.kill();
    const numbers = lines().map(({ seq }) => seq);
    expect(numbers).toEqual(numbers.map((_, i) => Number(head) + i));
  });

  it("verifies the whole log, including after the crash", async () => {
    const { ok, events, checkpoints } = await json("events", "verify");
    expect({ ok, checkpoints }).toEqual({ ok: true, checkpoints: 3 });
    expect(events).toBeGreaterThan(2);
    const printed = await ligand(["events", "verify", ...here()]);
    expect(printed).toMatchObject({ code: 0, stdout: expect.stringContaining("The log is valid: ") });
  });

  it("exports the log into a private file, which verifies without the pool until a line is changed", async () => {
    const file = join(folder, "audit.jsonl");
    const { events } = await json("audit", "export", "--output", file);
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(Number(events) + 1);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const printed = await ligand(["audit", "export", ...here()]);
    expect(printed.stdout.split("\n").slice(1, lines.length)).toEqual(lines.slice(1));
    // No pool is named: the file is enough.
    const alone = async () => JSON.parse((await ligand(["audit", "verify", file, "--json"])).stdout);
    expect(await alone()).toMatchObject({ ok: true, events });
    writeFileSync(file, `${lines.with(2, String(lines[2]).replace('"seq":2', '"seq":3')).join("\n")}\n`);
    expect(await alone()).toMatchObject({ ok: false, line: 3, seq: 2 });
    const again = await ligand(["audit", "export", "--output", file, ...here()]);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("already exists") });
  });

  it("shows the events of a type, and follows them", async () => {
    await rename("selected");
    const { events } = await json("audit", "tail", "--type", "policy_changed", "--since", "1h", "--limit", "2");
    expect(events).toMatchObject([{ type: "policy_changed" }, { type: "policy_changed" }]);
    await json("pool", "admins", "create", "first");
    const args = ["audit", "tail", "--type", "admin_created", "--follow", "--json", ...here()];
    const following = spawnLigand(args);
    const created = () => following.output.stdout.split("\n").filter((line) => line !== "");
    await waitFor(() => created().length === 1, 10_000, "the first of them");
    await rename("not selected");
    await json("pool", "admins", "create", "second");
    await waitFor(() => created().length > 1, 10_000, "the next of them");
    following.child.kill();
    expect(new Set(created().map((line) => JSON.parse(line).type))).toEqual(new Set(["admin_created"]));
  });

  it.each<[what: string, args: string[], code: number, says: string]>([
    ["a type that is no name", ["tail", "--type", "No"], 2, "--type must be the name of an event type"],
    ["a moment that is none", ["tail", "--since", "yesterday"], 2, "--since must be a duration such as 2h"],
    ["an unknown audience", ["tail", "--audience", "bob"], 2, "--audience must be one of all, public, peers"],
    ["a limit that is too large", ["tail", "--limit", "501"], 2, "--limit must be a whole number from 1 to 500"],
    ["a pool that does not answer", ["tail", "--follow", "--pool", "http://127.0.0.1:9"], 1, "does not answer"],
  ])("%s: the error names the remedy", async (_what, args, code, says) => {
    const finished = await ligand(["events", ...args, ...here()], { LIGAND_ADMIN_TOKEN: "la_x" });
    expect(finished).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(says) });
  });
});
