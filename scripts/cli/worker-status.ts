import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import { type IdleReason, idleReason } from "../../worker-agent/state/idle-reason-rules.ts";
import { processCommand, processIdentity } from "../../worker-agent/state/processes.ts";
import { type AgentStatus, agentStatus } from "../../worker-agent/state/status-file.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { OperatorError } from "../runtime/operator-error.ts";
import { readIfPresent } from "../runtime/private-files.ts";
import { DEFAULT_STATE_DIR } from "./access.ts";
import { LIGAND } from "./called-as.ts";
import { type Command, EXIT, flag, text } from "./command.ts";
import { counted } from "./numbers.ts";
import { flagsOf } from "./settings.ts";
import { printable, table } from "./table.ts";
import { UsageError } from "./usage-error.ts";
import { shellWord } from "./worker-service.ts";
import { defaultStateDir } from "./worker-state-dir.ts";

/** `ligand worker status`: how this machine's worker does, and why it got no job. */
export const workerStatus: Command = {
  summary: "How this machine's worker does, and why it got no job.",
  usage: "[--state DIR] [--json]",
  help: [
    "--state DIR   the worker's folder, as given to worker start (default: the one that runs, or ran last)",
    "--json        one JSON value: what status.json says, with running and why (worker-agent/state/README.md)",
    "",
    "Exits with 0 when it could tell, also of a worker that has stopped; with 1 where no worker has run.",
  ],
  options: { ...flagsOf("worker", ["state"]), json: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const given = text(values, "state");
    const { folder, others } =
      given === undefined ? likeliestFolder(defaultStateDir(process.env, homedir())) : { folder: given, others: [] };
    const status = readStatus(folder);
    const running = isRunning(status);
    const nowMs = Date.now();
    const why = idleReason(status, running, nowMs);
    console.log(
      flag(values, "json") ? jsonLine({ running, why, ...status }) : statusWords({ status, running, why, nowMs }),
    );
    if (others.length > 0 && !flag(values, "json")) {
      console.error(["\nIt ran last. Before it ran:", ...others.map(asFlag)].join("\n"));
    }
    return EXIT.ok;
  },
};

interface Ran {
  readonly folder: string;
  readonly status: AgentStatus;
  readonly running: boolean;
}

/**
 * Pure: the worker that is most likely meant, and whom else it could be. Of several that run the person says which; of
 * several that ran it is the last. One that never came to a pool, as with a token that is refused, is nobody's question.
 */
export function likeliest(all: readonly Ran[]): { folder: string; others: string[] } | { which: string[] } | null {
  const running = all.filter((each) => each.running);
  if (running.length > 1) return { which: running.map(({ folder }) => folder) };
  const connected = all.filter(({ status }) => status.counters.connections > 0);
  const ran = (connected.length > 0 ? connected : all).toSorted((a, b) => b.status.updatedMs - a.status.updatedMs);
  const [meant, ...others] = running.length > 0 ? running : ran;
  return meant === undefined ? null : { folder: meant.folder, others: others.map(({ folder }) => folder) };
}

/** Which of this user's worker folders, where none was named. */
function likeliestFolder(base: string): { folder: string; others: string[] } {
  const names = existsSync(base) ? readdirSync(base) : [];
  const found = names.map((name) => join(base, name)).filter((folder) => existsSync(join(folder, "status.json")));
  // What cannot be read is told of the one that is meant alone.
  const only = found.length === 1 ? found[0] : undefined;
  if (only !== undefined) return { folder: only, others: [] };
  const all = found.map((folder): Ran => {
    const status = readStatus(folder);
    return { folder, status, running: isRunning(status) };
  });
  const meant = likeliest(all) ?? { folder: base, others: [] };
  if ("folder" in meant) return meant;
  throw new UsageError(["Several workers run here. Which one?", ...meant.which.map(asFlag)].join("\n"));
}

function asFlag(folder: string): string {
  return `  --state ${shellWord(folder)}`;
}

function readStatus(stateDir: string): AgentStatus {
  const file = join(stateDir, "status.json");
  const content = readIfPresent(file);
  if (content === undefined) {
    const beside = join(DEFAULT_STATE_DIR, "worker");
    const hint = existsSync(join(beside, "status.json"))
      ? `The worker of npm start has one: add --state ${beside}`
      : `Start one with: ${LIGAND} worker start --pool URL --token-file FILE`;
    throw new OperatorError(`No worker has run with ${stateDir}. ${hint}`);
  }
  const parsed = agentStatus.safeParse(parseJson(content));
  if (!parsed.success) {
    throw new OperatorError(`${file} was written by another version. Restart the worker, then ask again.`);
  }
  return parsed.data;
}

/** A pid comes back: whoever has it now must be a worker. */
function isRunning({ state, pid }: AgentStatus): boolean {
  if (state === "stopped" || processIdentity(pid) === undefined) return false;
  return / worker start( |$)/.test(processCommand(pid));
}

export interface StatusView {
  readonly status: AgentStatus;
  readonly running: boolean;
  readonly why: IdleReason;
  readonly nowMs: number;
}

/** Pure: the status as a person reads it. */
export function statusWords({ status, running, why, nowMs }: StatusView): string {
  const { counters, models, lastJob, lastFailure, lastRefusal, lastDisconnect, connectedSinceMs } = status;
  const ago = (atMs: number) => `${formatDuration(nowMs - atMs)} ago`;
  const connection =
    running && connectedSinceMs !== null
      ? `connected for ${formatDuration(nowMs - connectedSinceMs)}`
      : running
        ? `running, not connected (${status.state})`
        : `not running (last heard of ${ago(status.updatedMs)})`;
  const active = running ? models.reduce((sum, model) => sum + model.active, 0) : 0;
  const rows: Row[] = [
    ["Worker", `${status.worker.slice(0, 12)}…  ${connection}`],
    ["Pool", `${status.poolUrl}  (${status.pool.slice(0, 12)}…)`],
    ["Now", `${active} active`],
    [
      "So far",
      `${counted(counters.jobsStarted, "job")} (${counters.jobsDone} done, ${counters.jobsFailed} failed, ${counters.jobsCancelled} cancelled), ${counters.tokensGenerated} tokens in ${formatDuration((running ? nowMs : status.updatedMs) - status.startedMs)}`,
    ],
    [
      "Last job",
      lastJob === null
        ? "none yet"
        : `${lastJob.model}, ${lastJob.endedMs === null ? `begun ${ago(lastJob.startedMs)}` : `${lastJob.end} ${ago(lastJob.endedMs)}`}`,
    ],
    ...optional(lastFailure, (it) => ["Failed", `${it.model}, ${ago(it.atMs)}: ${it.code}. ${it.message}`]),
    ...optional(lastRefusal, (it) => ["Not taken", `${it.model}, ${ago(it.atMs)}: ${it.message}`]),
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
    ...rows.map(([label, words]) => `${label.padEnd(10)}  ${printable(words)}`),
    "",
    table(["Model", "Busy", "Context", "Jobs", "Last job"], perModel, "It serves no model yet."),
  ].join("\n");
}

type Row = readonly [label: string, words: string];

const optional = <T>(it: T | null, row: (it: T) => Row): Row[] => (it === null ? [] : [row(it)]);

function parseJson(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}
