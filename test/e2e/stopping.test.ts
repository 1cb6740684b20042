import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ScriptedServer } from "../agent/http-servers.ts";
import {
  type PoolProcess,
  spawnLigand,
  startPool,
  startWorker,
  temporaryFolder,
  type WorkerProcess,
  waitFor,
} from "./support.ts";

/**
 * What a pool or a worker prints, and how it ends, when it is asked to end: once, twice at one key press, and again
 * later.
 */

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const MODEL = "held";
let pool: PoolProcess;
/** Answers when a test releases it. */
let server: ScriptedServer;
let held: ServerResponse[] = [];
const terminals: ChildProcess[] = [];
beforeAll(async () => {
  pool = await startPool();
  server = await ScriptedServer.listen((response, { path }) => {
    if (path.endsWith("/completions")) held.push(response);
    else json(response, { data: [{ id: MODEL }] });
  });
});
afterAll(() => {
  for (const terminal of terminals) terminal.kill("SIGKILL");
  server.close();
});

const json = (response: ServerResponse, body: object) =>
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));

/** A worker with a job that runs until its answer is released. */
async function busyWorker() {
  held = [];
  const args = ["--engine", "upstream", "--upstream-url", server.url, "--upstream-model", MODEL];
  const worker = await startWorker(pool, { args });
  const client = new AbortController();
  const answer = fetch(`${pool.url}/v1/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${pool.credentials.client_key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: MODEL, prompt: "Wait." }),
    signal: client.signal,
  });
  answer.catch(() => {});
  const response = await waitFor(() => held[0], 10_000, "the job to be at the server");
  const done = { choices: [{ text: "Here.", finish_reason: "stop" }] };
  return { worker, answer, release: () => json(response, done), leave: () => client.abort() };
}
const draining = (worker: WorkerProcess) =>
  waitFor(() => worker.output().includes("Draining: 1 job to finish, no new ones."), 10_000, "the drain to begin");

it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "%s drains a worker without a job, and the worker reports that",
  async (name) => {
    const args = ["--engine", "upstream", "--upstream-url", server.url, "--upstream-model", MODEL];
    const worker = await startWorker(pool, { args });
    expect((await worker.stop(name)).code).toBe(0);
    const lastLines = worker.output().trimEnd().split("\n").slice(-2);
    const last = "The worker has drained. All jobs are finished.";
    expect(lastLines).toEqual(["Draining: 0 jobs to finish, no new ones.", last]);
    expect(worker.status()).toMatchObject({ state: "stopped", stopped: { code: "drained", message: last } });
  },
);

it("Ctrl-C ends a question silently with 130", async () => {
  const { worker, release } = await busyWorker();
  held = [];
  const env = { LIGAND_POOL: pool.url, LIGAND_KEY: pool.credentials.client_key };
  const { child, output } = spawnLigand(["chat", "Hello?", "--model", MODEL], env);
  await waitFor(() => held[0], 20_000, "the question to be at the server");
  const ended = once(child, "exit");
  child.kill("SIGINT");
  expect((await ended)[0]).toBe(130);
  expect(output).toEqual({ stdout: "", stderr: "" });
  release();
  await worker.stop();
});

describe("a worker with a job", () => {
  it("finishes it when a signal comes twice at once, as npm forwards a terminal's Ctrl-C", async () => {
    const { worker, answer, release } = await busyWorker();
    process.kill(worker.pid, "SIGINT");
    await draining(worker);
    process.kill(worker.pid, "SIGTERM");
    release();
    expect(await (await answer).json()).toMatchObject({ choices: [{ text: "Here." }] });
    // No third signal: it could meet the worker while it exits, after Node has removed its handlers.
    expect((await waitFor(() => worker.ended(), 10_000, "the worker to end")).code).toBe(0);
    expect(worker.output()).toContain("A second stop signal ends it immediately.");
    expect(worker.output()).toContain("The worker has drained. All jobs are finished.");
  });

  it("ends immediately with 130 at a second, later signal", async () => {
    const { worker, leave } = await busyWorker();
    process.kill(worker.pid, "SIGTERM");
    await draining(worker);
    const asking = setInterval(() => process.kill(worker.pid, "SIGINT"), 100);
    const { code } = await waitFor(() => worker.ended(), 10_000, "the worker to end");
    clearInterval(asking);
    expect(code).toBe(130);
    leave();
  });
});

// The `script` of util-linux makes a terminal; the one of macOS and BSD has other flags.
describe.skipIf(process.platform !== "linux")("Ctrl-C in a terminal, for a program that npm runs", () => {
  it.each<[what: string, command: () => Promise<string[]>, ready: string, says: string[]]>([
    [
      "a worker without a job",
      async () => {
        const { token } = await pool.admin.invite({});
        const worker = ["worker", "start", "--pool", pool.url, "--state", join(temporaryFolder(), "agent")];
        return [`LIGAND_WORKER_TOKEN=${token}`, "npm", "run", "--silent", "ligand", "--", ...worker];
      },
      "no jobs yet",
      ["Draining: 0 jobs to finish, no new ones.", "The worker has drained. All jobs are finished."],
    ],
    [
      "a pool with its worker",
      async () => ["npm", "--silent", "start", "--", "--port", "0", "--state", join(temporaryFolder(), "state")],
      "Ligand pool ready at",
      ["Stopping …", "worker: The worker has drained."],
    ],
  ])("ends %s with 0, and the program reports it", async (_what, command, ready, says) => {
    const words = (await command()).map((word) => `'${word}'`).join(" ");
    const terminal = spawn("/usr/bin/script", ["-qefc", `exec env ${words}`, "/dev/null"], {
      cwd: ROOT,
      env: { ...process.env, TERM: "xterm" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    terminals.push(terminal);
    const ended = once(terminal, "exit");
    let seen = "";
    terminal.stdout.setEncoding("utf8").on("data", (text: string) => {
      seen += text;
    });
    await waitFor(() => seen.includes(ready), 60_000, ready);
    terminal.stdin.write("\u0003");
    expect((await ended)[0]).toBe(0);
    for (const words of says) expect(seen).toContain(words);
  });
});
