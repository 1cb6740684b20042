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
  /** Ends the probe, which then has found nothing. */
  readonly signal: AbortSignal;
  /** For the whole of it. */
  readonly timeoutMs?: number;
}

export type Probed =
  | { readonly ok: true }
  /** `unreachable`: nobody is there, or not now. Whoever runs this worker as a service may try again. */
  | { readonly ok: false; readonly code: StopCode | "unreachable"; readonly message: string };

/** A challenge is some two hundred bytes. */
const FRAME_BYTES = 4_096;

/** What a server that works can answer while the pool behind it does not. */
const NOT_NOW: readonly number[] = [408, 425, 429];

/**
 * Whether the pool is there and takes this token, found out before a model is downloaded or loaded: opens the worker
 * socket as far as the challenge, proves nothing, and closes it.
 */
export function probePool({ url, token, pool, signal, timeoutMs = LIMITS.helloMs }: ProbeOptions): Promise<Probed> {
  const shown = poolUrlOf(url);
  return new Promise((resolve) => {
    const socket = openWorkerSocket({ url, token, frameBytes: FRAME_BYTES });
    const settle = (probed: Probed) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      resolve(probed);
      if (socket.readyState === WebSocket.OPEN) socket.close();
      else socket.terminate();
    };
    const unreachable = (reason: string) => settle({ ok: false, code: "unreachable", message: away(shown, reason) });
    const stopped = (code: StopCode, message = STOPPED[code]) => settle({ ok: false, code, message });
    const onAbort = () => unreachable("it was not waited for");
    const timer = setTimeout(() => unreachable(`it did not answer within ${timeoutMs / 1_000} s`), timeoutMs);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();

    socket.on("message", (data, isBinary) => {
      const frame = isBinary ? null : parsePoolFrame(data.toString());
      if (frame?.type !== "challenge") stopped("wrong-pool", noPool(shown, "it sends no challenge to a worker"));
      else if (frame.pool === pool) settle({ ok: true });
      else stopped("wrong-pool");
    });
    socket.on("unexpected-response", async (_request, response) => {
      const refusal = await readRefusal(response, pool);
      if (refusal.stop !== null) stopped(refusal.stop);
      // The pool is there and knows the token; the session waits as long as it was told to.
      else if (refusal.isTooOften) settle({ ok: true });
      else if (refusal.status >= 500 || NOT_NOW.includes(refusal.status)) unreachable(answered(refusal));
      else if (refusal.isPool) stopped("wrong-pool", `The pool at ${shown} refuses: ${answered(refusal)}`);
      else stopped("wrong-pool", noPool(shown, answered(refusal)));
    });
    socket.on("error", (error) => {
      if (spoke(error)) stopped("wrong-pool", noPool(shown, networkReason(error)));
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

const away = (url: string, reason: string) =>
  `No pool answers at ${url}: ${reason}. Check --pool, and whether the pool runs.`;

const noPool = (url: string, why: string) =>
  `What answers at ${url} is not a Ligand pool: ${why}. Check --pool: it wants the URL that the pool's operator gave you.`;

function answered({ status, message, location }: Refusal): string {
  const where = location === null ? "" : `, and leads to ${location}`;
  return `it answered ${status}${where}${message === null ? "" : `: ${message.replace(/\.$/, "")}`}`;
}

/** Something answered, and not as a WebSocket does: the HTTP parser or `ws` say so, and no system call failed. */
function spoke(error: Error): boolean {
  const code = "code" in error ? String(error.code) : undefined;
  return code === undefined || code.startsWith("HPE_") || code.startsWith("WS_ERR_");
}
