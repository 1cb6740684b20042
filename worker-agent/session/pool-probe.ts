import WebSocket from "ws";
import { LIMITS } from "../../schema/wire/limits.ts";
import { networkReason } from "../network-error.ts";
import { parsePoolFrame } from "./pool-frame.ts";
import { type Refusal, readRefusal, STOPPED, type StopCode, stopOfClose } from "./refusal.ts";
import { openWorkerSocket } from "./worker-socket.ts";

export interface ProbeOptions {
  /** `wss://…/v1/workers/connect`. */
  readonly url: string;
  readonly token: string;
  /** The atom id that the token carries. */
  readonly pool: string;
  /** Aborts the probe. */
  readonly signal: AbortSignal;
  /** The time limit of the whole probe. */
  readonly timeoutMs?: number;
}

export type Probed =
  | { readonly ok: true }
  /** `unreachable`: no pool answers now. A service manager may start the worker again. */
  | { readonly ok: false; readonly code: StopCode | "unreachable"; readonly message: string };

/** A challenge has about 200 bytes. */
const FRAME_BYTES = 4_096;

/** Statuses of a proxy whose pool does not answer now: timeout, too early, too many requests. */
const NOT_NOW: readonly number[] = [408, 425, 429];

/**
 * Checks whether the pool runs and accepts this token, before a model is downloaded or loaded. Opens the worker
 * socket, waits for the challenge, and closes the socket without proving a key.
 */
export function probePool({ url, token, pool, signal, timeoutMs = LIMITS.helloMs }: ProbeOptions): Promise<Probed> {
  const shown = poolUrlOf(url);
  return new Promise((resolve) => {
    const socket = openWorkerSocket({ url, token, frameBytes: FRAME_BYTES });
    const finish = (probed: Probed) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      resolve(probed);
      if (socket.readyState === WebSocket.OPEN) socket.close();
      else socket.terminate();
    };
    const unreachable = (reason: string) =>
      finish({ ok: false, code: "unreachable", message: noAnswer(shown, reason) });
    const stopped = (code: StopCode, message = STOPPED[code]) => finish({ ok: false, code, message });
    const onAbort = () => unreachable("the check was aborted");
    const timer = setTimeout(() => unreachable(`it did not answer within ${timeoutMs / 1_000} s`), timeoutMs);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();

    socket.on("message", (data, isBinary) => {
      const frame = isBinary ? null : parsePoolFrame(data.toString());
      if (frame?.type !== "challenge") stopped("wrong-pool", noPool(shown, "it sends no challenge"));
      else if (frame.pool === pool) finish({ ok: true });
      else stopped("wrong-pool");
    });
    socket.on("unexpected-response", async (_request, response) => {
      const refusal = await readRefusal(response, pool);
      if (refusal.stop !== null) stopped(refusal.stop);
      // The pool runs and knows the token. The session waits as long as the pool asks.
      else if (refusal.isTooOften) finish({ ok: true });
      else if (refusal.status >= 500 || NOT_NOW.includes(refusal.status)) unreachable(answered(refusal));
      else if (refusal.isPool) stopped("wrong-pool", `The pool at ${shown} refuses this worker: ${answered(refusal)}`);
      else stopped("wrong-pool", noPool(shown, answered(refusal)));
    });
    socket.on("error", (error) => {
      if (isForeignAnswer(error)) stopped("wrong-pool", noPool(shown, networkReason(error)));
      else unreachable(networkReason(error));
    });
    socket.on("close", (code) => {
      const stop = stopOfClose(code);
      if (stop !== null) stopped(stop);
      else unreachable(`it closed the socket (${code})`);
    });
  });
}

function poolUrlOf(socketUrl: string): string {
  return socketUrl.replace(/^ws/, "http").replace(/\/v1\/workers\/connect$/, "");
}

const noAnswer = (url: string, reason: string) =>
  `No pool answers at ${url}: ${reason}. Check --pool, and check that the pool is running.`;

const noPool = (url: string, why: string) =>
  `The server at ${url} is not a Ligand pool: ${why}. Check --pool: use the URL that the pool's operator gave you.`;

function answered({ status, message, location }: Refusal): string {
  const where = location === null ? "" : ` and redirects to ${location}`;
  return `it answered ${status}${where}${message === null ? "" : `: ${message.replace(/\.$/, "")}`}`;
}

/** True if a server answered but does not speak WebSocket: the error comes from the HTTP parser or from `ws`. */
function isForeignAnswer(error: Error): boolean {
  const code = "code" in error ? String(error.code) : undefined;
  return code === undefined || code.startsWith("HPE_") || code.startsWith("WS_ERR_");
}
