import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { makeFolder } from "../state/make-folder.ts";
import { jsonLine } from "../terminal-text.ts";
import { type Invocation, MARK, RESTART_S, type ServicePlan, servicePlan } from "./service-plan.ts";
import { type Command, EXIT, flag, text, type Values } from "./shared/command.ts";
import { OperatorError } from "./shared/operator-error.ts";
import { readIfPresent } from "./shared/read-if-present.ts";
import { shellWord } from "./shared/shell-word.ts";
import { UsageError } from "./shared/usage-error.ts";
import { defaultStateDir, workerFolders } from "./state-folders.ts";
import { readTokenFile } from "./token-file.ts";
import { poolOf, type WorkerProgram } from "./worker-program.ts";

/** `install`: runs the worker as a service of its owner. Takes the flags of `start`. */
export function workerInstall(program: WorkerProgram, start: Command): Command {
  const { json: _json, ...startOptions } = start.options;
  return {
    summary: "Run this worker as a service: a systemd user unit, or a launchd agent on macOS.",
    usage: "--user --pool URL --token-file FILE [flags of start]… [--now] [--json]",
    help: [
      "--user             as a service of your own account, which starts when you log in and needs no root",
      "--pool URL         the pool to serve",
      "--token-file FILE  the file with the token of your invite; the service stores only its path",
      "--now              enable and start the service; without it, the commands for that are printed",
      "--json             print one JSON value",
      "",
      "All other flags of start are stored in the service, for example --model or --slots. The service also stores the",
      "current settings of ligand.toml and of your variables: install again after a change. Put secrets other than the",
      "token into ~/.config/ligand/worker.env, as KEY=value lines. A second install replaces the first.",
      "",
      `The system restarts a failed worker after ${RESTART_S} s, also if the pool is down when the machine starts. It does not`,
      "restart a worker that needs you: wrong flags, a refused or expired token, or a version too old for the pool.",
    ],
    options: { ...startOptions, user: { type: "boolean" }, now: { type: "boolean" }, json: { type: "boolean" } },
    positionals: { min: 0, max: 0 },
    async run(values, _positionals, hints) {
      requireUser(values, hints.sibling("install --user"));
      const args = startArguments(program, start, values);
      const plan = planHere([process.execPath, ...program.argv, "start", ...args]);
      const previous = readIfPresent(plan.path);
      requireOurs(plan, previous);
      const changed = previous !== plan.text;
      if (changed) replaceFile(plan.path, plan.text);
      const commands = previous !== undefined && changed ? plan.renew : plan.enable;
      const now = flag(values, "now");
      if (now) runAll(commands, `Wrote ${plan.path}, but could not load the service.`);

      const done = previous === undefined ? "Wrote" : changed ? "Replaced" : "No change in";
      const next = now
        ? ["The service is enabled and running."]
        : ["Enable and start it with:", ...commands.map((command) => `  ${command.map(shellWord).join(" ")}`)];
      const lingering =
        process.platform === "linux" ? ["To keep it running while you are logged out: loginctl enable-linger"] : [];
      return print(
        values,
        { path: plan.path, changed, started: now, commands },
        [
          `${done} ${plan.path}`,
          ...next,
          `If the pool is down, the worker tries again every ${RESTART_S} s. To read its log: ${plan.logs}`,
          ...lingering,
        ].join("\n"),
      );
    },
  };
}

/** `uninstall`: removes the files that `install` made, and nothing else. */
export const workerUninstall: Command = {
  summary: "Remove the service. The worker's key and token stay.",
  usage: "--user [--now] [--json]",
  help: [
    "--user   the service of your own account; there is no other kind",
    "--now    stop the worker first; without it, a running worker keeps running until you log out",
    "--json   print one JSON value",
  ],
  options: { user: { type: "boolean" }, now: { type: "boolean" }, json: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values, _positionals, hints) {
    requireUser(values, hints.sibling("uninstall --user"));
    const plan = planHere([process.execPath]);
    const previous = readIfPresent(plan.path);
    if (previous === undefined) {
      return print(
        values,
        { path: plan.path, removed: false },
        `There is no service to remove: ${plan.path} does not exist.`,
      );
    }
    requireOurs(plan, previous);
    const now = flag(values, "now");
    if (now) runAll(plan.disable, "Nothing was removed.");
    rmSync(plan.path);
    if (plan.link !== null && pointsTo(plan.link, plan.path)) rmSync(plan.link);
    if (now) runAll(plan.forget, `Removed ${plan.path}, but could not reload the service manager.`);
    const commands = now ? [] : plan.forget;
    const lines = now
      ? [`Stopped the worker and removed ${plan.path}.`]
      : [
          `Removed ${plan.path}. A running worker keeps running until you stop it:`,
          ...[...stopping(plan), ...commands].map((command) => `  ${command.map(shellWord).join(" ")}`),
        ];
    return print(values, { path: plan.path, removed: true, stopped: now, commands: [...commands] }, lines.join("\n"));
  },
};

/** Stops a running worker after its unit file is gone. */
function stopping({ path, link, disable }: ServicePlan): readonly Invocation[] {
  return link === null ? disable : [["systemctl", "--user", "stop", basename(path)]];
}

function requireUser(values: Values, command: string): void {
  if (flag(values, "user")) return;
  throw new UsageError(`Add --user: ${command}. The service runs as your account, because a worker needs no root.`);
}

/** Makes paths absolute, because a service runs in another folder. The token stays in its file. */
function startArguments(program: WorkerProgram, start: Command, values: Values): string[] {
  const tokenFile = text(values, "token-file");
  if (tokenFile === undefined) {
    throw new UsageError(
      "No token is given. Give --token-file FILE: a service does not have the variables of your shell.",
    );
  }
  const token = readTokenFile(tokenFile);
  const { state, ...others } = values;
  // Resolved now, because the service may have another XDG_STATE_HOME than this shell.
  const { stateDir } = workerFolders(
    defaultStateDir(process.env, homedir()),
    token,
    typeof state === "string" ? state : undefined,
  );
  const resolved: Values = {
    ...others,
    pool: poolOf(program, others),
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
        throw new UsageError(`--${name} contains a control character, which a service file cannot hold.`);
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
    `Ligand cannot install a service on ${platform}. Let the system's task scheduler run this at log-on:\n  ${argv.map(shellWord).join(" ")}`,
  );
}

function requireOurs({ path }: ServicePlan, content: string | undefined): void {
  if (content === undefined || content.includes(MARK)) return;
  throw new OperatorError(`Another program or person made ${path}. Move the file to another folder, then try again.`);
}

function replaceFile(path: string, content: string): void {
  makeFolder(dirname(path));
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content, { mode: 0o644, flag: "wx" });
  renameSync(temporary, path);
}

function pointsTo(link: string, path: string): boolean {
  const found = lstatSync(link, { throwIfNoEntry: false });
  return found?.isSymbolicLink() === true && resolve(dirname(link), readlinkSync(link)) === path;
}

function runAll(commands: readonly Invocation[], done: string): void {
  for (const [program, ...args] of commands) {
    try {
      execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
    } catch (error) {
      const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
      throw new OperatorError(
        `${done} "${[program, ...args].join(" ")}" failed${stderr === "" ? "" : `: ${stderr}`}\nRun it in a session that you logged in to directly, not through su or sudo.`,
      );
    }
  }
}

function print(values: Values, json: object, text: string): number {
  console.log(flag(values, "json") ? jsonLine(json) : text);
  return EXIT.ok;
}
