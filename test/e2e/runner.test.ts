import { once } from "node:events";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, it } from "vitest";
import { processIdentity, signal } from "../../worker-agent/state/processes.ts";
import { type PoolProcess, spawnStart, startPool, startRefused, temporaryFolder, waitFor } from "./support.ts";

const models = (pool: PoolProcess) =>
  fetch(`${pool.url}/v1/models`, { headers: { authorization: `Bearer ${pool.credentials.client_key}` } });
const gone = (pid: number) => waitFor(() => processIdentity(pid) === undefined, 5_000, `process ${pid} to end`);

it("a second start on a folder in use is refused and names the first, which continues", async () => {
  const pool = await startPool();
  const second = await startRefused({ stateDir: pool.stateDir });
  expect(second.code).toBe(1);
  expect(second.stderr).toContain(`${pool.stateDir} is in use by a pool runner: pid ${pool.pid}, since 20`);
  expect(second.stderr).toContain(`at ${pool.url}`);
  expect(second.stderr).not.toContain("    at ");
  expect((await models(pool)).status).toBe(200);
  await pool.stop();
});

it("of three simultaneous starts on one folder exactly one succeeds", async () => {
  const stateDir = temporaryFolder();
  const starts = [1, 2, 3].map(() => spawnStart({}, stateDir, "--json"));
  const isReady = ({ output }: (typeof starts)[number]) => output.stdout.includes('"ready":true');
  const hasEnded = ({ child }: (typeof starts)[number]) => child.exitCode !== null;
  await waitFor(() => starts.every((start) => isReady(start) || hasEnded(start)), 60_000, "all to be ready or refused");
  expect(starts.filter(isReady)).toHaveLength(1);
  for (const { output } of starts.filter(hasEnded)) {
    const message = expect.stringContaining("in use by a pool runner: pid");
    expect(JSON.parse(output.stdout)).toEqual({ error: { code: "cli/failed", message } });
  }
});

it("a start warns of secrets that other users can read, and obeys a Ctrl-C that comes before it is ready", async () => {
  const pool = await startPool();
  await pool.stop();
  chmodSync(join(pool.stateDir, "secrets.json"), 0o644);
  const { child, output } = spawnStart({}, pool.stateDir);
  const ended = once(child, "exit");
  await waitFor(() => output.stderr.includes("Other users of this machine can read"), 30_000, "the warning");
  expect(output.stderr).toContain(`chmod 600 ${join(pool.stateDir, "secrets.json")}`);
  child.kill("SIGINT");
  expect((await ended)[0]).toBe(0);
  expect(output.stderr).toContain("Stopping …");
  expect(output.stdout).toBe("");
});

it.each(["SIGTERM", "SIGINT"] as const)("%s ends the pool and its workerd, and the folder is free", async (name) => {
  const pool = await startPool();
  const workerd = pool.workerdPid();
  expect((await pool.stop(name)).code).toBe(0);
  expect(pool.output()).toContain("Stopping … (Ctrl-C again stops immediately)");
  expect(processIdentity(workerd)).toBeUndefined();
  expect(readdirSync(join(pool.stateDir, "lock"))).toEqual([]);
});

