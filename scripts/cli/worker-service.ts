import { join } from "node:path";
import { LIMITS } from "../../schema/wire/limits.ts";
import { AGENT_EXIT } from "../runtime/agent-process.ts";

/** What is written where so that a system runs a worker for its user, and the commands that tell it. */
export interface ServicePlan {
  /** The file that is written, and removed again. */
  readonly path: string;
  readonly text: string;
  /** What enabling makes beside it; null where nothing. */
  readonly link: string | null;
  /** `KEY=value` lines for the worker's environment, read if it is there: an upstream's key goes into it. */
  readonly environmentFile: string;
  readonly enable: readonly Invocation[];
  /** After a change, where an older one may run. */
  readonly renew: readonly Invocation[];
  /** Before the file goes. */
  readonly disable: readonly Invocation[];
  /** After the file is gone. */
  readonly forget: readonly Invocation[];
  /** For the person: how to read what the worker says. */
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

/** A file without this was made by someone else, and stays as it is. */
export const MARK = "Made by ligand worker install; removed by ligand worker uninstall.";

const UNIT = "ligand-worker.service";
const LABEL = "network.ligand.worker";

/**
 * Ends that need a person: started again they would end the same way. A pool that is not reached is none of them, for a
 * machine may start before its pool or its network; the agent asks for it before it loads anything.
 */
const NO_RESTART = (["usage", "token-refused", "token-expired", "protocol-too-old"] as const)
  .map((code) => AGENT_EXIT[code])
  .sort();

/** A drain may take its whole time, and then the process still says goodbye. */
const STOP_S = Math.ceil(LIMITS.drainMs / 1_000) + 15;

/** Between a failure and the next start. */
export const RESTART_S = 10;

/**
 * Pure: the plan for this kind of system; null where there is none.
 *
 * @param argv the worker's command, the runtime's absolute path first; no control characters
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
  // systemd takes no quote and no backslash in a program's path; a shell does.
  const shelled = ["/bin/sh", "-c", 'exec "$@"', "ligand-worker", ...argv] as const;
  const [program, ...args] = /["'\\]/.test(argv[0]) ? shelled : argv;
  const command = [unitWord(program, false), ...args.map((arg) => unitWord(arg, true))].join(" ");
  return `# ${MARK}
[Unit]
Description=Ligand worker

[Service]
Type=exec
# Its settings are the ones of when it was installed.
Environment=LIGAND_CONFIG=
EnvironmentFile=-${environmentFile.replaceAll("%", "%%")}
ExecStart=${command}
Restart=on-failure
RestartSec=${RESTART_S}
# Usage, a token that is refused or expired, an agent that is too old: a person must act first. A pool that cannot be
# reached, at boot for example, is asked again every ${RESTART_S} s, before any model is loaded.
RestartPreventExitStatus=${NO_RESTART.join(" ")}
# SIGTERM drains: jobs that run may end.
TimeoutStopSec=${STOP_S}
# What needs no namespaces, which many systems deny to users: those directives would keep the service from starting.
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

/** One word of an ExecStart: quoted, `%` no specifier, `$` no variable (the program's own path takes none). */
function unitWord(word: string, variables: boolean): string {
  const quoted = word.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%");
  return `"${variables ? quoted.replaceAll("$", "$$$$") : quoted}"`;
}

/**
 * launchd cannot tell exit codes apart: this turns those that need a person into a success, after which it does not
 * start anew. TERM is passed on, and the drain is waited for.
 */
export const LAUNCHD_WRAPPER = [
  // Its settings are the ones of when it was installed.
  "export LIGAND_CONFIG=",
  "set -a",
  '[ -r "$1" ] && . "$1"',
  "set +a",
  "shift",
  '"$@" & child=$!',
  "trap 'kill -TERM $child 2>/dev/null' TERM INT",
  // A trapped signal ends the wait early, with more than 128: wait again while the child still lives.
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

/** A word as a person may paste it into a shell. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
