import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import {
  type Finished,
  ligand,
  type PoolProcess,
  run,
  spawnShell,
  startPool,
  startRefused,
  startWorker,
  temporaryFolder,
} from "./support.ts";

/** A fault of the user's machine ends a program with one sentence, without a stack trace, and prints no secret. */
let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool();
});

const noStack = ({ stdout, stderr }: Finished) => expect(stdout + stderr).not.toMatch(/^ {4}at |node:internal/m);

describe("a secret with characters that a header cannot carry", () => {
  const SECRET = "sk-first-half\nsecond-half";
  const where = () => ["--pool", pool.url, "--state", temporaryFolder()];
  const upstream = () => ["worker", "start", ...where(), "--upstream-url", "http://127.0.0.1:9"];
  it.each<[variable: string, args: () => string[], env: Record<string, string>]>([
    ["LIGAND_ADMIN_TOKEN", () => ["pool", "workers", "--pool", pool.url], {}],
    ["LIGAND_ADMIN_TOKEN", () => ["pool", "doctor", "--pool", pool.url, "--json"], {}],
    ["LIGAND_KEY", () => ["chat", "--pool", pool.url, "Hello"], {}],
    ["LIGAND_WORKER_TOKEN", () => ["worker", "start", ...where()], {}],
    ["LIGAND_UPSTREAM_KEY", upstream, { LIGAND_WORKER_TOKEN: "lw_x" }],
    ["LIGAND_UPSTREAM_KEY", () => [...upstream(), "--log", "json"], { LIGAND_WORKER_TOKEN: "lw_x" }],
  ])("in %s: the refusal names the variable (%j)", async (variable, args, env) => {
    const ended = await ligand(args(), { ...env, [variable]: SECRET });
    expect(ended.code).toBe(2);
    expect(ended.stdout + ended.stderr).toContain(`${variable} contains a line break (character 14)`);
    expect(ended.stdout + ended.stderr).not.toMatch(/first-half|second-half/);
    noStack(ended);
  });

  it("in a token file: the refusal names the file", async () => {
    const file = join(temporaryFolder(), "token");
    writeFileSync(file, SECRET, { mode: 0o600 });
    const ended = await ligand(["worker", "start", ...where(), "--token-file", file]);
    expect(ended).toMatchObject({ code: 2, stdout: "" });
    expect(ended.stderr).toContain(`The token in ${file} contains a line break`);
    expect(ended.stderr).not.toMatch(/first-half|second-half/);
  });

  it("in HF_TOKEN: the refusal names the variable", async () => {
    const { token } = await pool.admin.invite({ label: "hub" });
    const args = ["worker", "start", ...where(), "--model", "hf:acme/tiny:Q4", "--models-dir", temporaryFolder()];
    const ended = await ligand(args, {
      LIGAND_WORKER_TOKEN: token,
      HF_TOKEN: SECRET,
      HF_ENDPOINT: "http://127.0.0.1:9",
    });
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain("HF_TOKEN contains a line break");
    expect(ended.stdout + ended.stderr).not.toMatch(/first-half|second-half/);
    noStack(ended);
  });
});

describe("a file of the wrong kind", () => {
  it.each<[what: string, args: (folder: string) => string[], env: (folder: string) => Record<string, string>]>([
    ["a token file", (folder) => ["worker", "start", "--pool", pool.url, "--token-file", folder], () => ({})],
    ["ligand.toml", () => ["worker", "status"], (folder) => ({ LIGAND_CONFIG: folder })],
  ])("%s that is a folder: the error names it", async (_what, args, env) => {
    const folder = temporaryFolder();
    const ended = await ligand(args(folder), env(folder));
    expect(ended).toMatchObject({ code: 1, stdout: "" });
    expect(ended.stderr).toBe(`Cannot read ${folder}: this is a folder, not a file (EISDIR).\n`);
  });

  it("credentials.json that is a folder: the error names it", async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, "credentials.json"));
    const ended = await ligand(["pool", "workers", "--state", folder]);
    expect(ended).toMatchObject({ code: 1, stdout: "" });
    expect(ended.stderr).toContain("credentials.json: this is a folder");
  });
});

describe("an output that cannot be written", () => {
  /** Runs the line through a shell. The last line of its output is the exit status of the program before the pipe. */
  async function shell(line: string): Promise<Finished> {
    const { child, output } = spawnShell(`bash -c '${line}'`, {});
    const [code] = await new Promise<[number | null]>((resolve) => child.once("close", (one) => resolve([one])));
    return { code, ...output };
  }
  const PROGRAM = `${JSON.stringify(process.execPath)} scripts/ligand.ts`;
  const START = `${JSON.stringify(process.execPath)} scripts/start.ts`;

  it.each([
    `${PROGRAM} --help`,
    `${PROGRAM} --version`,
    `${PROGRAM} pool keys list --json --state STATE`,
    `${START} --help`,
  ])("on a full device, %s reports the error on stderr and exits with 1", async (line) => {
    const ended = await shell(`${line.replace("STATE", pool.stateDir)} > /dev/full`);
    expect(ended.stderr).toBe("Cannot write to standard output: no space left on the disk (ENOSPC).\n");
    expect(ended.code).toBe(1);
  });

  it("a worker whose log is on a full device ends with the same error", async () => {
    const { token } = await pool.admin.invite({ label: "full" });
    const state = temporaryFolder();
    const file = join(temporaryFolder(), "token");
    writeFileSync(file, token, { mode: 0o600 });
    const where = `--pool ${pool.url} --token-file ${file} --state ${state}`;
    const ended = await shell(`${PROGRAM} worker start ${where} > /dev/full`);
    expect(ended.stderr).toBe("Cannot write to standard output: no space left on the disk (ENOSPC).\n");
    expect(ended.code).toBe(1);
  });

  it.each([`${PROGRAM} --help`, `${PROGRAM} pool keys list --state STATE`, `${START} --help`])(
    "%s ends silently when the reader of its pipe closes",
    async (line) => {
      // The program writes only after its reader has closed the pipe.
      const piped = `(exec 3>&1; (read -r _; exec ${line.replace("STATE", pool.stateDir)}; ) 2>&3 < <(sleep 0.01; echo) | true; echo \${PIPESTATUS[0]})`;
      const ended = await shell(piped);
      expect(ended.stdout).toBe("141\n");
      expect(ended.stderr).toBe("");
    },
  );
});

