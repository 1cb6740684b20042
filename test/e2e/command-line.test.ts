import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { keyTagger } from "../../schema/crypto/api-keys.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { readCredentials } from "../../scripts/runtime/credentials.ts";
import { processIdentity } from "../../worker-agent/state/processes.ts";
import { AGENT_VERSION } from "../../worker-agent/version.ts";
import {
  ligand,
  type PoolProcess,
  run,
  spawnShell,
  startPool,
  startRefused,
  startWorker,
  temporaryFolder,
  waitFor,
} from "./support.ts";

/** The command line, run against `npm start` with its worker. */

let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool({ args: [] });
});

const here = () => ["--state", pool.stateDir];
async function json(...args: string[]) {
  const { code, stdout, stderr } = await ligand([...args, ...here(), "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.trim().split("\n")).toHaveLength(1);
  return JSON.parse(stdout) as Record<string, unknown>;
}
const withKey = (key: unknown) =>
  fetch(`${pool.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "auto", messages: [{ role: "user", content: "Hello?" }], max_tokens: 1 }),
  });

describe("an operator", () => {
  it("invites a worker with a chosen expiry", async () => {
    const invite = await json("pool", "invite", "--expires", "12h", "--label", "a laptop");
    expect(Object.keys(invite).sort()).toEqual(["expires_at", "id", "token"]);
    expect(invite.token).toMatch(/^lw_/);
    const hours = (Date.parse(String(invite.expires_at)) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(11.9);
    expect(hours).toBeLessThanOrEqual(12.01);
    const listed = await json("pool", "workers");
    expect(listed.tokens).toContainEqual(
      expect.objectContaining({ id: invite.id, label: "a laptop", connected: false }),
    );
    expect(JSON.stringify(listed)).not.toContain(String(invite.token));
    const revoked = await json("pool", "workers", "revoke", String(invite.id));
    expect(revoked).toEqual({ id: invite.id, recorded: true, revoked_at: expect.stringMatching(/^20/) });
  });

  it("gets the command that starts the worker with the invite, and the token in a separate file", async () => {
    const { code, stdout } = await ligand(["pool", "invite", "--label", "pasted", ...here()]);
    const [token, , , , command = ""] = stdout.split("\n");
    const [, file = ""] = /--token-file (worker-[0-9a-f]+\.token)$/.exec(command) ?? [];
    expect({ code, command }).toEqual({
      code: 0,
      command: `  npm run ligand -- worker start --pool ${pool.url} --token-file ${file}`,
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8").trim()).toBe(token);

    // Run the command as a person would paste it.
    const env = { XDG_STATE_HOME: temporaryFolder() };
    const { child, output } = spawnShell(command, env);
    await waitFor(() => output.stdout.includes("Connected to pool"), 60_000, "the worker to be connected");
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    expect((await ended)[0]).toBe(0);
    expect(output.stdout).toContain("The worker has drained. All jobs are finished.");
    expect(output.stdout + output.stderr).not.toContain("chmod");
    rmSync(file);
  });

  it("makes, lists and revokes client keys", async () => {
    const made = await json("pool", "keys", "create", "--label", "app", "--rpm", "7", "--streams", "3");
    expect(Object.keys(made).sort()).toEqual(["id", "key"]);
    expect((await withKey(made.key)).status).toBe(200);
    const { keys } = await json("pool", "keys", "list");
    expect(keys).toContainEqual(
      expect.objectContaining({ id: made.id, label: "app", requests_per_minute: 7, streams: 3, revoked_at: null }),
    );
    expect(JSON.stringify(keys)).not.toContain(String(made.key));
    await json("pool", "keys", "revoke", String(made.id));
    expect((await withKey(made.key)).status).toBe(401);
  });

  it("lists the worker of npm start", async () => {
    const { workers } = await json("pool", "workers");
    expect(workers).toEqual([
      expect.objectContaining({ models: [expect.objectContaining({ name: "ligand-embedded" })] }),
    ]);
    const words = await ligand(["pool", "workers", ...here()]);
    expect(words.stdout).toContain("ligand-embedded");
    expect(words.stdout).toContain("connected");
  });

  it.each<[what: string, args: string[], says: string]>([
    ["a key that does not exist", ["pool", "keys", "revoke", "nobody"], "no such client key"],
    ["a token that does not exist", ["pool", "workers", "revoke", "nobody"], "no such worker token"],
    [
      "a state folder without a pool",
      ["pool", "workers", "--state", "/nowhere"],
      "There is no /nowhere/credentials.json",
    ],
    [
      "a pool whose admin token is not set",
      ["pool", "workers", "--pool", "https://pool.example"],
      "Set LIGAND_ADMIN_TOKEN",
    ],
  ])("%s fails, and the error says what to do", async (_what, args, says) => {
    const { code, stdout, stderr } = await ligand(args.includes("--state") ? args : [...args, ...here()]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("    at ");
  });

  it.each<[args: string[], says: string]>([
    [["pool", "invite", "--expires", "99999d"], '--expires must be at most 3650d, not "99999d".'],
    [["pool", "invite", "--label", "x".repeat(101)], "--label must have at most 100 characters; it has 101."],
    [["pool", "keys", "create", "--label", "x".repeat(101)], "--label must have at most 100 characters; it has 101."],
    [["pool", "admins", "create", "admin"], 'and is not "admin".'],
    [["pool", "admins", "create", "x".repeat(101)], "at most 100 characters"],
  ])("%j is refused, and the error states the bound", async (args, says) => {
    const done = await ligand([...args, ...here()]);
    expect(done).toEqual({ code: 2, stdout: "", stderr: expect.stringContaining(says) });
    expect(done.stderr).not.toContain("body");
  });

  it.each<[args: string[], code: number, error: { code: string; message: string }]>([
    [["pool", "keys", "revoke"], 2, { code: "cli/usage", message: "ID is missing." }],
    [
      ["pool", "keys", "create", "--rpm", "x"],
      2,
      { code: "cli/usage", message: expect.stringContaining("--rpm must be") },
    ],
    [["pool", "keys", "revoke", "nobody"], 1, { code: "keys/not-found", message: expect.stringContaining("no such") }],
    [["chat", "Hello?", "--model", "gpt-0"], 1, { code: "inference/model-not-found", message: expect.any(String) }],
    [["chat", "Hello?", "--pool", "http://127.0.0.1:9"], 1, { code: "cli/failed", message: expect.any(String) }],
    [
      ["pool", "invite", "--expires", "soon"],
      2,
      { code: "cli/usage", message: expect.stringContaining("such as 30d") },
    ],
    [["pool", "workers", "revoke", "nobody"], 1, { code: "workers/not-found", message: expect.any(String) }],
    [["pool", "admins", "revoke", "nobody"], 1, { code: "admins/not-found", message: expect.any(String) }],
    [["pool", "export", "/nowhere/pool.export"], 2, { code: "cli/usage", message: expect.any(String) }],
    [["pool", "import", "/nowhere/pool.export"], 2, { code: "cli/usage", message: expect.any(String) }],
    [["peers", "show", "0".repeat(64)], 1, { code: "federation/peer-not-found", message: expect.any(String) }],
    [["federation", "set", "nothing=1"], 2, { code: "cli/usage", message: expect.any(String) }],
    [["events", "tail", "--limit", "x"], 2, { code: "cli/usage", message: expect.stringContaining("--limit must be") }],
    [["worker", "status", "--state", "/nowhere"], 1, { code: "cli/failed", message: expect.any(String) }],
    [["worker", "start"], 2, { code: "cli/usage", message: expect.stringContaining("No token is given.") }],
    [["worker", "install"], 2, { code: "cli/usage", message: expect.stringContaining("--user") }],
    [["worker", "uninstall"], 2, { code: "cli/usage", message: expect.stringContaining("--user") }],
    [["worker", "profile", "--what"], 2, { code: "cli/usage", message: "Unknown option '--what'." }],
  ])("%j with --json prints the error as JSON", async (args, code, error) => {
    const local = args[0] === "worker" ? [] : here();
    const done = await ligand([...args, ...local, "--json"]);
    expect({ ...done, stdout: JSON.parse(done.stdout) }).toEqual({ code, stdout: { error }, stderr: "" });
  });

  it("reads pool and token from the environment, and gets an error when they are wrong", async () => {
    const env = { LIGAND_POOL: `${pool.url}/`, LIGAND_ADMIN_TOKEN: pool.credentials.admin_token };
    expect((await ligand(["pool", "workers", "--json"], env)).code).toBe(0);
    const wrong = await ligand(["pool", "workers"], { ...env, LIGAND_ADMIN_TOKEN: "la_wrong" });
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining("refuses this admin token") });
    const closedPort = await ligand(["pool", "workers"], { ...env, LIGAND_POOL: "http://127.0.0.1:9" });
    expect(closedPort).toMatchObject({ code: 1, stderr: expect.stringContaining("does not answer") });
  });

  it("reads settings from ligand.toml, which flags and variables override; an error names the wrong line", async () => {
    const home = temporaryFolder();
    const file = join(home, "ligand", "ligand.toml");
    mkdirSync(join(home, "ligand"));
    const withSettings = (text: string, args: string[], env: Record<string, string> = {}) => {
      writeFileSync(file, text);
      return ligand(args, { XDG_CONFIG_HOME: home, ...env });
    };
    const mine = `state = ${JSON.stringify(pool.stateDir)}\n`;
    const workers = ["pool", "workers", "--json"];
    expect((await withSettings(mine, workers)).code).toBe(0);
    expect(await withSettings(mine, workers, { LIGAND_POOL: "http://127.0.0.1:9" })).toMatchObject({ code: 1 });
    const chat = ["chat", "Hello?", "--json"];
    const short = await withSettings(`${mine}[chat]\nmax-tokens = 2\n`, chat);
    expect(JSON.parse(short.stdout)).toMatchObject({ finish_reason: "length", completion_tokens: 2 });
    const shorter = await withSettings(`${mine}[chat]\nmax-tokens = 2\n`, [...chat, "--max-tokens", "1"]);
    expect(JSON.parse(shorter.stdout)).toMatchObject({ completion_tokens: 1 });
    for (const [text, says] of [
      [`${mine}[chat]\n\nmax-tokens = 0\n`, `${file}:4: chat.max-tokens must be a whole number from 1 to `],
      [`${mine}[chat]\nmax = 1\n`, `${file}:3: there is no setting chat.max. Did you mean chat.max-tokens?`],
      [`${mine}client-key = "lk_s3cret"\n`, `${file}:2: client-key is a secret`],
    ] as const) {
      const { code, stdout } = await withSettings(text, chat);
      const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
      expect({ code, error }).toEqual({
        code: 2,
        error: { code: "cli/usage", message: expect.stringContaining(says) },
      });
      expect(error.message).not.toContain("s3cret");
    }
    const none = await withSettings("", chat, { LIGAND_CONFIG: join(home, "none.toml") });
    expect(none).toMatchObject({ code: 1, stdout: expect.stringContaining("LIGAND_CONFIG names ") });
    expect((await withSettings("broken", ["chat", "--help"])).stdout).toContain("ligand.toml");
  });

  it("never sends the local token to another pool, not even after a redirect", async () => {
    const receivedRequests: string[] = [];
    const other = createServer((request, response) => {
      receivedRequests.push(JSON.stringify([request.url, request.headers]));
      response.writeHead(307, { location: `${pool.url}/admin/api/workers` }).end();
    });
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const address = other.address();
    const url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
    expect((await ligand(["pool", "workers", "--pool", url, ...here()])).code).toBe(1);
    expect(receivedRequests).toEqual([]);
    const followed = await ligand(["pool", "workers", "--pool", url], { LIGAND_ADMIN_TOKEN: "la_of_the_environment" });
    expect(followed.code).toBe(1);
    expect(receivedRequests).toHaveLength(1);
    other.close();
  });
});

describe("a client", () => {
  it("streams an answer to the terminal", async () => {
    const { code, stdout, stderr } = await ligand(["chat", "What is a pool?", "--temperature", "0", ...here()]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trim().length).toBeGreaterThan(10);
  });

  it("prints the answer and its usage as JSON", async () => {
    const answer = await json("chat", "What is a worker?", "--max-tokens", "5", "--temperature", "0");
    expect(answer).toEqual({
      model: "ligand-embedded",
      answer: expect.stringMatching(/\w/),
      finish_reason: "length",
      prompt_tokens: expect.any(Number),
      completion_tokens: 5,
    });
  });

  it.each<[what: string, args: string[], env: Record<string, string>, says: string]>([
    ["an unknown model", ["--model", "gpt-0"], {}, "model"],
    ["a wrong key", [], { LIGAND_KEY: "lk_0_0_0" }, "refuses this client key"],
  ])("%s fails, and the error says what to do", async (_what, args, env, says) => {
    const { code, stderr } = await ligand(["chat", "Hello?", ...args, ...here()], env);
    expect(code).toBe(1);
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("    at ");
  });
});

it("a client over its rate is told when to retry", async () => {
  const { key } = await pool.admin.createKey({ requests_per_minute: 1 });
  const asked = () => ligand(["chat", "Hello?", "--max-tokens", "1", ...here()], { LIGAND_KEY: key });
  expect((await asked()).code).toBe(0);
  expect(await asked()).toMatchObject({ code: 1, stderr: expect.stringMatching(/Try again in [1-9]\d? s\.\n$/) });
});

it("--version prints the version", async () => {
  const version = { code: 0, stdout: `${AGENT_VERSION}\n`, stderr: "" };
  expect(await ligand(["--version"])).toEqual(version);
  expect(await run(["scripts/ligand.mjs", "--version"])).toEqual(version);
});

describe("the owner of a machine", () => {
  it.each<[what: string, args: string[], env: Record<string, string>, code: number, says: string]>([
    ["no token", ["--pool", "http://127.0.0.1:9"], {}, 2, "--token-file FILE"],
    [
      "a token file that does not exist",
      ["--pool", "http://127.0.0.1:9", "--token-file", "/nowhere"],
      {},
      1,
      "There is no file /nowhere",
    ],
    [
      "an invalid number of slots",
      ["--slots", "none"],
      { LIGAND_WORKER_TOKEN: "lw_x" },
      2,
      "--slots must be a whole number",
    ],
    ["an invalid pool URL", ["--pool", "pool"], { LIGAND_WORKER_TOKEN: "lw_x" }, 2, "not the URL of a pool"],
  ])("worker start reports %s", async (_what, args, env, code, says) => {
    const done = await ligand(["worker", "start", "--state", temporaryFolder(), ...args], env);
    expect(done.code).toBe(code);
    expect(done.stderr).toContain(says);
    expect(done.stderr).not.toContain("    at ");
  });

  it("worker start uses a token file that others can read, and warns", async () => {
    const state = temporaryFolder();
    const file = join(state, "token");
    writeFileSync(file, "lw_none", { mode: 0o644 });
    const args = ["--pool", "http://127.0.0.1:9", "--token-file", file, "--state", join(state, "agent")];
    const { stderr } = await ligand(["worker", "start", ...args]);
    expect(stderr).toContain(`chmod 600 ${file}`);
    const asJson = await ligand(["worker", "start", ...args, "--json"]);
    expect(asJson.stderr).toContain(`chmod 600 ${file}`);
    for (const line of asJson.stdout.trimEnd().split("\n")) expect(() => JSON.parse(line)).not.toThrow();
    chmodSync(file, 0o600);
    expect((await ligand(["worker", "start", ...args])).stderr).toBe("");
  });

  it("worker start exits with 6 if no pool answers at the URL, before it loads or looks for a model", async () => {
    const site = createServer((_request, response) => response.writeHead(404).end("<html>"));
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    const siteUrl = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    const { token } = await pool.admin.invite({});
    const secret = generateSecretKey();
    const foreign = await keyTagger(secret, (await signerFrom(secret)).id);
    for (const [url, given, says] of [
      ["http://127.0.0.1:9", token, "No pool answers at http://127.0.0.1:9: nothing listens there"],
      [siteUrl, token, `The server at ${siteUrl} is not a Ligand pool`],
      [pool.url, (await foreign.mint("lw")).text, "not the one that made the worker token"],
    ] as const) {
      const state = join(temporaryFolder(), "agent");
      const args = ["worker", "start", "--pool", url, "--state", state, "--model", "hf:nobody/nothing"];
      const { code, stdout } = await ligand(args, { LIGAND_WORKER_TOKEN: given });
      expect({ url, code, lines: stdout.trimEnd().split("\n") }).toEqual({
        url,
        code: 6,
        lines: ["… asking the pool whether it accepts this worker", expect.stringContaining(says)],
      });
      const status = await ligand(["worker", "status", "--state", state, "--json"]);
      expect(JSON.parse(status.stdout)).toMatchObject({ stopped: { message: expect.stringContaining(says) } });
    }
    site.close();
  });

  it("worker start exits with 3 for a revoked token, and with 4 for an expired one", async () => {
    const state = temporaryFolder();
    const run = async (token: string) => {
      const tokenFile = join(state, "token");
      writeFileSync(tokenFile, token, { mode: 0o600 });
      return ligand([
        "worker",
        "start",
        "--pool",
        pool.url,
        "--token-file",
        tokenFile,
        "--state",
        join(state, "agent"),
      ]);
    };
    const revoked = await pool.admin.invite({});
    await pool.admin.revokeToken(revoked.id);
    expect((await run(revoked.token)).code).toBe(3);
    const expired = await pool.admin.invite({ expires_in_days: 1 / 86_400 });
    await waitFor(() => Date.now() > Date.parse(expired.expires_at), 5_000, "the token to expire");
    expect((await run(expired.token)).code).toBe(4);
    const { stdout } = await ligand(["pool", "workers", ...here()]);
    expect(stdout).toMatch(new RegExp(`^${expired.id} .* expired$`, "m"));
  });
});

describe("npm start with its worker", () => {
  it("prints its URL, what its worker does, and how it ends", async () => {
    const stateDir = temporaryFolder();
    const command = `npm --silent start -- --port 0 --state ${stateDir}`;
    const { child, output } = spawnShell(command, {});
    await waitFor(() => output.stdout.includes("Ligand pool ready at"), 60_000, "the pool to be ready");
    const url = readCredentials(stateDir)?.url;
    expect(output.stdout).toBe(`Ligand pool ready at ${url} (credentials in ${join(stateDir, "credentials.json")})\n`);
    expect(output.stderr).toContain("worker: Serves ligand-embedded: 4 jobs at once");
    expect(output.stderr).toContain("worker: Connected to pool");
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    expect((await ended)[0]).toBe(0);
    const endLines = [
      "Stopping … (Ctrl-C again stops immediately)",
      "worker: Draining: 0 jobs",
      "worker: The worker has drained.",
    ];
    for (const words of endLines) expect(output.stderr).toContain(words);
  });

  it.each<[args: string[], code: number, error: { code: string; message: string }]>([
    [["--port", "x"], 2, { code: "cli/usage", message: expect.stringContaining("--port must be") }],
    [["--model", "/nowhere/m.gguf"], 1, { code: "cli/failed", message: expect.stringContaining("no model file") }],
    [["--cert", "/nowhere"], 2, { code: "cli/usage", message: expect.stringContaining("--key FILE") }],
  ])("%j with --json prints the error as JSON, after whatever it printed before", async (args, code, error) => {
    const done = await startRefused({ args: [...args, "--json"] });
    expect({ code: done.code, stdout: JSON.parse(done.stdout) }).toEqual({ code, stdout: { error } });
  });

  it("is ready when its own worker is connected, and other workers do not count", async () => {
    const first = await startPool();
    const other = await startWorker(first);
    await first.stop();
    const port = Number(new URL(first.url).port);
    const again = await startPool({ args: [], stateDir: first.stateDir, port });
    const { tokens, workers } = await again.admin.workers();
    const own = tokens.find(({ label }) => label === "local");
    expect(workers.map(({ token_id }) => token_id)).toContain(own?.id);
    await other.stop();
    await again.stop();
  });

  it("restarts a killed worker, and starts a worker whose token was revoked with a new token", async () => {
    const workerOf = async () => (await pool.admin.workers()).workers[0];
    const agentPid = () =>
      (JSON.parse(readFileSync(join(pool.stateDir, "worker", "agent.pid"), "utf8")) as { pid: number }).pid;
    const first = await workerOf();
    const killed = agentPid();
    process.kill(killed, "SIGKILL");
    const second = await waitFor(
      async () => {
        const now = await workerOf();
        return now !== undefined && now.connected_at !== first?.connected_at && now;
      },
      60_000,
      "the killed worker to be back",
    );
    expect(second).toMatchObject({ worker_id: first?.worker_id, token_id: first?.token_id });
    expect(agentPid()).not.toBe(killed);

    await pool.admin.revokeToken(second.token_id);
    const third = await waitFor(
      async () => {
        const now = await workerOf();
        return now !== undefined && now.token_id !== second.token_id && now;
      },
      60_000,
      "a worker with a new token",
    );
    expect(third.worker_id).toBe(first?.worker_id);
  });

  it("Ctrl-C in the middle of a stream ends the pool, the worker and the client", async () => {
    const agentFile = join(pool.stateDir, "worker", "agent.pid");
    const { pid: agent } = JSON.parse(readFileSync(agentFile, "utf8")) as { pid: number };
    const workerd = pool.workerdPid();
    const streams = await Promise.all(
      Array.from({ length: 6 }, () =>
        fetch(`${pool.url}/v1/completions`, {
          method: "POST",
          headers: { authorization: `Bearer ${pool.credentials.client_key}`, "content-type": "application/json" },
          body: JSON.stringify({
            model: "auto",
            prompt: "Tell me everything.",
            max_tokens: 900,
            stream: true,
            temperature: 2,
          }),
        }),
      ),
    );
    for (const stream of streams) expect(stream.status).toBe(200);
    expect((await pool.stop("SIGINT")).code).toBe(0);
    for (const pid of [agent, workerd]) expect(processIdentity(pid)).toBeUndefined();
    await Promise.allSettled(streams.map((stream) => stream.text()));
  });

  it("after a restart the pool has the same worker, which ends by itself when the runner is killed", async () => {
    const again = await startPool({ args: [], stateDir: pool.stateDir });
    const { workers, tokens } = await again.admin.workers();
    expect(workers).toHaveLength(1);
    expect(tokens.filter((token) => token.worker_id === workers[0]?.worker_id && token.connected)).toHaveLength(1);
    const { pid } = JSON.parse(readFileSync(join(pool.stateDir, "worker", "agent.pid"), "utf8")) as { pid: number };
    expect(processIdentity(pid)).toBeDefined();
    await again.kill9();
    await waitFor(() => processIdentity(pid) === undefined, 10_000, "the worker to end");
  });
});