it("a restarted pool has the same identity and keys", async () => {
  const before = await startPool();
  const { key, id } = await before.admin.createKey({ label: "kept" });
  await before.stop();
  const after = await startPool({ stateDir: before.stateDir });
  expect(after.credentials).toEqual({ ...before.credentials, url: after.url });
  expect((await models(after)).status).toBe(200);
  const other = await fetch(`${after.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  expect(other.status).toBe(200);
  expect((await after.admin.keys()).find((each) => each.id === id)?.label).toBe("kept");
  expect(after.output()).not.toContain("Applied migration");
  await after.stop();
});

it("a killed runner leaves workerd running; the next start ends it before it opens the state, and removes its temporary files", async () => {
  const before = await startPool();
  const orphan = before.workerdPid();
  await before.kill9();
  expect((await models(before)).status).toBe(200);
  const after = await startPool({ stateDir: before.stateDir });
  expect(after.output()).toContain(`Ended the runtime of an earlier start (pid ${orphan})`);
  expect(processIdentity(orphan)).toBeUndefined();
  expect(after.workerdPid()).not.toBe(orphan);
  expect((await models(after)).status).toBe(200);
  const scratch = () => readdirSync(before.stateDir).filter((name) => name.startsWith("miniflare-")).length;
  expect(scratch()).toBe(1);
  await after.stop();
  expect(scratch()).toBe(0);
});

it("a killed workerd restarts at the same URL with the same state, repeatedly", async () => {
  const pool = await startPool();
  for (const round of [1, 2, 3]) {
    const workerd = pool.workerdPid();
    signal(workerd, "SIGKILL");
    await gone(workerd);
    const answer = await waitFor(() => models(pool), 10_000, `the pool to answer, round ${round}`);
    expect(answer.status).toBe(200);
    expect(pool.workerdPid()).not.toBe(workerd);
  }
  expect(pool.output()).toContain("The pool's runtime runs again.");
  expect((await pool.stop()).code).toBe(0);
});

it("workerd whose port is taken restarts when the port is free", async () => {
  const pool = await startPool();
  const port = Number(new URL(pool.url).port);
  const thief = createServer();
  const listen = () =>
    new Promise<boolean>((resolve) => {
      thief.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
  // The test and the restarted runtime compete for the port; a killed runtime needs a moment to restart.
  await waitFor(
    async () => {
      signal(pool.workerdPid(), "SIGKILL");
      return listen();
    },
    20_000,
    "the port to be taken",
  );
  await waitFor(() => pool.output().includes("does not start"), 20_000, "the runner to notice");
  await new Promise((resolve) => thief.close(resolve));
  const answer = await waitFor(() => models(pool), 20_000, "the pool to answer again");
  expect(answer.status).toBe(200);
  expect((await pool.stop()).code).toBe(0);
});

it("a port in use is reported in one sentence", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const stateDir = join(temporaryFolder(), "fresh");
  const refused = await startRefused({ port, stateDir });
  server.close();
  expect(existsSync(stateDir)).toBe(false);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain(`Port ${port} on 127.0.0.1 is in use. Choose another with --port`);
  expect(refused.stderr).not.toContain("    at ");
});

it("a start beyond loopback requires --insecure", async () => {
  const refused = await startRefused({ args: ["--no-worker", "--host", "0.0.0.0"] });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("--insecure");
  const pool = await startPool({ args: ["--no-worker", "--host", "0.0.0.0", "--insecure"] });
  expect((await models(pool)).status).toBe(200);
  expect(pool.output()).toContain(`receive the URL ${pool.url}, which works only on this machine.`);
  await pool.stop();
});

it.each<[args: string[], says: string]>([
  [["--port", "70000"], "--port must be a whole number from 0 to 65535"],
  [["--bogus"], "Unknown option '--bogus'"],
  [["--public-url", "https://pool.example/v1"], '"https://pool.example/v1" is not the URL of a pool'],
  [["--public-url", "wss://pool.example"], "without a path"],
  [["--public-url", "https://me:secret@pool.example"], "is not the URL of a pool"],
  [["extra"], 'Unexpected argument "extra"'],
])("%j is a usage error", async (args, says) => {
  const refused = await startRefused({ args });
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining(says) });
});

it("secrets are only in files of mode 0600: in no process's arguments or environment, and in no output", async () => {
  const pool = await startPool();
  const secrets = JSON.parse(readFileSync(join(pool.stateDir, "secrets.json"), "utf8")) as Record<string, string>;
  for (const name of ["credentials.json", "secrets.json"]) {
    expect(statSync(join(pool.stateDir, name)).mode & 0o777).toBe(0o600);
  }
  expect(statSync(pool.stateDir).mode & 0o777).toBe(0o700);
  const shown = [pool.pid, pool.workerdPid()].flatMap((pid) =>
    ["cmdline", "environ"].map((file) => readFileSync(`/proc/${pid}/${file}`, "latin1")),
  );
  const hidden = [...Object.values(secrets), pool.credentials.client_key];
  expect(hidden).toHaveLength(4);
  for (const secret of hidden) {
    expect(shown.some((text) => text.includes(secret))).toBe(false);
    expect(pool.output()).not.toContain(secret);
  }
  await pool.stop();
});
