import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { adminClient } from "../../scripts/runtime/admin-client.ts";
import { startPool as runPool } from "../../scripts/runtime/pool-runtime.ts";
import { loadSecrets, saveSecrets } from "../../scripts/runtime/pool-secrets.ts";
import { endOrphan } from "../../scripts/runtime/workerd-record.ts";
import {
  ligand,
  type PoolProcess,
  spawnLigand,
  startPool,
  startRefused,
  startWorker,
  temporaryFolder,
  type WorkerProcess,
  waitFor,
} from "./support.ts";

/** A pool with admins, keys, workers and records is exported, and imported elsewhere. */

const LIGAND_PASSPHRASE = "a passphrase of the tests";
const folder = temporaryFolder();
const file = join(folder, "pool.export");
let pool: PoolProcess;
let worker: WorkerProcess;
let key: { id: string; key: string };
let revoked: { id: string; key: string };
let alice: { id: string; token: string };
let invite: { id: string; token: string };
let exported: number;

const models = async (url: string, secret: string) =>
  (await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${secret}` } })).status;
const chat = async (url: string, secret: string) => {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "auto", messages: [{ role: "user", content: "Hello?" }], max_tokens: 3 }),
  });
  await response.text();
  return response.status;
};
const command = (args: string[], env: Record<string, string> = {}) =>
  ligand(["pool", ...args], { LIGAND_PASSPHRASE, ...env });
async function json(args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await command([...args, "--json"], env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as { atom_id: string; rows: number };
}
/** What an operator sees of a pool, without the values that always differ. */
const seen = async ({ admin }: Pick<PoolProcess, "admin">) => ({
  pool: await admin.pool(),
  admins: await admin.admins(),
  keys: await admin.keys(),
  tokens: (await admin.workers()).tokens.map(({ connected: _connected, ...token }) => token),
});

const mode = (path: string) => statSync(path).mode & 0o777;
const events = async ({ admin }: Pick<PoolProcess, "admin">) => (await admin.events("all", 1)).head;
/** Files in a state folder that other users can access. */
function open(stateDir: string): string[] {
  const inside = readdirSync(stateDir, { recursive: true, encoding: "utf8" });
  expect(inside).toEqual(expect.arrayContaining([".gitignore", "secrets.json", "credentials.json", "pool/d1"]));
  expect(inside.filter((name) => name.endsWith(".sqlite")).length).toBeGreaterThan(4);
  return inside.filter((name) => {
    const path = join(stateDir, name);
    return mode(path) !== (statSync(path).isDirectory() ? 0o700 : 0o600);
  });
}

beforeAll(async () => {
  // The most permissive umask that people use: private files are private because the program makes them so.
  process.umask(0o000);
  pool = await startPool();
  worker = await startWorker(pool, { slots: 1 });
  key = await pool.admin.createKey({ label: "app" });
  revoked = await pool.admin.createKey({ label: "old app" });
  await pool.admin.revokeKey(revoked.id);
  alice = await pool.admin.createAdmin("alice");
  invite = await pool.admin.invite({ label: "not used yet" });
  await pool.admin.changePool({
    name: "Alder",
    description: "by the brook",
    defaults: { requests_per_minute: 9, tokens_per_minute: 10_000, streams: 2 },
  });
  for (let i = 0; i < 3; i++) expect(await chat(pool.url, key.key)).toBe(200);
});

it("a running pool is exported whole, with jobs that have just ended, into a file that reveals nothing", async () => {
  const done = await json(["export", file, "--state", pool.stateDir]);
  // An admin, three keys, two tokens, a worker and three jobs; and the log.
  exported = 1 + 3 + 2 + 1 + 3 + (await events(pool));
  expect(done).toEqual({ file, atom_id: pool.credentials.atom_id, rows: exported });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["pool.export"]);
  const text = readFileSync(file, "latin1");
  for (const secret of [pool.credentials.atom_id, key.id, "alice", "Alder"]) expect(text).not.toContain(secret);
});

it("the imported pool has the same identity, keys, admins, workers and records; what was revoked stays revoked", async () => {
  const was = await seen(pool);
  await pool.stop();
  const stateDir = join(temporaryFolder(), "fresh");
  const { atom_id } = pool.credentials;
  expect(await json(["import", file, "--state", stateDir])).toEqual({ atom_id, rows: exported });
  expect(mode(stateDir)).toBe(0o700);
  expect(open(stateDir)).toEqual([]);
  expect(readFileSync(join(stateDir, ".gitignore"), "utf8")).toBe("*\n");
  const again = await startPool({ stateDir });
  expect(again.credentials).toEqual({ ...pool.credentials, url: again.url });
  expect(await seen(again)).toEqual(was);
  // The kill switch is not in an export, which may be older than an `off`. So an imported pool has federation off.
  expect((await again.admin.federation()).policy.federation).toBe("off");
  expect(was.keys.find(({ id }) => id === key.id)).toMatchObject({ requests: 3 });
  expect(await models(again.url, key.key)).toBe(200);
  expect(await models(again.url, revoked.key)).toBe(401);
  const asAlice = { LIGAND_POOL: again.url, LIGAND_ADMIN_TOKEN: alice.token };
  expect((await command(["keys", "list"], asAlice)).code).toBe(0);
  expect((await again.admin.revokeToken(invite.id)).id).toBe(invite.id);

  // The worker reconnects with its token and key.
  await worker.stop();
  const tokenFile = join(dirname(worker.stateDir), "token");
  spawnLigand(["worker", "start", "--pool", again.url, "--token-file", tokenFile, "--state", worker.stateDir]);
  const { workers } = await waitFor(
    async () => {
      const now = await again.admin.workers();
      return now.workers.length > 0 && now;
    },
    30_000,
    "the worker to be back",
  );
  expect(workers).toMatchObject([{ worker_id: worker.workerId, token_id: worker.tokenId }]);
  expect(await chat(again.url, key.key)).toBe(200);
  const requests = async () => (await again.admin.keys()).find(({ id }) => id === key.id)?.requests;
  await waitFor(async () => (await requests()) === 4, 5_000, "the job to be on record");
  await again.stop();
  pool = { ...pool, stateDir };
});

it("a stopped pool is exported too, and stays stopped", async () => {
  const stopped = join(folder, "stopped.export");
  expect((await json(["export", stopped, "--state", pool.stateDir])).rows).toBeGreaterThan(exported);
  expect(readdirSync(join(pool.stateDir, "lock"))).toEqual([]);
  expect(open(pool.stateDir)).toEqual([]);
});

describe("the folder of an import", () => {
  const given = (mode: number, holds: string[] = []) => {
    const stateDir = join(temporaryFolder(), "given");
    mkdirSync(stateDir);
    for (const name of holds) writeFileSync(join(stateDir, name), "");
    chmodSync(stateDir, mode);
    return stateDir;
  };
  const importing = (stateDir: string) =>
    spawnLigand(["pool", "import", file, "--state", stateDir, "--json"], { LIGAND_PASSPHRASE });

  it("may exist if it is empty and private, and then holds the same files as after a start", async () => {
    const stateDir = given(0o700);
    await json(["import", file, "--state", stateDir]);
    expect(open(stateDir)).toEqual([]);
  });

  it.each<[what: string, mode: number, holds: string[], says: string]>([
    ["readable by others", 0o755, [], "Other users can read"],
    ["the group's", 0o770, [], "Other users can read"],
    ["in use", 0o700, ["a photo"], "is not empty (a photo)"],
    ["the folder of a pool", 0o700, ["pool", "secrets.json"], "already holds a pool"],
  ])("that is %s is refused and not changed", async (_what, given_, holds, says) => {
    const stateDir = given(given_, holds);
    const done = await command(["import", file, "--state", stateDir]);
    expect(done).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(says) });
    expect([mode(stateDir), readdirSync(stateDir)]).toEqual([given_, holds]);
  });

  it.each<[where: string, folder: () => string, left: boolean]>([
    ["that the import made is removed", () => join(temporaryFolder(), "fresh"), false],
    ["that existed is empty again", () => given(0o700), true],
  ])("%s when the import is interrupted", async (_what, folder, left) => {
    const stateDir = folder();
    const { child, output } = importing(stateDir);
    const exited = once(child, "exit");
    await waitFor(() => existsSync(join(stateDir, "workerd.pid")), 30_000, "the import to be under way");
    child.kill("SIGINT");
    expect((await exited)[0]).toBe(1);
    expect(output.stdout).toContain("Cancelled.");
    expect(existsSync(stateDir)).toBe(left);
    if (left) expect(readdirSync(stateDir)).toEqual([]);
  });

  it("of a killed import is not started as a pool", async () => {
    const stateDir = join(temporaryFolder(), "fresh");
    const { child } = importing(stateDir);
    const exited = once(child, "exit");
    await waitFor(() => existsSync(join(stateDir, "pool")), 30_000, "the import to be under way");
    child.kill("SIGKILL");
    await exited;
    const refused = await startRefused({ stateDir });
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("an import was interrupted") });
    await endOrphan(join(stateDir, "workerd.pid"));
  });
});

it("a pool elsewhere is exported and imported through its admin API by an operator who kept its secret key", async () => {
  const secrets = loadSecrets(pool.stateDir);
  const log = () => {};
  const from = await runPool({ stateDir: pool.stateDir, port: 0, log });
  const remote = join(folder, "remote.export");
  const env = { LIGAND_POOL: from.url, LIGAND_ADMIN_TOKEN: secrets.admin_token };
  const refused = await command(["export", remote], env);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("LIGAND_POOL_SECRET_KEY") });
  const { rows } = await json(["export", remote], { ...env, LIGAND_POOL_SECRET_KEY: secrets.pool_secret_key });
  expect(rows).toBe(11 + (await events({ admin: adminClient(from.url, secrets.admin_token) })));
  const occupied = await command(["import", remote], env);
  expect(occupied).toMatchObject({ code: 1, stderr: expect.stringContaining("not empty (rows: 11)") });
  await from.stop();

  const other = await runPool({ stateDir: temporaryFolder(), port: 0, log });
  const toOther = { LIGAND_POOL: other.url, LIGAND_ADMIN_TOKEN: other.secrets.admin_token };
  expect(await command(["import", remote], toOther)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("set its POOL_SECRET_KEY"),
  });
  await other.stop();

  const fresh = temporaryFolder();
  saveSecrets(fresh, secrets);
  const to = await runPool({ stateDir: fresh, port: 0, log });
  expect(await json(["import", remote], { ...env, LIGAND_POOL: to.url })).toMatchObject({ rows });
  expect(await models(to.url, key.key)).toBe(200);
  await to.stop();
});

describe("an export or import that cannot be done reports the reason and leaves no file", () => {
  const fresh = () => join(temporaryFolder(), "state");
  it.each<[what: string, args: () => string[], env: Record<string, string>, code: number, says: string]>([
    [
      "an import into the folder of a pool",
      () => ["import", file, "--state", pool.stateDir],
      {},
      1,
      "already holds a pool",
    ],
    [
      "a wrong passphrase",
      () => ["import", file],
      { LIGAND_PASSPHRASE: "not that one at all" },
      1,
      "The passphrase is wrong",
    ],
    ["a file that does not exist", () => ["import", join(folder, "nowhere")], {}, 1, "Cannot use "],
    ["a file that is not an export", () => ["import", join(pool.stateDir, "secrets.json")], {}, 1, "not an export"],
    ["a missing passphrase", () => ["import", file], { LIGAND_PASSPHRASE: "" }, 2, "Set LIGAND_PASSPHRASE"],
    ["a short passphrase", () => ["export", join(folder, "x")], { LIGAND_PASSPHRASE: "short" }, 2, "at least 12"],
    ["an export to an existing file", () => ["export", file, "--state", pool.stateDir], {}, 1, "already exists"],
    ["an export without a pool", () => ["export", join(folder, "x")], {}, 1, "There is no pool in"],
  ])("%s", async (_what, args, env, code, says) => {
    const stateDir = fresh();
    const given = args();
    const done = await command(given.includes("--state") ? given : [...given, "--state", stateDir], env);
    expect(done).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(says) });
    expect(done.stderr).not.toContain("    at ");
    expect(existsSync(stateDir)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.includes(".part"))).toEqual([]);
  });
});

const SCRIPT = "/usr/bin/script";
it.skipIf(!existsSync(SCRIPT))("in a terminal the passphrase is asked for and not echoed", async () => {
  const words = [
    process.execPath,
    "scripts/ligand.ts",
    "pool",
    "import",
    file,
    "--state",
    join(temporaryFolder(), "s"),
  ];
  const { LIGAND_PASSPHRASE: _unset, ...env } = process.env;
  const terminal = spawn(SCRIPT, ["-qefc", words.join(" "), "/dev/null"], { env, stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(terminal, "exit");
  let shown = "";
  terminal.stdout.setEncoding("utf8").on("data", (text: string) => {
    shown += text;
    if (text.includes("Passphrase: ")) terminal.stdin.write("a typed passphrase\n");
  });
  expect((await exited)[0]).toBe(1);
  expect(shown).toContain("The passphrase is wrong");
  expect(shown).not.toContain("typed");
});
