import { join } from "node:path";
import { atomIdOfWorkerToken } from "../schema/crypto/api-keys.ts";
import { LIMITS } from "../schema/wire/limits.ts";
import { type AgentEvent, formatEvent } from "./events.ts";
import type { EXIT_CODES } from "./exit-codes.ts";
import { type EngineChoice, openEngine } from "./open-engine.ts";
import { pluralize } from "./pluralize.ts";
import type { BackoffRange } from "./session/backoff-rules.ts";
import { probePool } from "./session/pool-probe.ts";
import { workerSocketUrl } from "./session/pool-url.ts";
import { serve } from "./session/reconnect.ts";
import { openAgentKey } from "./state/agent-key.ts";
import { AgentState } from "./state/agent-state.ts";
import { formatOwner, lockFolder } from "./state/folder-lock.ts";
import { openStateFolder } from "./state/state-folder.ts";
import type { AgentStatus } from "./state/status-file.ts";

export interface AgentOptions extends EngineChoice {
  /** `https://…` or `wss://…`. `http://` and `ws://` only to this machine, or with `allowInsecure`. */
  readonly poolUrl: string;
  /** The worker token. It contains the atom id of its pool. */
  readonly token: string;
  /** The folder of this agent's key and status. Made with mode 0700, and locked while the agent runs. */
  readonly stateDir: string;
  /** Where agents of this machine share measurements and file hashes. By default `stateDir`. */
  readonly cacheDir?: string;
  /** Allows plain ws:// to other machines. */
  readonly allowInsecure?: boolean;
  /** Called for each event, after `status.json` contains it. */
  readonly onEvent?: (event: AgentEvent) => void;
  /** Called with each event as a sentence for a person. */
  readonly log?: (line: string) => void;
  /** Called with the content of `status.json` each time it is written. */
  readonly onStatus?: (status: AgentStatus) => void;
  /** Abort it to drain the agent: it finishes its jobs, takes no new ones, and ends. */
  readonly signal?: AbortSignal;
  readonly reconnect?: BackoffRange;
}

export type AgentOutcome = { readonly code: keyof typeof EXIT_CODES; readonly message: string };

/** Runs a worker until it has drained or cannot continue. Every outcome is a value; an expected outcome is never thrown. */
export async function runAgent(options: AgentOptions): Promise<AgentOutcome> {
  const onEvent = (event: AgentEvent) => {
    options.onEvent?.(event);
    options.log?.(formatEvent(event));
  };
  const finish = (outcome: AgentOutcome): AgentOutcome => {
    onEvent({ type: "stopped", ...outcome });
    return outcome;
  };
  const { slots } = options;
  if (slots !== undefined && (!Number.isInteger(slots) || slots < 1 || slots > LIMITS.slotsPerModel)) {
    return finish({ code: "usage", message: `Slots must be a whole number from 1 to ${LIMITS.slotsPerModel}.` });
  }
  const address = workerSocketUrl(options.poolUrl, options.allowInsecure);
  if (!address.ok) return finish({ code: "usage", message: address.message });
  const pool = atomIdOfWorkerToken(options.token);
  if (pool === null) {
    return finish({
      code: "usage",
      message: "The given text is not a worker token. Ask the pool's operator for an invite.",
    });
  }
  const folder = await openStateFolder(options.stateDir, ["agent.key"]);
  if (!folder.ok) return finish({ code: "failed", message: folder.message });
  const locked = await lockFolder(options.stateDir);
  if (!locked.ok) {
    const owner = `in use by a worker: ${formatOwner(locked.owner, locked.state)}`;
    const remedy = "Stop that worker first, or start this one with another --state folder.";
    return finish({ code: "failed", message: `The state folder ${options.stateDir} is ${owner}. ${remedy}` });
  }
  try {
    return await work(options, { url: address.url, pool, onEvent, finish });
  } finally {
    locked.lock.release();
  }
}

/** The values that are known before the engine is opened. */
interface RunContext {
  readonly url: string;
  /** The atom id that the token carries. */
  readonly pool: string;
  readonly onEvent: (event: AgentEvent) => void;
  readonly finish: (outcome: AgentOutcome) => AgentOutcome;
}

const STOPPED_EARLY: AgentOutcome = { code: "drained", message: "Stopped before the model was loaded." };

async function work(options: AgentOptions, { url, pool, onEvent, finish }: RunContext): Promise<AgentOutcome> {
  const key = await openAgentKey(join(options.stateDir, "agent.key"));
  if (!key.ok) return finish({ code: "failed", message: key.message });
  if (key.wasExposed)
    onEvent({ type: "warning", message: "Other users could read the agent's key file. Its mode is now 0600." });

  const { stateDir, poolUrl } = options;
  const status = new AgentState({ stateDir, poolUrl, pool, worker: key.signer.id }, onEvent, options.onStatus);
  const close = async (outcome: AgentOutcome): Promise<AgentOutcome> => {
    await status.close(outcome);
    return finish(outcome);
  };
  const drain = options.signal ?? new AbortController().signal;
  status.onEvent({ type: "loading", step: "asking the pool whether it accepts this worker" });
  const probed = await probePool({ url, token: options.token, pool, signal: drain });
  if (!probed.ok) return close(drain.aborted ? STOPPED_EARLY : { code: probed.code, message: probed.message });
  const opened = await openEngine(options, {
    stateDir,
    cacheDir: options.cacheDir ?? stateDir,
    meter: status.counters,
    onEvent: status.onEvent,
    signal: drain,
  });
  if (!opened.ok) return close(drain.aborted ? STOPPED_EARLY : { code: opened.code, message: opened.message });
  const { engine } = opened;

  const end = await serve({
    url,
    token: options.token,
    pool,
    signer: key.signer,
    engine,
    counters: status.counters,
    drain,
    drainMs: LIMITS.drainMs,
    onEvent: status.onEvent,
    nowMs: Date.now,
    random: Math.random,
    ...(options.reconnect === undefined ? {} : { range: options.reconnect }),
  });
  await engine.dispose();
  if (end.type === "stopped") return close({ code: end.code, message: end.message });
  const left =
    end.unfinished === 0 ? "All jobs are finished." : `${pluralize(end.unfinished, "job")} did not finish in time.`;
  return close({ code: "drained", message: `The worker has drained. ${left}` });
}
