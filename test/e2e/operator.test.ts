import { chmodSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { readCredentials } from "../../scripts/runtime/credentials.ts";
import { ligand, startPool, startRefused, temporaryFolder } from "./support.ts";

const status = async (url: string, token: string) =>
  (await fetch(`${url}/admin/api/pool`, { headers: { authorization: `Bearer ${token}` } })).status;
async function json(args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await ligand([...args, "--json"], env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** The pool's D1, as an operator sees it who restores a copy. */
function openD1(stateDir: string): DatabaseSync {
  const files = globSync(join(stateDir, "pool/d1/*/*.sqlite")).filter((file) => !file.endsWith("metadata.sqlite"));
  expect(files).toHaveLength(1);
  return new DatabaseSync(files[0] ?? "");
}

describe("ligand pool admins", () => {
  it("makes, lists, rotates and revokes named tokens; the bootstrap token is rotated while the pool is stopped", async () => {
    const pool = await startPool();
    const here = ["--state", pool.stateDir];
    const alice = await json(["pool", "admins", "create", "alice", ...here]);
    const as = (token: unknown) => ({ LIGAND_POOL: pool.url, LIGAND_ADMIN_TOKEN: String(token) });
    const key = await json(["pool", "keys", "create", "--label", "app"], as(alice.token));
    expect((await pool.admin.keys()).find(({ id }) => id === key.id)).toMatchObject({ created_by: "alice" });
    const fresh = await json(["pool", "admins", "rotate", String(alice.id), ...here]);
    expect(await status(pool.url, String(alice.token))).toBe(401);
    expect(await status(pool.url, String(fresh.token))).toBe(200);
    await json(["pool", "admins", "revoke", String(fresh.id), ...here]);
    const refused = await ligand(["pool", "admins", "list"], as(fresh.token));
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("refuses this admin token") });
    const words = await ligand(["pool", "admins", "list", ...here]);
    expect(words.stdout).toContain("by admin");
    expect(words.stdout).not.toContain(String(fresh.token));

    const running = await ligand(["pool", "admins", "rotate", ...here]);
    expect(running).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`in use by a pool runner: pid ${pool.pid}`),
    });
    await pool.stop();
    const old = pool.credentials.admin_token;
    const rotated = await json(["pool", "admins", "rotate", ...here]);
    expect(rotated).toEqual({ rotated: "admin", credentials: join(pool.stateDir, "credentials.json") });
    expect(readFileSync(join(pool.stateDir, "secrets.json"), "utf8")).not.toContain(old);
    const again = await startPool({ stateDir: pool.stateDir });
    expect(again.credentials).toMatchObject({
      atom_id: pool.credentials.atom_id,
      client_key: pool.credentials.client_key,
    });
    expect(await status(again.url, old)).toBe(401);
    expect(await status(again.url, readCredentials(pool.stateDir)?.admin_token ?? "")).toBe(200);
    await again.stop();
  });

  it.each<[args: string[], code: number, says: string]>([
    [["create"], 2, "NAME is missing."],
    [["rotate", "--pool", "https://pool.example"], 2, "wrangler secret put ADMIN_TOKEN"],
    [["rotate", "--state", temporaryFolder()], 1, "There is no pool in"],
  ])("%j is refused, and the error says what to do", async (args, code, says) => {
    const done = await ligand(["pool", "admins", ...args]);
    expect(done).toMatchObject({ code, stderr: expect.stringContaining(says) });
    expect(done.stderr).not.toContain("    at ");
  });
});

describe("ligand pool doctor", () => {
  it("reports a healthy pool as healthy, and names what is wrong with an unhealthy one", async () => {
    const pool = await startPool();
    const here = ["pool", "doctor", "--state", pool.stateDir];
    const healthy = await json(here);
    expect(healthy.ok).toBe(true);
    const [lane] = healthy.lanes as { holds: Record<string, number> }[];
    expect(lane?.holds).toMatchObject({ jobs: 0, answers: 0, request_bytes: 0 });
    const states = (healthy.checks as { name: string; state: string }[]).map(({ name, state }) => [name, state]);
    expect(Object.fromEntries(states)).toMatchObject({
      pool: "ok",
      clock: "ok",
      database: "ok",
      migrations: "ok",
      "records: lane main": "ok",
      "records: event log": "ok",
      "records: admin tokens": "ok",
      TLS: "ok",
      "host names": "ok",
      secrets: "ok",
      "lane main": "warn",
    });
    chmodSync(join(pool.stateDir, "secrets.json"), 0o644);
    const open = await ligand(here);
    expect(open).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^fail {2}secrets.*other users of this machine/m),
    });
    expect(open.stdout).toContain("→ chmod 600");
    chmodSync(join(pool.stateDir, "secrets.json"), 0o600);
    await pool.stop();
    const stopped = await ligand(here);
    expect(stopped).toMatchObject({ code: 1, stdout: expect.stringMatching(/^fail {2}pool.*does not answer/m) });
    for (const { stdout } of [open, stopped]) expect(stdout).not.toContain(pool.credentials.admin_token);
  });

  it("finds a migration that a restored database lacks, and its remedy applies it", async () => {
    const pool = await startPool();
    const { stateDir } = pool;
    const here = ["pool", "doctor", "--state", stateDir];
    const d1 = openD1(stateDir);
    // The tables are the persisted contract under test. A copy from before the migration lacks its changes and its
    // record.
    d1.exec("DROP TRIGGER events_no_update; DELETE FROM d1_migrations WHERE name LIKE '0003%'");
    for (const name of ["events_no_delete", "events_no_reinsert"]) d1.exec(`DROP TRIGGER ${name}`);
    d1.close();
    const ill = await ligand(here);
    expect(ill).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^fail {2}migrations .* 0003\w+\.sql not applied\n +→ Stop the pool and start it/m),
    });
    await pool.stop();
    const again = await startPool({ stateDir });
    expect(again.output()).toContain("Applied migration 0003");
    expect((await ligand(here)).stdout).toMatch(/^ok {4}migrations/m);
    await again.stop();
    const triggers = openD1(stateDir);
    const ofEvents = "SELECT count(*) AS n FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'";
    expect(triggers.prepare(ofEvents).get()).toEqual({ n: 3 });
    // A database whose tables exist without their migration records stops a start, and its rows stay.
    triggers.exec("DELETE FROM d1_migrations");
    triggers.close();
    const refused = await startRefused({ stateDir });
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Migration 0000\w+\.sql failed on D1/),
    });
    expect(refused.stderr).not.toContain("    at ");
    const kept = openD1(stateDir);
    expect(kept.prepare("SELECT count(*) AS n FROM client_keys").get()).toEqual({ n: 1 });
    kept.close();
  });
});
