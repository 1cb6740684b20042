import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  LAUNCHD_WRAPPER,
  launchdPlist,
  type ServiceHost,
  servicePlan,
  systemdUnit,
} from "../../../worker-agent/cli/service-plan.ts";
import { shellWord } from "../../../worker-agent/cli/shared/shell-word.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

const run = promisify(execFile);
const has = (program: string, ...args: string[]) => spawnSync(program, args, { stdio: "ignore" }).status === 0;
const SYSTEMD = has("systemd-analyze", "--version");
const PLUTIL = process.platform === "darwin";
const PYTHON = has("python3", "-c", "import plistlib");

let folder: string;
beforeAll(async () => {
  folder = temporaryFolder();
});

const host = (platform: string): ServiceHost => ({ platform, home: "/home/w", configHome: undefined, uid: 501 });
const HOSTILE = [
  "/opt/my node/100%/$HOME/\"q\"'x'\\n<&>/node",
  "--token-file",
  "/a b/%h/$HOME/]]>&amp;",
  "é;|",
] as const;

/** systemd.syntax(7) and systemd.service(5): quotes, C escapes, `%%`, `$$`. */
function wordsOf(command: string): string[] {
  return [...command.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match, at) => {
    const word = (match[1] ?? "").replace(/\\(.)/g, "$1").replaceAll("%%", "%");
    return at === 0 ? word : word.replaceAll("$$", "$");
  });
}

describe("the systemd unit", () => {
  const lineOf = (unit: string, name: string) =>
    unit
      .split("\n")
      .find((line) => line.startsWith(`${name}=`))
      ?.slice(name.length + 1) ?? "";

  it("restarts a failed worker, except for exit codes that need a person, and waits for a drain", () => {
    const unit = systemdUnit(["/usr/bin/node", "ligand.ts"], "/home/w/.config/ligand/worker.env");
    expect(lineOf(unit, "Restart")).toBe("on-failure");
    expect(lineOf(unit, "RestartPreventExitStatus")).toBe("2 3 4 5");
    expect(Number(lineOf(unit, "TimeoutStopSec"))).toBeGreaterThan(30);
    expect(lineOf(unit, "NoNewPrivileges")).toBe("yes");
    expect(lineOf(unit, "WantedBy")).toBe("default.target");
    expect(lineOf(unit, "Environment"), "no ligand.toml: the settings are those of the installation").toBe(
      "LIGAND_CONFIG=",
    );
    // V8 compiles code into memory that it then executes.
    expect(unit).not.toContain("MemoryDenyWriteExecute");
  });

  it("passes every argument to the worker unchanged, whatever characters it has", () => {
    const word = fc.string({ unit: "binary" }).map((text) => text.replace(/\p{Cc}/gu, ""));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1 }), ([node = "", ...args]) => {
        const words = wordsOf(lineOf(systemdUnit([node, ...args], "/e"), "ExecStart"));
        const shell = /["'\\]/.test(node) ? ["/bin/sh", "-c", 'exec "$@"', "ligand-worker"] : [];
        expect(words).toEqual([...shell, node, ...args]);
      }),
    );
  });

  it.skipIf(!SYSTEMD)("is accepted by systemd itself, with unusual characters in its paths", async () => {
    const unit = join(folder, "ligand-worker.service");
    const node = join(folder, "my node 100% $HOME");
    await writeFile(node, "", { mode: 0o700 });
    const env = { ...process.env, XDG_RUNTIME_DIR: folder };
    for (const argv of [[node, ...HOSTILE] as const, HOSTILE]) {
      await writeFile(unit, systemdUnit([...argv], join(folder, "100% sure.env")));
      const { stdout, stderr } = await run("systemd-analyze", ["verify", "--user", unit], { env });
      expect(stdout + stderr).toBe("");
    }
    // Check that systemd does verify: it reports a program that does not exist.
    await writeFile(unit, systemdUnit([`${node}-gone`], "/e"));
    await expect(run("systemd-analyze", ["verify", "--user", unit], { env })).rejects.toThrow("not executable");
  });
});

