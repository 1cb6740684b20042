import { join } from "node:path";
import { LIMITS } from "../../schema/wire/limits.ts";
import { EXIT_CODES } from "../exit-codes.ts";
import { shellWord } from "./shared/shell-word.ts";

/** The service file that runs a worker for its owner, and the commands that load and unload it. */
export interface ServicePlan {
  /** Where the service file is. */
  readonly path: string;
  readonly text: string;
  /** The link that enabling the service makes; null where there is none. */
  readonly link: string | null;
  /** Optional `KEY=value` lines for the worker's environment, for example the key of an upstream server. */
  readonly environmentFile: string;
  readonly enable: readonly Invocation[];
  /** Commands after a change, when an older service may be running. */
  readonly renew: readonly Invocation[];
  /** Commands before the file is removed. */
  readonly disable: readonly Invocation[];
  /** Commands after the file is removed. */
  readonly forget: readonly Invocation[];
  /** The command that shows the worker's log. */
  readonly logs: string;
}

export type Invocation = readonly [program: string, ...args: string[]];

export interface ServiceHost {
  readonly platform: string;
  readonly home: string;
  /** `XDG_CONFIG_HOME`, if it is set. */
  readonly configHome: string | undefined;
  readonly uid: number;
}

/** Identifies our service files. A file without this mark is never changed. Older releases wrote the same text. */
export const MARK = "Made by ligand worker install; removed by ligand worker uninstall.";

const UNIT = "ligand-worker.service";
const LABEL = "network.ligand.worker";

/**
 * Exit codes after which a restart is useless, because a person must act first. An unreachable pool is not one of them: the
 * machine may start before its pool or its network.
 */
const NO_RESTART = (["usage", "token-refused", "token-expired", "protocol-too-old"] as const)
  .map((code) => EXIT_CODES[code])
  .sort();

/** The longest drain, and time to disconnect. */
const STOP_S = Math.ceil(LIMITS.drainMs / 1_000) + 15;

/** The delay between a failure and the next start. */
export const RESTART_S = 10;

/**
 * The plan for this kind of system; null if the system is not supported.
 *
 * @param argv the worker's command, beginning with the absolute path of Node; without control characters
 */
export function servicePlan(host: ServiceHost, argv: readonly [string, ...string[]]): ServicePlan | null {
  const config = host.configHome?.startsWith("/") ? host.configHome : join(host.home, ".config");
  const environmentFile = join(config, "ligand", "worker.env");
  if (host.platform === "linux") {
    const folder = join(config, "systemd", "user");
    const systemctl = (...args: string[]): Invocation => ["systemctl", "--user", ...args];
    return {
      path: join(folder, UNIT),
      text: systemdUnit(argv, environmentFile),
      link: join(folder, "default.target.wants", UNIT),
      environmentFile,
      enable: [systemctl("daemon-reload"), systemctl("enable", "--now", UNIT)],
      renew: [systemctl("daemon-reload"), systemctl("enable", UNIT), systemctl("restart", UNIT)],
      disable: [systemctl("disable", "--now", UNIT)],
      forget: [systemctl("daemon-reload")],
      logs: `journalctl --user -u ${UNIT} -f`,
    };
  }
  if (host.platform === "darwin") {
    const path = join(host.home, "Library", "LaunchAgents", `${LABEL}.plist`);
    const logFile = join(host.home, "Library", "Logs", "ligand-worker.log");
    const bootstrap: Invocation = ["launchctl", "bootstrap", `gui/${host.uid}`, path];
    const bootout: Invocation = ["launchctl", "bootout", `gui/${host.uid}/${LABEL}`];
    return {
      path,
      text: launchdPlist(argv, environmentFile, logFile),
      link: null,
      environmentFile,
      enable: [bootstrap],
      renew: [bootout, bootstrap],
      disable: [bootout],
      forget: [],
      logs: `tail -f ${shellWord(logFile)}`,
    };
  }
  return null;
}

/** systemd.service(5), systemd.exec(5). */
export function systemdUnit(argv: readonly [string, ...string[]], environmentFile: string): string {
  // systemd accepts no quotes and no backslashes in a program's path. A shell does.
  const shelled = ["/bin/sh", "-c", 'exec "$@"', "ligand-worker", ...argv] as const;
  const [program, ...args] = /["'\\]/.test(argv[0]) ? shelled : argv;
  const command = [unitWord(program, false), ...args.map((arg) => unitWord(arg, true))].join(" ");
  return `# ${MARK}
[Unit]
Description=Ligand worker

[Service]
Type=exec
# The settings are in ExecStart. ligand.toml is not read.
Environment=LIGAND_CONFIG=
EnvironmentFile=-${environmentFile.replaceAll("%", "%%")}
ExecStart=${command}
Restart=on-failure
RestartSec=${RESTART_S}
# Wrong flags, a refused or expired token, a version too old for the pool: a person must act first. An unreachable pool is
# tried again every ${RESTART_S} s, before any model is loaded.
RestartPreventExitStatus=${NO_RESTART.join(" ")}
# SIGTERM lets running jobs finish.
TimeoutStopSec=${STOP_S}
# Only directives that need no namespaces: many systems deny namespaces to users, and the service would not start.
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077
# A core dump would hold prompts and the worker's key.
LimitCORE=0

[Install]
WantedBy=default.target
`;
}

/** Quotes one word of an ExecStart. @param variables whether systemd expands `$` in it; in the program's path it does not */
function unitWord(word: string, variables: boolean): string {
  const quoted = word.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%");
  return `"${variables ? quoted.replaceAll("$", "$$$$") : quoted}"`;
}

/**
 * launchd restarts after every failure. This script turns the exit codes that need a person into success, so that launchd
 * does not restart. It forwards TERM and waits for the drain.
 */
export const LAUNCHD_WRAPPER = [
  // The settings are in the arguments. ligand.toml is not read.
  "export LIGAND_CONFIG=",
  "set -a",
  '[ -r "$1" ] && . "$1"',
  "set +a",
  "shift",
  '"$@" & child=$!',
  "trap 'kill -TERM $child 2>/dev/null' TERM INT",
  // A trapped signal ends `wait` early, with a code above 128. Wait again while the child still runs.
  "wait $child; code=$?",
  "while [ $code -gt 128 ] && kill -0 $child 2>/dev/null; do wait $child; code=$?; done",
  `case $code in ${NO_RESTART.join("|")}) exit 0 ;; esac`,
  "exit $code",
].join("\n");

/** launchd.plist(5). */
export function launchdPlist(argv: readonly string[], environmentFile: string, logFile: string): string {
  const command = ["/bin/sh", "-c", LAUNCHD_WRAPPER, "ligand-worker", environmentFile, ...argv];
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ${MARK} -->
<plist version="1.0">
<dict>
  <key>Label</key><string>${LABEL}</string>
  <key>ProgramArguments</key>
  <array>
${command.map((word) => `    <string>${xmlText(word)}</string>`).join("\n")}
  </array>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ThrottleInterval</key><integer>${RESTART_S}</integer>
  <key>ExitTimeOut</key><integer>${STOP_S}</integer>
  <key>Umask</key><integer>${0o077}</integer>
  <key>StandardOutPath</key><string>${xmlText(logFile)}</string>
  <key>StandardErrorPath</key><string>${xmlText(logFile)}</string>
</dict>
</plist>
`;
}

const xmlText = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
