import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { parseJson } from "../../schema/wire/json-text.ts";
import { formatDuration } from "../format-duration.ts";
import { pluralize } from "../pluralize.ts";
import { holdsFolder } from "../state/folder-lock.ts";
import { type IdleReason, idleReason } from "../state/idle-reason-rules.ts";
import { type AgentStatus, agentStatus } from "../state/status-file.ts";
import { jsonLine } from "../terminal-text.ts";
import { START } from "./shared/called-as.ts";
import { type Command, EXIT, flag, text } from "./shared/command.ts";
import { OperatorError } from "./shared/operator-error.ts";
import { readIfPresent } from "./shared/read-if-present.ts";
import { flagsOf } from "./shared/settings.ts";
import { shellWord } from "./shared/shell-word.ts";
import { printable, table } from "./shared/table.ts";
import { UsageError } from "./shared/usage-error.ts";
import { defaultStateDir } from "./state-folders.ts";
import type { WorkerProgram } from "./worker-program.ts";

/** `status`: how this machine's worker is doing, and why it gets no job. */
export function workerStatus({ builtInWorkerDir }: WorkerProgram): Command {
  return {
    summary: "Show how this machine's worker is doing, and why it gets no job.",
    usage: "[--state DIR] [--json]",
    help: [
      "--state DIR   the worker's folder, as given to start (default: the worker that runs, or ran last)",
      "--json        print one JSON value: the content of status.json, with running and why",
      "              (described in worker-agent/state/README.md)",
      "",
      "Exit codes: 0 the status was shown, also for a stopped worker; 1 no worker has run on this machine.",
    ],
    options: { ...flagsOf("worker", ["state"]), json: { type: "boolean" } },
    positionals: { min: 0, max: 0 },
    async run(values, _positionals, hints) {
      const absent = (folder: string) => {
        const isBuiltIn = builtInWorkerDir !== undefined && existsSync(join(builtInWorkerDir, "status.json"));
        const hint = isBuiltIn
          ? `To see the worker of ${START}, add: --state ${builtInWorkerDir}`
          : `Start one with: ${hints.sibling("start --pool URL --token-file FILE")}`;
        return new OperatorError(`No worker has run with the folder ${folder}. ${hint}`);
      };
      const given = text(values, "state");
      const { folder, others } =
        given === undefined
          ? chooseFolder(defaultStateDir(process.env, homedir()), absent)
          : { folder: given, others: [] };
      const { status, running } = readWorker(folder, absent);
      const nowMs = Date.now();
      const why = idleReason(status, running, nowMs);
      console.log(
        flag(values, "json") ? jsonLine({ running, why, ...status }) : formatStatus({ status, running, why, nowMs }),
      );
      if (others.length > 0 && !flag(values, "json")) {
        console.error(
          [
            "\nThis is the worker that ran last. For an earlier worker, add one of these flags:",
            ...others.map(asFlag),
          ].join("\n"),
        );
      }
      return EXIT.ok;
    },
  };
}

interface KnownWorker {
  readonly folder: string;
  readonly status: AgentStatus;
  readonly running: boolean;
}

/**
 * The worker that the person most likely means. If several are running, the person must choose; if none is, it is the one
 * that ran last. A worker that never connected, for example with a refused token, counts only if none ever connected.
 */
export function chooseWorkerFolder(
  all: readonly KnownWorker[],
): { folder: string; others: string[] } | { candidates: string[] } | null {
  const running = all.filter((each) => each.running);
  if (running.length > 1) return { candidates: running.map(({ folder }) => folder) };
  const connected = all.filter(({ status }) => status.counters.connections > 0);
  const ran = (connected.length > 0 ? connected : all).toSorted((a, b) => b.status.updatedMs - a.status.updatedMs);
  const [chosen, ...others] = running.length > 0 ? running : ran;
  return chosen === undefined ? null : { folder: chosen.folder, others: others.map(({ folder }) => folder) };
}

type Absent = (folder: string) => OperatorError;

