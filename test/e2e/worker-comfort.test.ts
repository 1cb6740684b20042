import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { workerProfile } from "../../worker-agent/profile/profile.ts";
import { agentStatus } from "../../worker-agent/state/status-file.ts";
import { ScriptedServer } from "../agent/http-servers.ts";
import {
  type Finished,
  ligand,
  type PoolProcess,
  seedMeasurements,
  startPool,
  startWorker,
  temporaryFolder,
  waitFor,
} from "./support.ts";

/** What the owner of a machine sees: a real pool, real workers and a real terminal. */

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The limit for events that come by themselves. No test asserts how soon they come. */
const EVENTUALLY_MS = 60_000;

let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool();
});

const post = (path: string, body: object) =>
  fetch(`${pool.url}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${pool.credentials.client_key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "auto", ...body }),
  });
const ask = (question: string) =>
  post("/v1/chat/completions", { messages: [{ role: "user", content: question }], max_tokens: 8 });
async function statusOf(stateDir: string) {
  const { code, stdout, stderr } = await ligand(["worker", "status", "--state", stateDir, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, unknown> & { why: { code: string; message: string } };
}

describe("worker status", () => {
  it("reports a worker that waits, one that has served a job, and one that has ended", async () => {
    const worker = await startWorker(pool, { slots: 1 });
    const waiting = await statusOf(worker.stateDir);
    expect(waiting).toMatchObject({
      running: true,
      state: "connected",
      pool: pool.credentials.atom_id,
      poolUrl: pool.url,
      worker: worker.workerId,
      models: [{ name: "ligand-embedded", slots: 1, active: 0, jobs: 0 }],
      why: { code: "no-job-for-its-models", message: expect.stringContaining("ligand-embedded") },
    });
    expect(agentStatus.parse(waiting)).toMatchObject({ lastJob: null });

    expect((await ask("What is Ligand?")).status).toBe(200);
    const served = await waitFor(
      async () => {
        const status = agentStatus.parse(await statusOf(worker.stateDir));
        return status.lastJob?.end === "done" && status;
      },
      EVENTUALLY_MS,
      "the job to be counted",
    );
    expect(served.counters).toMatchObject({ jobsStarted: 1, jobsDone: 1 });
    expect(served.counters.tokensGenerated).toBeGreaterThan(0);

    const { stdout } = await ligand(["worker", "status", "--state", worker.stateDir]);
    expect(stdout).toMatch(/^Worker {6}\w{12}… {2}connected for \d+ s$/m);
    expect(stdout).toMatch(/^So far {6}1 job \(1 done, 0 failed, 0 cancelled\), \d+ tokens in \d+ s$/m);
    expect(stdout).toMatch(/^Last job {4}ligand-embedded, done \d+ s ago$/m);
    expect(stdout).toMatch(/^Why no job {2}The pool has sent no job for ligand-embedded for \d+ s\./m);
    expect(stdout).toMatch(/^ligand-embedded {2}0 of 1 /m);

    expect((await post("/v1/chat/completions", { model: "another", messages: [] })).status).toBe(400);
    const messages = [{ role: "user", content: "Hello" }];
    expect((await post("/v1/chat/completions", { model: "another", messages })).status).toBe(404);
    const isReported = () => worker.status().elsewhere?.jobs === 1;
    await waitFor(isReported, 5 * LIMITS.demandReportMs, "the pool to say that others are asked");
    expect((await statusOf(worker.stateDir)).why).toEqual({
      code: "not-the-model-asked-for",
      message: expect.stringContaining("the pool received 1 request for other models"),
    });

    await worker.stop();
    expect(await statusOf(worker.stateDir)).toMatchObject({
      running: false,
      state: "stopped",
      why: { code: "stopped", message: expect.stringContaining("Start it again") },
    });
  });

  it("reports that all slots are busy, and what would add slots, while that is so", async () => {
    const held = Promise.withResolvers<ServerResponse>();
    const json = (response: ServerResponse, body: object) =>
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    const server = await ScriptedServer.listen((response, { path }) =>
      path.endsWith("/models") ? json(response, { data: [{ id: "held" }] }) : held.resolve(response),
    );
    const worker = await startWorker(pool, { slots: 1, args: ["--engine", "upstream", "--upstream-url", server.url] });
    const answer = post("/v1/completions", { model: "held", prompt: "Wait." });
    const response = await held.promise;
    await waitFor(() => worker.status().models[0]?.active === 1, EVENTUALLY_MS, "the file to say so");
    expect(await statusOf(worker.stateDir)).toMatchObject({
      models: [{ name: "held", slots: 1, active: 1, jobs: 1 }],
      why: { code: "all-slots-busy", message: expect.stringContaining("--slots") },
    });
    json(response, { choices: [{ text: "Here.", finish_reason: "stop" }] });
    expect((await answer).status).toBe(200);
    await waitFor(() => worker.status().models[0]?.active === 0, EVENTUALLY_MS, "the slot to be free");
    expect((await statusOf(worker.stateDir)).why.code).toBe("no-job-for-its-models");
    await worker.stop();
    server.close();
  });

  it("reports a killed worker as gone, although its file says that it runs", async () => {
    const worker = await startWorker(pool);
    await waitFor(() => worker.status().state === "connected", EVENTUALLY_MS, "the file to say so");
    await worker.kill9();
    expect(await statusOf(worker.stateDir)).toMatchObject({
      running: false,
      state: "connected",
      why: { code: "vanished" },
    });
  });

  it("reports that the pool refuses the revoked token of a worker", async () => {
    const worker = await startWorker(pool);
    await pool.admin.revokeToken(worker.tokenId);
    await waitFor(() => worker.status().state === "stopped", EVENTUALLY_MS, "the worker to stop");
    expect(await statusOf(worker.stateDir)).toMatchObject({
      running: false,
      why: { code: "refused", message: expect.stringContaining("invite") },
    });
  });

  it("reports the next attempt of a worker whose pool is unreachable", async () => {
    const other = await startPool();
    const worker = await startWorker(other);
    await other.stop();
    await waitFor(() => worker.status().nextAttemptMs !== null, EVENTUALLY_MS, "the worker to notice");
    const status = await waitFor(
      async () => {
        const now = await statusOf(worker.stateDir);
        return now.why.code === "disconnected" && now;
      },
      EVENTUALLY_MS,
      "a wait between two attempts",
    );
    expect(status).toMatchObject({ running: true, connected: false, connectedSinceMs: null });
    expect(status.why.message).toMatch(/Next attempt in \d+ s\./);
  });

  it("shows the running worker among several, or else the one that ran last", async () => {
    const worker = await startWorker(pool);
    await worker.stop();
    const stopped = readFileSync(join(worker.stateDir, "status.json"), "utf8");
    const base = temporaryFolder();
    const folders = ["one", "two"].map((name) => join(base, "ligand", "worker", name));
    for (const [age, folder] of folders.entries()) {
      mkdirSync(folder, { recursive: true });
      const status = JSON.parse(stopped) as { updatedMs: number };
      writeFileSync(join(folder, "status.json"), JSON.stringify({ ...status, updatedMs: status.updatedMs - age }));
    }
    const env = { XDG_STATE_HOME: base };
    const asked = await ligand(["worker", "status"], env);
    expect(asked).toMatchObject({ code: 0, stdout: expect.stringContaining("not running") });
    expect(asked.stderr).toBe(
      `\nThis is the worker that ran last. For an earlier worker, add one of these flags:\n  --state ${folders[1]}\n`,
    );

    const again = await startWorker(pool);
    cpSync(again.stateDir, folders[1] ?? "", { recursive: true });
    const shown = await ligand(["worker", "status", "--json"], env);
    expect(JSON.parse(shown.stdout)).toMatchObject({ running: true, pid: again.pid });
    await again.stop();
  });

  it.each<[what: string, content: string | null, says: string]>([
    ["where no worker has run", null, "Start one with: npm run ligand -- worker start"],
    ["with a status file that is not valid", "{", "Another version"],
  ])("%s fails, and the error says what to do", async (_what, content, says) => {
    const folder = temporaryFolder();
    if (content !== null) writeFileSync(join(folder, "status.json"), content);
    const { code, stdout, stderr } = await ligand(["worker", "status", "--state", folder]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("    at ");
  });
});

describe("worker profile", () => {
  it("prints one JSON value of the documented shape, and nothing else", async () => {
    const { code, stdout, stderr } = await ligand(["worker", "profile", "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const profile = workerProfile.strict().parse(JSON.parse(stdout));
    expect(profile.details).toBeUndefined();
    expect(profile.benchmark.measurements.length).toBeGreaterThan(0);
  });

  it("shows what it measures while it measures, and details only on request", async () => {
    const { code, stdout, stderr } = await ligand(["worker", "profile", "--verbose-manifest"]);
    expect(code).toBe(0);
    expect(stderr).toContain("… measuring cpu with 1 thread");
    for (const words of ["Processor", "GPU ", "NPU ", "Tokens a second", "In broad classes", "llama.cpp"]) {
      expect(stdout).toContain(words);
    }
  });
});

describe("worker start", () => {
  const terminals: ChildProcess[] = [];
  afterAll(() => {
    for (const terminal of terminals) terminal.kill("SIGKILL");
  });

  const invited = async () => {
    const folder = temporaryFolder();
    const { id, token } = await pool.admin.invite({ label: "comfort" });
    const tokenFile = join(folder, "token");
    writeFileSync(tokenFile, token, { mode: 0o600 });
    const stateDir = join(folder, "state");
    seedMeasurements(stateDir);
    const args = ["worker", "start", "--pool", pool.url, "--token-file", tokenFile, "--state", stateDir];
    return { id, token, args, stateDir };
  };

  // The `script` of util-linux makes a terminal; the one of macOS and BSD has other flags.
  it.skipIf(process.platform !== "linux")("shows one live line in a terminal, and clears it at Ctrl-C", async () => {
    const { args } = await invited();
    const words = [process.execPath, "scripts/ligand.ts", ...args].map((word) => `'${word}'`).join(" ");
    const terminal = spawn("/usr/bin/script", ["-qefc", `stty cols 110; exec ${words}`, "/dev/null"], {
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
    const line = (text: string) => `\r\u001b[2K\u001b[?7l${text}`;
    await waitFor(
      () => seen.includes(line("connected · ligand-embedded · no jobs yet\u001b[?7h")),
      EVENTUALLY_MS,
      "the live line",
    );
    expect((await ask("What is a pool?")).status).toBe(200);
    await waitFor(
      () => / · 0 active · \d+ tok\/s · 1 job · \d+ tokens/.test(seen),
      EVENTUALLY_MS,
      "the job to be counted",
    );
    // Single jobs are shown in the live line, not above it.
    expect(seen).not.toMatch(/Job [0-9a-f-]{36}/);

    terminal.stdin.write("\u0003");
    expect((await ended)[0]).toBe(0);
    // The lines as a terminal keeps them: the live line is erased.
    const left = seen.split("\n").map((text) => text.slice(text.lastIndexOf("\u001b[2K") + 1).replace("[2K", ""));
    expect(left.join("\n")).not.toContain(" · ");
    expect(left.join("\n")).toContain("Connected to pool");
    expect(left.at(-2)).toContain("The worker has drained.");
    expect(left.at(-1)?.trim()).toBe("");
  });

  it("with --log json prints one JSON object a line, and no token, key or prompt", async () => {
    const { args, stateDir, token } = await invited();
    const child = spawn(process.execPath, ["scripts/ligand.ts", ...args, "--log", "json"], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "inherit"],
    });
    terminals.push(child);
    const ended = once(child, "exit");
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    await waitFor(() => out.includes('"event":"connected"'), EVENTUALLY_MS, "the worker to connect");
    expect((await ask("xylophone quartz")).status).toBe(200);
    await waitFor(() => out.includes('"event":"job-done"'), EVENTUALLY_MS, "the job to be told of");
    child.kill("SIGTERM");
    expect((await ended)[0]).toBe(0);

    const lines = out.trimEnd().split("\n");
    const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    for (const record of records) {
      expect(record).toMatchObject({
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        level: expect.stringMatching(/^(debug|info|warn|error)$/),
        event: expect.any(String),
        message: expect.any(String),
      });
    }
    expect(records.map(({ event }) => event)).toEqual(
      expect.arrayContaining(["loading", "calibrated", "model", "connected", "job-started", "job-done", "stopped"]),
    );
    const key = readFileSync(join(stateDir, "agent.key"), "utf8").trim();
    for (const secret of [token, token.split("_")[2] ?? token, key, "xylophone"]) expect(out).not.toContain(secret);
  });

  it("with --quiet prints nothing while all is well", async () => {
    const { args, stateDir } = await invited();
    const child = spawn(process.execPath, ["scripts/ligand.ts", ...args, "--quiet"], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "inherit"],
    });
    terminals.push(child);
    const ended = once(child, "exit");
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    const connected = () => JSON.parse(readFileSync(join(stateDir, "status.json"), "utf8")).connected === true;
    await waitFor(connected, EVENTUALLY_MS, "the worker to connect");
    child.kill("SIGTERM");
    expect((await ended)[0]).toBe(0);
    expect(out).toBe("");
  });
});

describe.skipIf(process.platform !== "linux")("worker install", () => {
  /** No systemd session is reachable from here: commands to systemd fail as on a machine without a session. */
  const home = () => {
    const folder = join(temporaryFolder(), "my home 100%");
    mkdirSync(folder);
    writeFileSync(join(folder, "a token"), "lw_secret", { mode: 0o600 });
    const nowhere = join(folder, "nowhere");
    const env = {
      HOME: folder,
      XDG_CONFIG_HOME: "",
      XDG_STATE_HOME: "",
      XDG_RUNTIME_DIR: nowhere,
      DBUS_SESSION_BUS_ADDRESS: `unix:path=${nowhere}`,
    };
    const unit = join(folder, ".config", "systemd", "user", "ligand-worker.service");
    const worker = (...args: string[]): Promise<Finished> => ligand(["worker", ...args], env);
    const install = (...more: string[]) =>
      worker("install", "--user", "--pool", "https://pool.example", "--token-file", join(folder, "a token"), ...more);
    return { folder, unit, worker, install };
  };

  it("writes a unit that names the token's file and not the token; a second run changes nothing; uninstall removes the unit", async () => {
    const { folder, unit, worker, install } = home();
    const first = await install("--slots", "2");
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toContain(`Wrote ${unit}`);
    expect(first.stdout).toContain("systemctl --user enable --now ligand-worker.service");
    expect(first.stdout).toContain("If the pool is down, the worker tries again every 10 s.");
    const text = readFileSync(unit, "utf8");
    const file = join(folder, "a token").replace("%", "%%");
    expect(text).toContain(`"worker" "start" "--pool" "https://pool.example" "--token-file" "${file}" "--slots" "2"`);
    expect(text).toContain(`ExecStart="${process.execPath}" "${join(ROOT, "scripts", "ligand.ts")}"`);
    expect(text).not.toContain("lw_secret");
    const madeMs = statSync(unit).mtimeMs;

    const again = await install("--slots", "2");
    expect(again.stdout).toContain(`No change in ${unit}`);
    expect(statSync(unit).mtimeMs).toBe(madeMs);
    const other = await install("--json");
    expect(JSON.parse(other.stdout)).toMatchObject({ path: unit, changed: true, started: false });
    expect(readFileSync(unit, "utf8")).not.toContain("--slots");

    // Link the unit as `systemctl --user enable` does, beside a file of another program.
    const wants = join(folder, ".config", "systemd", "user", "default.target.wants");
    mkdirSync(wants);
    symlinkSync(unit, join(wants, "ligand-worker.service"));
    symlinkSync("../other.service", join(wants, "other.service"));
    const gone = await worker("uninstall", "--user");
    expect(gone).toMatchObject({ code: 0, stdout: expect.stringContaining(`Removed ${unit}`) });
    expect(existsSync(unit)).toBe(false);
    expect(readdirSync(wants)).toEqual(["other.service"]);
    expect(readlinkSync(join(wants, "other.service"))).toBe("../other.service");
    expect(readFileSync(join(folder, "a token"), "utf8")).toBe("lw_secret");
    expect(await worker("uninstall", "--user")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("There is no service to remove"),
    });
  });

  it("changes no unit that another program made", async () => {
    const { unit, worker, install } = home();
    mkdirSync(join(unit, ".."), { recursive: true });
    writeFileSync(unit, "[Service]\nExecStart=/bin/true\n");
    for (const done of [await install(), await worker("uninstall", "--user")]) {
      expect(done).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringContaining("Another program or person made"),
      });
    }
    expect(readFileSync(unit, "utf8")).toBe("[Service]\nExecStart=/bin/true\n");
  });

  it("--now without a session names the failure and the remedy, and uninstall --now then removes nothing", async () => {
    const { unit, worker, install } = home();
    const done = await install("--now");
    expect(done).toMatchObject({ code: 1, stdout: "" });
    expect(done.stderr).toContain(`Wrote ${unit}, but could not load the service.`);
    expect(done.stderr).toContain("Run it in a session that you logged in to directly");
    const kept = await worker("uninstall", "--user", "--now");
    expect(kept).toMatchObject({ code: 1, stderr: expect.stringContaining("Nothing was removed.") });
    expect(existsSync(unit)).toBe(true);
  });

  it.each<[what: string, args: string[], code: number, says: string]>([
    ["install without --user", ["install"], 2, "Add --user: npm run ligand -- worker install --user."],
    ["uninstall without --user", ["uninstall"], 2, "Add --user: npm run ligand -- worker uninstall --user."],
    ["install without a token file", ["install", "--user", "--pool", "https://p.example"], 2, "--token-file FILE"],
    [
      "install with a token file that does not exist",
      ["install", "--user", "--token-file", "/nowhere"],
      1,
      "no file /nowhere",
    ],
    ["install with an unknown flag", ["install", "--user", "--bogus"], 2, "Unknown option '--bogus'"],
  ])("%s is refused, and the error says what to do", async (_what, args, code, says) => {
    const { unit, worker } = home();
    const done = await worker(...args);
    expect(done).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(says) });
    expect(existsSync(unit)).toBe(false);
  });

  it.each(["start", "status", "profile", "install", "uninstall"])("worker %s --help prints help", async (verb) => {
    const { code, stdout } = await ligand(["worker", verb, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`ligand -- worker ${verb} `);
    expect(stdout.split("\n").length).toBeGreaterThan(4);
  });
});