describe("a full disk", () => {
  const canMount = (() => {
    try {
      const folder = temporaryFolder();
      execFileSync("/bin/mount", ["-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], { stdio: "ignore" });
      execFileSync("/bin/umount", [folder]);
      return true;
    } catch {
      return false;
    }
  })();

  it.skipIf(!canMount).each([4, 64, 200, 600, 800])(
    "a first start on a disk of %i KiB reports the error and leaves no file",
    async (kibibytes) => {
      const disk = temporaryFolder();
      execFileSync("/bin/mount", ["-t", "tmpfs", "-o", `size=${kibibytes}k`, "tmpfs", disk]);
      try {
        const ended = await startRefused({ stateDir: join(disk, "state") });
        expect(ended).toMatchObject({ code: 1, stdout: "" });
        expect(ended.stderr.trimEnd().split("\n").at(-1)).toMatch(/no space left on the disk/);
        noStack(ended);
        const left = readdirSync(disk, { recursive: true, withFileTypes: true });
        const files = left.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
        // If not even the lock file can be written, the state folder itself stays.
        expect(files.filter((name) => name !== ".gitignore")).toEqual([]);
      } finally {
        execFileSync("/bin/umount", [disk]);
      }
    },
  );
});

describe("a model file", () => {
  const TEMPLATE = "tokenizer.chat_template";
  const cut = (bytes: number) => {
    const file = join(temporaryFolder(), "cut.gguf");
    copyFileSync(EMBEDDED_MODEL.path, file);
    truncateSync(file, bytes);
    return file;
  };

  it.each<[what: string, model: () => string, says: RegExp]>([
    ["that is empty", () => cut(0), /is not a GGUF file, or is an incomplete download/],
    ["that is cut to 4 bytes", () => cut(4), /is not a GGUF file, or is an incomplete download/],
    ["that is cut to 20 bytes", () => cut(20), /is damaged, or was not downloaded whole/],
    ["that is cut after its first numbers", () => cut(24), /is damaged, or was not downloaded whole/],
    ["that is cut in its header", () => cut(2_000), /is damaged, or was not downloaded whole/],
    ["that is cut in the middle", () => cut(1_000_000), /is damaged, or was not downloaded whole/],
    ["that is not a GGUF file", () => import.meta.filename, /is not a GGUF file/],
  ])("%s: worker start reports it", async (_what, model, says) => {
    const { token } = await pool.admin.invite({ label: "cut" });
    const where = ["--pool", pool.url, "--state", join(temporaryFolder(), "state")];
    for (const memory of [[], ["--memory-limit", "1GB"]]) {
      const args = ["worker", "start", ...where, "--gpu", "off", "--model", model(), ...memory];
      const ended = await ligand(args, { LIGAND_WORKER_TOKEN: token });
      expect(ended.code).toBe(1);
      expect(ended.stdout).toMatch(says);
      expect(ended.stdout + ended.stderr).not.toMatch(/undefined|TypeError/);
      noStack(ended);
    }
  });

  /** A copy of the embedded model whose header bytes are changed; their length stays the same. */
  function changed(change: (header: Buffer) => void): string {
    const bytes = readFileSync(EMBEDDED_MODEL.path);
    change(bytes);
    const file = join(temporaryFolder(), "changed.gguf");
    writeFileSync(file, bytes);
    return file;
  }

  it.each<[what: string, model: () => string, says: RegExp]>([
    [
      "without a chat template",
      () => changed((header) => header.write("tokenizer.chat_templatX", header.indexOf(TEMPLATE))),
      /changed: its file has no chat template; chats are written with the template \w+/,
    ],
    [
      "whose chat template does not run",
      () => changed((header) => header.write("{% x", header.indexOf(TEMPLATE) + TEMPLATE.length + 12)),
      /changed: the chat template of its file does not run \(.+\); chats are written with the template \w+/,
    ],
  ])("%s: worker start names the template that it uses, and the worker answers", async (_what, model, says) => {
    const worker = await startWorker(pool, { args: ["--gpu", "off"], model: model() });
    expect(worker.output()).toMatch(says);
    const answer = await fetch(`${pool.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${pool.credentials.client_key}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "changed", messages: [{ role: "user", content: "Hi" }], max_tokens: 3 }),
    });
    expect(answer.status).toBe(200);
    await worker.stop();
  });
});

it("npm start with an unknown setting reports it and exits with 2", async () => {
  const ended = await run(["scripts/start.ts", "--port", "x"]);
  expect(ended.code).toBe(2);
  noStack(ended);
});