/** Chooses among this user's worker folders. */
function chooseFolder(base: string, absent: Absent): { folder: string; others: string[] } {
  const names = existsSync(base) ? readdirSync(base) : [];
  const found = names.map((name) => join(base, name)).filter((folder) => existsSync(join(folder, "status.json")));
  const only = found.length === 1 ? found[0] : undefined;
  if (only !== undefined) return { folder: only, others: [] };
  const chosen = chooseWorkerFolder(found.map((folder) => readWorker(folder, absent))) ?? { folder: base, others: [] };
  if ("folder" in chosen) return chosen;
  throw new UsageError(
    ["Several workers run on this machine. Choose one:", ...chosen.candidates.map(asFlag)].join("\n"),
  );
}

function asFlag(folder: string): string {
  return `  --state ${shellWord(folder)}`;
}

function readWorker(folder: string, absent: Absent): KnownWorker {
  const file = join(folder, "status.json");
  const content = readIfPresent(file);
  if (content === undefined) throw absent(folder);
  const parsed = agentStatus.safeParse(parseJson(content));
  if (!parsed.success) {
    throw new OperatorError(`Another version wrote ${file}. Restart the worker, then try again.`);
  }
  const status = parsed.data;
  // The pid may belong to another process by now, so the folder's lock decides.
  return { folder, status, running: status.state !== "stopped" && holdsFolder(folder, status.pid) };
}

export interface StatusView {
  readonly status: AgentStatus;
  readonly running: boolean;
  readonly why: IdleReason;
  readonly nowMs: number;
}

/** The status as text. */
export function formatStatus({ status, running, why, nowMs }: StatusView): string {
  const { counters, models, lastJob, lastFailure, lastRefusal, lastDisconnect, connectedSinceMs } = status;
  const ago = (atMs: number) => `${formatDuration(nowMs - atMs)} ago`;
  const connection =
    running && connectedSinceMs !== null
      ? `connected for ${formatDuration(nowMs - connectedSinceMs)}`
      : running
        ? `running, not connected (${status.state})`
        : `not running (last seen ${ago(status.updatedMs)})`;
  const active = running ? models.reduce((sum, model) => sum + model.active, 0) : 0;
  const rows: Row[] = [
    ["Worker", `${status.worker.slice(0, 12)}…  ${connection}`],
    ["Pool", `${status.poolUrl}  (${status.pool.slice(0, 12)}…)`],
    ["Now", `${pluralize(active, "active job")}`],
    [
      "So far",
      `${pluralize(counters.jobsStarted, "job")} (${counters.jobsDone} done, ${counters.jobsFailed} failed, ${counters.jobsCancelled} cancelled), ${counters.tokensGenerated} tokens in ${formatDuration((running ? nowMs : status.updatedMs) - status.startedMs)}`,
    ],
    [
      "Last job",
      lastJob === null
        ? "none yet"
        : `${lastJob.model}, ${lastJob.endedMs === null ? `started ${ago(lastJob.startedMs)}` : `${lastJob.end} ${ago(lastJob.endedMs)}`}`,
    ],
    ...optional(lastFailure, (it) => ["Failed", `${it.model}, ${ago(it.atMs)}: ${it.code}. ${it.message}`]),
    ...optional(lastRefusal, (it) => ["Refused", `${it.model}, ${ago(it.atMs)}: ${it.message}`]),
    ...optional(lastDisconnect, (it) => ["Last drop", `${ago(it.atMs)}: ${it.reason}`]),
    ["Why no job", why.message],
  ];
  const perModel = models.map(({ name, active, slots, contextTokens, jobs, lastJobMs }) => [
    printable(name),
    `${running ? active : 0} of ${slots}`,
    String(contextTokens),
    String(jobs),
    lastJobMs === null ? "never" : ago(lastJobMs),
  ]);
  return [
    ...rows.map(([label, value]) => `${label.padEnd(10)}  ${printable(value)}`),
    "",
    table(["Model", "Busy", "Context", "Jobs", "Last job"], perModel, "The worker serves no model yet."),
  ].join("\n");
}

type Row = readonly [label: string, value: string];

const optional = <T>(it: T | null, row: (it: T) => Row): Row[] => (it === null ? [] : [row(it)]);
