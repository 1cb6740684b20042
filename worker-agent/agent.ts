import { join } from "node:path";
import { atomIdOfWorkerToken } from "../schema/crypto/api-keys.ts";
import { LIMITS } from "../schema/wire/limits.ts";
import { type AgentEvent, formatEvent } from "./events.ts";
import type { EXIT_CODES } from "./exit-codes.ts";
import { type EngineChoice, openEngine } from "./open-engine.ts";
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
  /** `https://…` or `wss://…`; plain only to this machine. */
  readonly poolUrl: string;
  /** The worker token itself; it says which pool it is for. */
  readonly token: string;
  /** The agent's own folder, made with mode 0700 and locked while it runs: key and status. */
  readonly stateDir: string;
  /** Where agents share what they measured of this machine; by default the agent's own folder. */
  readonly cacheDir?: string;
  /** Allows plain ws:// to other machines. */
  readonly allowInsecure?: boolean;
  /** Called when `status.json` holds what the event tells. */
  readonly onEvent?: (event: AgentEvent) => void;
  /** Events as sentences for a person. */
  readonly log?: (line: string) => void;
  /** What `status.json` says, each time that it is written. */
  readonly onStatus?: (status: AgentStatus) => void;
  /** Abort to drain: finish what is leased, take no more, end. */
  readonly signal?: AbortSignal;
  readonly reconnect?: BackoffRange;
}

export type AgentOutcome = { readonly code: keyof typeof EXIT_CODES; readonly message: string };

/** Runs a worker until it is drained or can no longer work. Every way it ends is a value. */
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
    return finish({ code: "usage", message: `Slots are a whole number from 1 to ${LIMITS.slotsPerModel}.` });
  }
  const address = workerSocketUrl(options.poolUrl, options.allowInsecure);
  if (!address.ok) return finish({ code: "usage", message: address.message });
  const pool = atomIdOfWorkerToken(options.token);
  if (pool === null) {
    return finish({ code: "usage", message: "That is not a worker token. Ask the pool's operator for an invite." });
  }
  const folder = await openStateFolder(options.stateDir, ["agent.key"]);
  if (!folder.ok) return finish({ code: "failed", message: folder.message });
  const locked = await lockFolder(options.stateDir);
  if (!locked.ok) {
    const who = `in use by a worker: ${formatOwner(locked.owner, locked.state)}`;
    const remedy = "Stop it first, or start this one with another --state folder.";
    return finish({ code: "failed", message: `The state folder ${options.stateDir} is ${who}. ${remedy}` });
  }
  try {
    return await work(options, { url: address.url, pool, onEvent, finish });
  } finally {
    locked.lock.release();
  }
}

/** What is known before anything is loaded. */
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
    onEvent({ type: "warning", message: "Others could read the agent's key file; its mode is 0600 now." });

  const { stateDir, poolUrl } = options;
  const status = new AgentState({ stateDir, poolUrl, pool, worker: key.signer.id }, onEvent, options.onStatus);
  const close = async (outcome: AgentOutcome): Promise<AgentOutcome> => {
    await status.close(outcome);
    return finish(outcome);
  };
  const drain = options.signal ?? new AbortController().signal;
  status.onEvent({ type: "loading", step: "asking the pool whether it takes this worker" });
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
  const left = end.unfinished === 0 ? "Nothing was left undone." : `${end.unfinished} jobs did not end in time.`;
  return close({ code: "drained", message: `The worker has drained. ${left}` });
}
