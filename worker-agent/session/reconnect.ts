import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type BackoffRange, backoffMs, RECONNECT } from "./backoff-rules.ts";
import { type ConnectionEnd, type ConnectionOptions, connect } from "./connection.ts";

export interface ReconnectOptions extends ConnectionOptions {
  readonly random: () => number;
  readonly range?: BackoffRange;
}

export type ServiceEnd = Exclude<ConnectionEnd, { type: "lost" }>;

/** Keeps a session with the pool until the agent is drained or must stop. A long session resets the backoff. */
export async function serve(options: ReconnectOptions): Promise<ServiceEnd> {
  const { drain, onEvent, range = RECONNECT } = options;
  let lostMs: number | null = null;
  for (let attempt = 0; !drain.aborted; attempt++) {
    onEvent({ type: "connecting", url: options.url });
    const end = await connect(options);
    if (end.type !== "lost") return end;
    if (drain.aborted) break;
    // The monotonic clock: the wall clock jumps forward after the machine slept.
    const nowMs = performance.now();
    if (lostMs === null || end.openMs >= LIMITS.deadAfterMs) {
      attempt = 0;
      lostMs = nowMs;
    }
    const asked = Math.min(end.retryAfterMs, range.maxMs);
    const retryInMs = Math.max(
      asked,
      backoffMs({ attempt, outageMs: nowMs - lostMs, random: options.random() }, range),
    );
    onEvent({ type: "disconnected", reason: end.reason, retryInMs });
    await sleep(retryInMs, undefined, { signal: drain }).catch(() => {});
  }
  return { type: "drained", unfinished: 0 };
}
