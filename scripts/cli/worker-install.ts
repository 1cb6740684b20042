import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { makeFolder } from "../../worker-agent/state/make-folder.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { OperatorError } from "../runtime/operator-error.ts";
import { readIfPresent } from "../runtime/private-files.ts";
import { poolUrl } from "./access.ts";
import { LIGAND } from "./called-as.ts";
import { type Command, EXIT, flag, text, type Values } from "./command.ts";
import { UsageError } from "./usage-error.ts";
import { type Invocation, MARK, RESTART_S, type ServicePlan, servicePlan, shellWord } from "./worker-service.ts";
import { defaultStateDir, workerFolders } from "./worker-state-dir.ts";
import { readTokenFile } from "./worker-token.ts";

const PROGRAM = fileURLToPath(new URL("../ligand.ts", import.meta.url));

/** `ligand worker install`: the worker as a service of its owner's session. Takes the flags of `worker start`. */
export function workerInstall(start: Command): Command {
  const { json: _json, ...startOptions } = start.options;
  return {
    summary: "Let the system run this worker for you: a systemd user unit, on macOS a launchd agent.",
    usage: "--user --pool URL --token-file FILE [flags of worker start]… [--now] [--json]",
    help: [
      "--user             as yourself, when you log in; needs no root",
      "--pool URL         the pool to serve",
      "--token-file FILE  the invite's token; only its path is written down",
      "--now              also enables and starts it; else the commands that do are shown",
      "--json             one JSON value instead of words",
      "",
      "Other flags are those of worker start and are kept, for example --model or --slots. Secrets besides the token",
      "go into ~/.config/ligand/worker.env, KEY=value lines. Settings are written down as they are now: install again after",
      "a change. Installing again replaces what was installed.",
      `What fails is started again after ${RESTART_S} s, also where the pool is down when the machine starts; what a person`,
      "must mend is not: wrong flags, a token that is refused or has expired, an agent that is too old.",
    ],
    options: { ...startOptions, user: { type: "boolean" }, now: { type: "boolean" }, json: { type: "boolean" } },
    positionals: { min: 0, max: 0 },
    async run(values) {
      requireUser(values, "install");
      const args = startArguments(start, values);
      const plan = planHere([process.execPath, PROGRAM, "worker", "start", ...args]);
      const before = readIfPresent(plan.path);
      requireOurs(plan, before);
      const changed = before !== plan.text;
      if (changed) writeWhole(plan.path, plan.text);
      const commands = before !== undefined && changed ? plan.renew : plan.enable;
      const now = flag(values, "now");
      if (now) runAll(commands, `${plan.path} is written, but the system was not told.`);

      const done = before === undefined ? "Wrote" : changed ? "Replaced" : "Nothing to change in";
      const next = now
        ? ["It is enabled and runs."]
        : ["Enable and start it with:", ...commands.map((command) => `  ${command.map(shellWord).join(" ")}`)];
      const lingering =
        process.platform === "linux" ? ["Keep it while you are logged out: loginctl enable-linger"] : [];
      return say(
        values,
        { path: plan.path, changed, started: now, commands },
        [
          `${done} ${plan.path}`,
          ...next,
          `While its pool is down it tries again every ${RESTART_S} s. See what it says: ${plan.logs}`,
          ...lingering,
        ].join("\n"),
      );
    },
  };
}

/** `ligand worker uninstall`: removes what `install` made, and nothing else. */
export const workerUninstall: Command = {
  summary: "Remove what worker install made; the worker's key and token stay.",
  usage: "--user [--now] [--json]",
  help: [
    "--user   your own service; there is no other",
    "--now    stops it first; else one that runs goes on until you log out",
    "--json   one JSON value instead of words",
  ],
  options: { user: { type: "boolean" }, now: { type: "boolean" }, json: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    requireUser(values, "uninstall");
    const plan = planHere([process.execPath]);
    const before = readIfPresent(plan.path);
    if (before === undefined) {
      return say(values, { path: plan.path, removed: false }, `There is no ${plan.path}: nothing to remove.`);
    }
    requireOurs(plan, before);
    const now = flag(values, "now");
    if (now) runAll(plan.disable, "Nothing was removed.");
    rmSync(plan.path);
    if (plan.link !== null && leadsTo(plan.link, plan.path)) rmSync(plan.link);
    if (now) runAll(plan.forget, `${plan.path} is removed, but the system was not told.`);
    const commands = now ? [] : plan.forget;
    const words = now
      ? [`Stopped the worker and removed ${plan.path}.`]
      : [
          `Removed ${plan.path}. A worker that runs goes on until it is stopped:`,
          ...[...stopping(plan), ...commands].map((command) => `  ${command.map(shellWord).join(" ")}`),
        ];
    return say(values, { path: plan.path, removed: true, stopped: now, commands: [...commands] }, words.join("\n"));
  },
};

