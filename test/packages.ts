import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, sep } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as z from "zod";
import { readCredentials } from "../scripts/runtime/credentials.ts";
import { endOrphan } from "../scripts/runtime/workerd-record.ts";

/**
 * `npm run test:packages`: packs both npm packages and installs each in an empty folder. Then it runs both programs with
 * `npx`, as their users do: a worker that joins a pool. Prints each step, and exits with 1 at the first failure.
 */

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const STEP_MS = 60_000;
const STOP_MS = 20_000;

/** Files that no package may contain: tests, a pool's state, secrets, sources. */
const NEVER_PACKED = [
  /(^|\/)(test|state\/[^/]*\.json)(\/|$)/,
  /credentials\.json$/,
  /\.(test\.|pid|token$|key$|pem$|sqlite)/,
  /\.ts$/,
];
/** Further files that the worker's package may not contain: the pool's code. */
const NOT_IN_WORKER = [/(^|\/)(edge|scripts|pool|migrations)\//, /schema\/db\//];
/** Folders of `node_modules` that the owner of a worker must not get, at any depth: the pool, its runtime and its tools. */
const NOT_FOR_OWNER = [
  /\/node_modules\/(ligand|miniflare|workerd|wrangler|esbuild|hono|drizzle-(orm|kit|zod)|itty-durable)$/,
  /\/node_modules\/(@cloudflare|@esbuild)$/,
  /\/@ligand\/[^/]+\/dist\/(edge|scripts|pool|schema\/db)$/,
];
/** The same for an operator, whose package contains the pool's Worker ready-made: build tools, and what is built into it. */
const NOT_FOR_OPERATOR = [
  /\/node_modules\/(wrangler|esbuild|@esbuild|typescript|hono|drizzle-(orm|kit|zod)|itty-durable|vitest)$/,
];

/** The used part of what `npm pack --json` prints. */
const packList = z.array(
  z.object({ filename: z.string(), size: z.int(), files: z.array(z.object({ path: z.string() })) }),
);

const completion = z.object({
  choices: z.tuple([z.object({ message: z.object({ content: z.string().min(1) }) })]),
  usage: z.object({ completion_tokens: z.int().positive() }),
});

const folder = mkdtempSync(join(tmpdir(), "ligand-packages-"));
const running: ChildProcess[] = [];
// Started programs have their own process groups, which Ctrl-C in a terminal does not reach.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    killAll();
    rmSync(folder, { recursive: true, force: true });
    process.exit(1);
  });
}
const env = cleanEnvironment();
const startedMs = performance.now();

try {
  const ligand = await pack("ligand", [], NEVER_PACKED);
  const worker = await pack("@ligand/worker", ["--workspace", "worker-agent"], [...NEVER_PACKED, ...NOT_IN_WORKER]);

  const [operator, owner] = await Promise.all([
    install("operator", ligand, NOT_FOR_OPERATOR),
    install("owner", worker, NOT_FOR_OWNER),
  ]);

  const help = await npx(owner, "ligand-worker", "--help");
  for (const verb of ["start", "status", "profile", "install"]) check(help.includes(verb), `--help names ${verb}`);

  const alone = await startPool(operator, []);
  await chat(operator, "the worker of `ligand pool start`");
  await stop(alone, "the pool with its own worker");

  const pool = await startPool(operator, ["--no-worker"]);
  const { token } = parse(z.object({ token: z.string() }), await npx(operator, "ligand", "pool", "invite", "--json"));
  const tokenFile = join(owner, "worker.token");
  writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 });
  const flags = ["--pool", pool.url, "--token-file", tokenFile, "--state", join(owner, "worker-state")];
  const joined = start(owner, "ligand-worker", ["start", ...flags, "--log", "json"]);
  await line(joined, "the installed worker to connect", (text) => text.includes('"event":"connected"'));
  say("npx ligand-worker start: joined the pool");
  await chat(operator, "the installed ligand-worker");
  const status = parse(
    z.object({ running: z.boolean(), counters: z.object({ jobsDone: z.int() }) }),
    await npx(owner, "ligand-worker", "status", "--state", join(owner, "worker-state"), "--json"),
  );
  check(status.running && status.counters.jobsDone === 1, "ligand-worker status counts the job");

  await stop({ child: joined }, "the worker");
  await stop(pool, "the pool");
  say(`both packages work (${Math.round((performance.now() - startedMs) / 1_000)} s)`);
} catch (error) {
  console.error(`packages: FAILED: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  killAll();
  const record = join(folder, "operator", "state", "workerd.pid");
  if (existsSync(record)) await endOrphan(record);
  rmSync(folder, { recursive: true, force: true });
}

/** The environment of a user who does not have this repository. npm's own variables would point to it. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_|LIGAND_|INIT_CWD)/i.test(name));
  const own = (process.env.PATH ?? "").split(delimiter).filter((path) => !path.startsWith(ROOT));
  return {
    ...Object.fromEntries(kept),
    PATH: [dirname(process.execPath), ...own].join(delimiter),
    // npx fails instead of downloading a program that is not installed, as with its option --no.
    npm_config_yes: "false",
  };
}

async function pack(name: string, args: readonly string[], forbidden: readonly RegExp[]): Promise<string> {
  const output = await run(ROOT, "npm", ["pack", "--json", "--pack-destination", folder, ...args]);
  const [packed] = packListIn(output);
  if (packed === undefined) throw new Error(`npm pack wrote no package for ${name}. Its output:\n${output}`);
  const wrong = packed.files.filter(({ path }) => forbidden.some((pattern) => pattern.test(path)));
  check(wrong.length === 0, `${name} contains no ${wrong.map(({ path }) => path).join(", ") || "foreign file"}`);
  say(`packed ${packed.filename}: ${packed.files.length} files, ${(packed.size / 1e6).toFixed(1)} MB`);
  return join(folder, packed.filename);
}

/** The list that `npm pack --json` prints. The build prints before it, and the list begins on its own line. */
function packListIn(output: string): z.infer<typeof packList> {
  const at = output.search(/^\[/m);
  if (at < 0) throw new Error(`npm pack --json printed no list of packages. It printed:\n${output}`);
  try {
    return parse(packList, output.slice(at));
  } catch (error) {
    throw new Error(`npm pack --json printed a list of another form (${String(error)}). It printed:\n${output}`);
  }
}

/** Installs a package in an empty folder. */
async function install(name: string, tarball: string, forbidden: readonly RegExp[]): Promise<string> {
  const cwd = join(folder, name);
  mkdirSync(cwd);
  await run(cwd, "npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", tarball]);
  const folders = foldersBelow(join(cwd, "node_modules"));
  const foreign = folders.filter((path) => forbidden.some((pattern) => pattern.test(path)));
  check(foreign.length === 0, `the ${name} gets no foreign code: ${foreign.join(", ")}`);
  const packages = folders.filter((path) => /\/node_modules\/(@[^/]+\/)?[^/@.][^/]*$/.test(path));
  say(`${name}: installed in an empty folder, ${packages.length} packages and none of the pool's tools`);
  return cwd;
}

/** All folders at any depth, so that a package is also found in the `node_modules` of another package. */
function foldersBelow(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).replaceAll(sep, "/"));
}

