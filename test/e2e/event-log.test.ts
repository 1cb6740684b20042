import { beforeAll, describe, expect, it } from "vitest";
import { ligand, type PoolProcess, spawnLigand, startPool, waitFor } from "./support.ts";

/** `ligand events …` against `npm start` with its worker, before and after a crash of the runtime. */

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

  it.each<[what: string, args: string[], code: number, says: string]>([
    ["an unknown audience", ["tail", "--audience", "bob"], 2, "--audience must be one of all, public, peers"],
    ["a limit that is too large", ["tail", "--limit", "501"], 2, "--limit must be a whole number from 1 to 500"],
    ["a pool that does not answer", ["tail", "--follow", "--pool", "http://127.0.0.1:9"], 1, "does not answer"],
  ])("%s: the error names the remedy", async (_what, args, code, says) => {
    const finished = await ligand(["events", ...args, ...here()], { LIGAND_ADMIN_TOKEN: "la_x" });
    expect(finished).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(says) });
  });
});