/** How to stop what still runs when its file is gone already. */
function stopping({ path, link, disable }: ServicePlan): readonly Invocation[] {
  return link === null ? disable : [["systemctl", "--user", "stop", basename(path)]];
}

function requireUser(values: Values, verb: string): void {
  if (flag(values, "user")) return;
  throw new UsageError(
    `Say: ${LIGAND} worker ${verb} --user. The worker runs as you; a service of the whole machine is not offered, because it needs no root.`,
  );
}

/** Paths become absolute, for a service has another folder; the token stays in its file. */
function startArguments(start: Command, values: Values): string[] {
  const tokenFile = text(values, "token-file");
  if (tokenFile === undefined) {
    throw new UsageError("Which token? Give --token-file FILE: a service has not the environment of your shell.");
  }
  const token = readTokenFile(tokenFile);
  const { state, ...others } = values;
  // Found now, because the service may have another XDG_STATE_HOME than this shell.
  const { stateDir } = workerFolders(
    defaultStateDir(process.env, homedir()),
    token,
    typeof state === "string" ? state : undefined,
  );
  const resolved: Values = {
    ...others,
    pool: poolUrl(others),
    "token-file": resolve(tokenFile),
    state: stateDir,
  };
  return Object.entries(start.options).flatMap(([name, { type }]) => {
    if (name === "json") return [];
    const given = resolved[name];
    return [given].flat().flatMap((value) => {
      if (value === undefined || value === false) return [];
      if (type === "boolean" || typeof value === "boolean") return [`--${name}`];
      const isPath = name === "models-dir" || (name === "model" && value !== "embedded" && existsSync(value));
      const word = isPath ? resolve(value) : value;
      if (/\p{Cc}/u.test(word))
        throw new UsageError(`--${name} holds a control character; a service file has no room for one.`);
      return word.startsWith("-") ? [`--${name}=${word}`] : [`--${name}`, word];
    });
  });
}

function planHere(argv: readonly [string, ...string[]]): ServicePlan {
  const { platform } = process;
  const host = { platform, home: homedir(), configHome: process.env.XDG_CONFIG_HOME, uid: process.getuid?.() ?? 0 };
  const plan = servicePlan(host, argv);
  if (plan !== null) return plan;
  throw new OperatorError(
    `There is no service to install on ${platform}. Let the system's task scheduler run at log-on:\n  ${argv.map(shellWord).join(" ")}`,
  );
}

function requireOurs({ path }: ServicePlan, content: string | undefined): void {
  if (content === undefined || content.includes(MARK)) return;
  throw new OperatorError(`${path} was not made by ligand worker install. Move it away first.`);
}

function writeWhole(path: string, content: string): void {
  makeFolder(dirname(path));
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content, { mode: 0o644, flag: "wx" });
  renameSync(temporary, path);
}

function leadsTo(link: string, path: string): boolean {
  const found = lstatSync(link, { throwIfNoEntry: false });
  return found?.isSymbolicLink() === true && resolve(dirname(link), readlinkSync(link)) === path;
}

function runAll(commands: readonly Invocation[], soFar: string): void {
  for (const [program, ...args] of commands) {
    try {
      execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
    } catch (error) {
      const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
      throw new OperatorError(
        `${soFar} "${[program, ...args].join(" ")}" failed${said === "" ? "" : `: ${said}`}\nRun it in a session that you logged in to yourself.`,
      );
    }
  }
}

function say(values: Values, json: object, words: string): number {
  console.log(flag(values, "json") ? jsonLine(json) : words);
  return EXIT.ok;
}