/** Runs an installed program, with the command that its user types. */
function npx(cwd: string, ...command: string[]): Promise<string> {
  return run(cwd, "npx", command);
}

async function run(cwd: string, program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, { cwd, env, timeout: 5 * STEP_MS });
  return stdout;
}

/** Starts an installed program with the command that its user types. npx, its shell and the program are one process group. */
function start(cwd: string, program: string, args: readonly string[]): ChildProcess {
  const child = spawn("npx", [program, ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  running.push(child);
  return child;
}

/** The process of the program that npx started. npx does not pass signals on to it, but exits with its exit code. */
async function programOf({ pid: group }: ChildProcess): Promise<number> {
  const processes = await run(folder, "ps", ["-A", "-o", "pid=,pgid=,args="]);
  for (const line of processes.split("\n")) {
    const [, pid, pgid, args = ""] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    if (Number(pgid) === group && /\/node_modules\/\.bin\/ligand(-worker)? /.test(args)) return Number(pid);
  }
  throw new Error(`npx (pid ${group}) runs no program of Ligand`);
}

function killAll(): void {
  for (const { pid, exitCode, signalCode } of running) {
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, "SIGKILL");
  }
}

async function startPool(cwd: string, flags: readonly string[]): Promise<{ child: ChildProcess; url: string }> {
  const child = start(cwd, "ligand", ["pool", "start", "--port", "0", "--json", ...flags]);
  const ready = await line(child, "the pool to be ready", (text) => text.includes('"ready":true'));
  const { url } = parse(z.object({ url: z.string() }), ready);
  say(`${["npx ligand pool start", ...flags].join(" ")}: ready at ${url}`);
  return { child, url };
}

/** Resolves to the first line on standard output that matches. */
function line(child: ChildProcess, what: string, matches: (text: string) => boolean): Promise<string> {
  const errors: string[] = [];
  child.stderr?.on("data", (data) => errors.push(String(data)));
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(`nothing within ${STEP_MS / 1_000} s`), STEP_MS);
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new Error(`waited for ${what}: ${why}\n${errors.join("")}`));
    };
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => fail(`it exited with ${code}`));
    if (child.stdout === null) return fail("it has no output");
    createInterface({ input: child.stdout }).on("line", (text) => {
      if (!matches(text)) return;
      clearTimeout(timer);
      resolve(text);
    });
  });
}

async function chat(operator: string, by: string): Promise<void> {
  const credentials = readCredentials(join(operator, "state"));
  if (credentials === undefined) throw new Error("the pool wrote no credentials.json");
  const response = await fetch(`${credentials.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${credentials.client_key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "ligand-embedded", messages: [{ role: "user", content: "What is a worker?" }] }),
    signal: AbortSignal.timeout(STEP_MS),
  });
  const body = await response.text();
  check(response.status === 200, `the pool answers ${response.status}: ${body.slice(0, 300)}`);
  const { usage } = parse(completion, body);
  say(`one chat completion by ${by}: ${usage.completion_tokens} tokens`);
}

async function stop({ child }: { child: ChildProcess }, what: string): Promise<void> {
  const exited = once(child, "exit", { signal: AbortSignal.timeout(STOP_MS) });
  process.kill(await programOf(child), "SIGTERM");
  const [code] = await exited.catch(() => {
    throw new Error(`${what} did not stop within ${STOP_MS / 1_000} s`);
  });
  check(code === 0, `${what} stopped with ${code}`);
}

function parse<T>(schema: z.ZodType<T>, text: string): T {
  const json: unknown = JSON.parse(text);
  return schema.parse(json);
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not true: ${what}`);
}

function say(what: string): void {
  console.log(`packages: ${what}`);
}
