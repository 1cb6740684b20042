import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { keyTagger } from "../../schema/crypto/api-keys.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { ligand, spawnLigand, startPool, startRefused, temporaryFolder, waitFor } from "./support.ts";

/** Which folders hold state, and who owns them. */

const mode = (path: string) => statSync(path).mode & 0o1777;

it("an existing folder keeps its mode, and the files that are put into it are private", async () => {
  const stateDir = join(temporaryFolder(), "open");
  mkdirSync(stateDir);
  chmodSync(stateDir, 0o755);
  const pool = await startPool({ stateDir });
  await pool.stop();
  expect(mode(stateDir)).toBe(0o755);
  const inside = readdirSync(stateDir, { recursive: true, encoding: "utf8" });
  expect(inside).toContain("secrets.json");
  expect(inside.filter((name) => (mode(join(stateDir, name)) & 0o077) !== 0)).toEqual([]);
});

it.each([
  ["writable by everyone", 0o1777, []],
  ["another user's", 0o755, ["a photo"]],
])("npm start refuses a folder that is %s", async (_whose, given, holds) => {
  const stateDir = join(temporaryFolder(), "theirs");
  mkdirSync(stateDir);
  for (const name of holds) writeFileSync(join(stateDir, name), "");
  chmodSync(stateDir, given);
  const { code, stderr } = await startRefused({ stateDir });
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("is not safe for keys") });
  expect(mode(stateDir)).toBe(given);
  expect(readdirSync(stateDir)).toEqual(holds);
});

type Refused = [what: string, stateDir: () => string, says: RegExp];
const onLinux: Refused[] = [
  ["where no folder can be made", () => "/proc/ligand", /This user cannot make or use the folder \/proc\/ligand/],
];
it.each<Refused>([
  ["a file", () => import.meta.filename, /state-folders\.test\.ts is not a folder\.$/m],
  ["in a file", () => join(import.meta.filename, "state"), /state is not a folder\.$/m],
  ...(process.platform === "linux" ? onLinux : []),
])("npm start and a worker immediately refuse a state folder that is %s", async (_what, stateDir, says) => {
  const start = await startRefused({ stateDir: stateDir() });
  expect(start).toMatchObject({ code: 1, stdout: "" });
  expect(start.stderr.trimEnd()).toMatch(says);
  const secret = generateSecretKey();
  const { text } = await (await keyTagger(secret, (await signerFrom(secret)).id)).mint("lw");
  const args = ["worker", "start", "--pool", "http://127.0.0.1:9", "--state", stateDir()];
  const worker = await ligand(args, { LIGAND_WORKER_TOKEN: text });
  expect(worker).toMatchObject({ code: 1, stdout: expect.stringMatching(says), stderr: "" });
});

it("two workers of one user stay connected; the second does not measure again; a folder serves one worker at a time", async () => {
  const pool = await startPool();
  const home = temporaryFolder();
  const tokens = await Promise.all([pool.admin.invite({}), pool.admin.invite({})]);
  const start = async (token: string) => {
    const env = { XDG_STATE_HOME: home, LIGAND_POOL: pool.url, LIGAND_WORKER_TOKEN: token };
    const { output } = spawnLigand(["worker", "start", "--log", "text"], env);
    await waitFor(() => output.stdout.includes("Connected to pool"), 60_000, "the worker to be connected");
    return output;
  };
  const first = await start(tokens[0].token);
  const second = await start(tokens[1].token);
  expect(first.stdout).toContain("measured now");
  expect(second.stdout).toContain("measured before");

  // Both answer a command that comes after both have connected: neither has replaced the other.
  const { workers } = await pool.admin.workers();
  expect(workers.map((worker) => worker.token_id).sort()).toEqual(tokens.map(({ id }) => id).sort());
  expect(new Set(workers.map((worker) => worker.worker_id)).size).toBe(2);
  for (const output of [first, second]) expect(output.stdout).not.toContain("Disconnected");
  expect(readdirSync(join(home, "ligand", "worker")).sort()).toEqual(
    [...tokens.map(({ id }) => id), "calibration.json", "model-hashes.json"].sort(),
  );

  const folder = join(home, "ligand", "worker", tokens[0].id);
  const env = { LIGAND_POOL: pool.url, LIGAND_WORKER_TOKEN: tokens[1].token };
  const third = await ligand(["worker", "start", "--state", folder], env);
  expect(third).toMatchObject({ code: 1, stdout: expect.stringMatching(/in use by a worker: pid \d+, since 20/) });
  const which = await ligand(["worker", "status"], { XDG_STATE_HOME: home });
  expect(which).toMatchObject({ code: 2, stderr: expect.stringContaining(`--state ${folder}`) });
  expect((await ligand(["worker", "status", "--state", folder])).code).toBe(0);
  await pool.stop();
});
