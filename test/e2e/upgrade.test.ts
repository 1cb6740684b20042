import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readMigrations } from "../../scripts/runtime/migrations.ts";
import { ligand, seedMeasurements, spawnLigand, startPool, temporaryFolder, waitFor } from "./support.ts";

/** A pool that an older release left behind, under the code of today. */

const MIGRATIONS = fileURLToPath(new URL("../../schema/db/migrations", import.meta.url));
const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), "utf8");
const { files, known } = JSON.parse(fixture("state-0003.json")) as {
  files: Record<string, object>;
  known: Record<"client_key" | "revoked_key" | "alice" | "invite", string>;
};

/** The state folder, as it was. */
function olderState(): string {
  const stateDir = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(stateDir, name), JSON.stringify(content), { mode: 0o600 });
  }
  const [, ...databases] = fixture("state-0003.sql").split(/^-- file: /m);
  for (const text of databases) {
    const [name = "", ...sql] = text.split("\n");
    const file = join(stateDir, name);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const database = new DatabaseSync(file);
    database.exec(sql.join("\n"));
    database.close();
  }
  expect(databases.length).toBeGreaterThan(10);
  return stateDir;
}

it("a pool of an older release is the same pool under this one: its record, its keys, its objects, and it works", async () => {
  const stateDir = olderState();
  const pool = await startPool({ stateDir });
  const since = readMigrations(MIGRATIONS).filter(({ name }) => name >= "0004");
  expect(since.length).toBeGreaterThan(0);
  const applied = [...pool.output().matchAll(/^Applied migration (.+)\.$/gm)].map(([, name]) => name);
  expect(applied).toEqual(since.map(({ name }) => name));
  expect(pool.credentials).toEqual({ ...files["credentials.json"], url: pool.url });

  const { admin } = pool;
  expect((await admin.pool()).atom_id).toBe(pool.credentials.atom_id);
  const keys = await admin.keys();
  expect(keys.map(({ label }) => label).sort()).toEqual(["app", "local", "old"]);
  const app = async () => (await admin.keys()).find(({ label }) => label === "app");
  expect(await app()).toMatchObject({ requests: 2, prompt_tokens: 23, completion_tokens: 10, revoked_at: null });
  expect((await admin.admins()).map(({ name }) => name)).toContain("alice");
  expect((await admin.workers()).tokens.map(({ label }) => label).sort()).toEqual(["a laptop", "local"]);
  // Nobody has said that it may: the release that it comes from had no such switch.
  expect((await admin.federation()).policy.federation).toBe("off");
  expect(await admin.peers()).toEqual([]);

  const as = { LIGAND_POOL: pool.url, LIGAND_ADMIN_TOKEN: known.alice };
  const json = async (...args: string[]) => {
    const { code, stdout, stderr } = await ligand([...args, "--json"], as);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const { checks } = (await json("pool", "doctor")) as { checks: { name: string; state: string }[] };
  expect(checks.filter(({ state }) => state === "fail")).toEqual([]);
  expect(checks).toContainEqual(expect.objectContaining({ name: "migrations", state: "ok" }));

  const chat = (key: string) =>
    fetch(`${pool.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "auto", messages: [{ role: "user", content: "Hello?" }], max_tokens: 3 }),
    });
  expect((await chat(known.revoked_key)).status).toBe(401);

  const workerDir = join(temporaryFolder(), "worker");
  seedMeasurements(workerDir);
  const args = ["worker", "start", "--pool", pool.url, "--state", workerDir];
  const { output } = spawnLigand(args, { LIGAND_WORKER_TOKEN: known.invite });
  await waitFor(() => output.stdout.includes("Connected to pool"), 60_000, "the worker with the older invite");
  const answer = await chat(known.client_key);
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 3 } });
  await waitFor(async () => (await app())?.requests === 3, 10_000, "the job to be on record");
  expect(await app()).toMatchObject({ completion_tokens: 13 });

  // The log goes on where it was: the worker of then joined, that of now did too, and the chain holds.
  const { ok, events } = (await json("events", "verify")) as { ok: boolean; events: number };
  expect({ ok, events: events >= 2 }).toEqual({ ok: true, events: true });
  await pool.stop();
  const again = await startPool({ stateDir });
  expect(again.output()).not.toContain("Applied migration");
  await again.stop();
});