describe("the launchd agent", () => {
  const environment = "/Users/w/.config/ligand/worker.env";
  const log = "/Users/a & b/Library/Logs/ligand-worker.log";

  it.skipIf(!PLUTIL && !PYTHON)("is a property list with the expected values", async () => {
    const file = join(folder, "agent.plist");
    await writeFile(file, launchdPlist(HOSTILE, environment, log));
    const toJson = "import json,plistlib,sys; print(json.dumps(plistlib.load(open(sys.argv[1],'rb'))))";
    const { stdout } = PLUTIL
      ? await run("plutil", ["-convert", "json", "-o", "-", file])
      : await run("python3", ["-c", toJson, file]);
    expect(JSON.parse(stdout)).toEqual({
      Label: "network.ligand.worker",
      ProgramArguments: ["/bin/sh", "-c", LAUNCHD_WRAPPER, "ligand-worker", environment, ...HOSTILE],
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ThrottleInterval: 10,
      ExitTimeOut: 45,
      Umask: 0o077,
      StandardOutPath: log,
      StandardErrorPath: log,
    });
  });

  const wrapped = (environmentFile: string, script: string): ChildProcess =>
    spawn("/bin/sh", ["-c", LAUNCHD_WRAPPER, "ligand-worker", environmentFile, process.execPath, "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  it("reads no ligand.toml: its settings are those of the installation", async () => {
    const child = wrapped("/none", "console.log(JSON.stringify(process.env.LIGAND_CONFIG))");
    expect(String((await once(child.stdout as Readable, "data"))[0]).trim()).toBe('""');
  });
  const codeOf = async (child: ChildProcess) => (await once(child, "exit"))[0];

  it.each([
    [0, 0],
    [1, 1],
    [2, 0],
    [3, 0],
    [4, 0],
    [5, 0],
    [6, 6],
    [139, 139],
  ])(
    "a worker's exit code %i becomes %i, so that launchd restarts only a worker that may succeed",
    async (code, want) => {
      expect(await codeOf(wrapped("/nowhere", `process.exit(${code})`))).toBe(want);
    },
  );

  it("forwards TERM, waits for the drain, and passes the values of the environment file", async () => {
    const environmentFile = join(folder, "worker.env");
    await writeFile(environmentFile, "LIGAND_TEST='two words'\n");
    const drains = `
      process.on("SIGTERM", () => process.stdout.write("drained\\n", () => process.exit(0)));
      setInterval(() => {}, 1_000);
      console.log(process.env.LIGAND_TEST);`;
    const child = wrapped(environmentFile, drains);
    const ended = codeOf(child);
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (output === "") child.kill("SIGTERM");
      output += text;
    });
    expect(await ended).toBe(0);
    expect(output).toBe("two words\ndrained\n");
  });
});

describe("the plan of an installation", () => {
  it.each<[platform: string, configHome: string | undefined, path: string]>([
    ["linux", undefined, "/home/w/.config/systemd/user/ligand-worker.service"],
    ["linux", "/etc/w", "/etc/w/systemd/user/ligand-worker.service"],
    ["linux", "relative", "/home/w/.config/systemd/user/ligand-worker.service"],
    ["darwin", undefined, "/home/w/Library/LaunchAgents/network.ligand.worker.plist"],
  ])("on %s with XDG_CONFIG_HOME %s writes %s", (platform, configHome, path) => {
    expect(servicePlan({ ...host(platform), configHome }, ["/n"])?.path).toBe(path);
  });

  it("has launchd's and systemd's commands, and there is none for another platform", () => {
    expect(servicePlan(host("win32"), ["/n"])).toBeNull();
    expect(servicePlan(host("darwin"), ["/n"])).toMatchObject({
      enable: [["launchctl", "bootstrap", "gui/501", expect.stringMatching(/plist$/)]],
      disable: [["launchctl", "bootout", "gui/501/network.ligand.worker"]],
      link: null,
    });
    expect(servicePlan(host("linux"), ["/n"])).toMatchObject({
      enable: [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", "ligand-worker.service"],
      ],
      renew: expect.arrayContaining([["systemctl", "--user", "restart", "ligand-worker.service"]]),
    });
  });
});

it.each([
  ["/plain/path-1.2", "/plain/path-1.2"],
  ["a b", "'a b'"],
  ["it's", "'it'\\''s'"],
])("%s is quoted for a shell as %s", async (word, want) => {
  expect(shellWord(word)).toBe(want);
  expect((await run("/bin/sh", ["-c", `printf %s ${shellWord(word)}`])).stdout).toBe(word);
});
