import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readMigrations } from "../../scripts/runtime/migrations.ts";
import { expectSound, streams } from "./federation-support.ts";
import {
  ligand,
  type PoolProcess,
  seedMeasurements,
  spawnLigand,
  startPool,
  temporaryFolder,
  waitFor,
} from "./support.ts";

/**
 * State folders of older releases, started by today's code. Their tables and keys are the persisted contract under
 * test.
 */

const MIGRATIONS = fileURLToPath(new URL("../../schema/db/migrations", import.meta.url));
const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), "utf8");

type Files = Record<string, object>;

function writeFiles(folder: string, files: Record<string, object | string>): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content), { mode: 0o600 });
  }
}

/** Restores the databases of a fixture below a folder. */
function writeDatabases(folder: string, dump: string): void {
  const [, ...databases] = fixture(dump).split(/^-- file: /m);
  for (const text of databases) {
    const [name = "", ...sql] = text.split("\n");
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const database = new DatabaseSync(file);
    database.exec(sql.join("\n"));
    database.close();
  }
  expect(databases.length).toBeGreaterThan(10);
}

/** The migrations that a start reported as applied. */
const applied = (pool: PoolProcess) =>
  [...pool.output().matchAll(/^Applied migration (.+)\.$/gm)].map(([, name]) => name);

/** The migrations from this one on. */
const migrationsFrom = (first: string) =>
  readMigrations(MIGRATIONS)
    .map(({ name }) => name)
    .filter((name) => name >= first);

const chat = (pool: PoolProcess, key: string) =>
  fetch(`${pool.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "auto", messages: [{ role: "user", content: "Hello?" }], max_tokens: 3 }),
  });

it("a pool from before federation keeps its record, its keys and its objects, and works", async () => {
  const { files, known } = JSON.parse(fixture("state-0003.json")) as {
    files: Files;
    known: Record<"client_key" | "revoked_key" | "alice" | "invite", string>;
  };
  const stateDir = temporaryFolder();
  writeFiles(stateDir, files);
  writeDatabases(stateDir, "state-0003.sql");
  const pool = await startPool({ stateDir });
  expect(applied(pool)).toEqual(migrationsFrom("0004"));
  expect(pool.credentials).toEqual({ ...files["credentials.json"], url: pool.url });

  const { admin } = pool;
  expect((await admin.pool()).atom_id).toBe(pool.credentials.atom_id);
  const keys = await admin.keys();
  expect(keys.map(({ label }) => label).sort()).toEqual(["app", "local", "old"]);
  const app = async () => (await admin.keys()).find(({ label }) => label === "app");
  expect(await app()).toMatchObject({ requests: 2, prompt_tokens: 23, completion_tokens: 10, revoked_at: null });
  expect((await admin.admins()).map(({ name }) => name)).toContain("alice");
  expect((await admin.workers()).tokens.map(({ label }) => label).sort()).toEqual(["a laptop", "local"]);
  // The older release had no such switch, so no admin has turned federation on.
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

  expect((await chat(pool, known.revoked_key)).status).toBe(401);

  const workerDir = join(temporaryFolder(), "worker");
  seedMeasurements(workerDir);
  const args = ["worker", "start", "--pool", pool.url, "--state", workerDir];
  const { output } = spawnLigand(args, { LIGAND_WORKER_TOKEN: known.invite });
  await waitFor(() => output.stdout.includes("Connected to pool"), 60_000, "the worker with the older invite");
  const answer = await chat(pool, known.client_key);
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 3 } });
  await waitFor(async () => (await app())?.requests === 3, 10_000, "the job to be on record");
  expect(await app()).toMatchObject({ completion_tokens: 13 });

  // The log continues: it holds the older worker's join and the new one's, and the chain verifies.
  const { ok, events } = (await json("events", "verify")) as { ok: boolean; events: number };
  expect({ ok, events: events >= 2 }).toEqual({ ok: true, events: true });
  await pool.stop();
  const again = await startPool({ stateDir });
  expect(again.output()).not.toContain("Applied migration");
  await again.stop();
});

/** The fixture's pools know each other at these addresses. */
const PORTS = { alder: 18_931, birch: 18_932 } as const;

it("two bonded pools and a worker keep keys, trust, log positions and the queued delivery", async () => {
  const { pools, worker, known } = JSON.parse(fixture("state-0004.json")) as {
    pools: Record<keyof typeof PORTS, Files>;
    worker: Files & { "status.json": { worker: string } };
    known: Record<"client_key" | "invite", string>;
  };
  const folder = temporaryFolder();
  for (const [name, files] of Object.entries(pools)) writeFiles(join(folder, name), files);
  writeDatabases(folder, "state-0004.sql");
  const workerDir = join(folder, "worker");
  seedMeasurements(workerDir);
  writeFiles(workerDir, worker);

  const alder = await startPool({ stateDir: join(folder, "alder"), port: PORTS.alder });
  expect(applied(alder)).toEqual(migrationsFrom("0005"));
  expect(alder.credentials).toEqual(pools.alder["credentials.json"]);
  const app = async () => (await alder.admin.keys()).find(({ label }) => label === "app");
  expect(await app()).toMatchObject({ requests: 2, prompt_tokens: 23, completion_tokens: 10, revoked_at: null });

  // Birch was down when alder granted it trust 3 again: the grant is still queued.
  const { atom_id: birchId } = pools.birch["credentials.json"] as { atom_id: string };
  const before = await alder.admin.peer(birchId);
  expect(before).toMatchObject({ name: "birch", granted: 3, received: 3, effective: 3, deliveries_waiting: 1 });

  // The pool bound the invite to the key of the worker's folder, so no other key could use it.
  const args = ["worker", "start", "--pool", alder.url, "--state", workerDir];
  const { output } = spawnLigand(args, { LIGAND_WORKER_TOKEN: known.invite });
  await waitFor(() => output.stdout.includes("Connected to pool"), 60_000, "the older worker to connect");
  const connected = (await alder.admin.workers()).workers.map(({ worker_id }) => worker_id);
  expect(connected).toEqual([worker["status.json"].worker]);
  expect((await chat(alder, known.client_key)).status).toBe(200);
  await waitFor(async () => (await app())?.requests === 3, 10_000, "the job to be on record");

  const birch = await startPool({ stateDir: join(folder, "birch"), port: PORTS.birch });
  expect(birch.credentials).toEqual(pools.birch["credentials.json"]);
  const delivered = async () => (await alder.admin.peer(birchId)).deliveries_waiting === 0;
  await waitFor(delivered, 60_000, "the queued grant to be delivered");
  const following = async () => (await streams(alder, birch)).every((isStreaming) => isStreaming);
  await waitFor(following, 60_000, "both pools to follow each other");
  for (const [pool, other] of [
    [alder, birch],
    [birch, alder],
  ] as const) {
    const peer = await pool.admin.peer(other.credentials.atom_id);
    expect(peer).toMatchObject({ granted: 3, received: 3, effective: 3, circuit: "closed" });
    for (const { followed, sent } of peer.sync) {
      expect(followed).toMatchObject({ equivocated: false, refused: null });
      expect(sent.started_over_ms).toBeNull();
    }
    await expectSound(pool);
  }
  const after = await alder.admin.peer(birchId);
  for (const [at, { followed }] of before.sync.entries()) {
    expect(after.sync[at]?.followed.seq).toBeGreaterThanOrEqual(followed.seq);
  }
  await Promise.all([alder.stop(), birch.stop()]);
});
