import type { IncomingMessage } from "node:http";
import * as z from "zod";
import { ERRORS } from "../../schema/wire/errors.ts";
import { CLOSE, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";

/** Reasons to stop for good: with this agent, token and address another attempt would fail in the same way. */
export type StopCode = "token-refused" | "token-expired" | "protocol-too-old" | "wrong-pool";

export const STOPPED: Readonly<Record<StopCode, string>> = Object.freeze({
  "token-refused":
    "The pool refuses this worker token: it is unknown, revoked, or bound to another worker. Ask its operator for a new invite.",
  "token-expired": "The worker token has expired. Ask the pool's operator for a new invite.",
  "protocol-too-old": "The pool speaks a newer worker protocol than this agent. Update the agent.",
  "wrong-pool":
    "The pool at this address is not the one that made the worker token. Check --pool, or ask this pool's operator for an invite.",
});

/** Why this close code stops the agent for good; null if it may connect again. */
export function stopOfClose(code: number): StopCode | null {
  if (code === CLOSE.tokenRefused) return "token-refused";
  if (code === CLOSE.tokenExpired) return "token-expired";
  return code === CLOSE.protocolTooOld ? "protocol-too-old" : null;
}

/** An HTTP response instead of a WebSocket. */
export interface Refusal {
  readonly status: number;
  /** Set only if the pool itself says so: a firewall or proxy may answer 401 and 403 too. */
  readonly stop: StopCode | null;
  /** The pool accepts this token, but the worker must wait before it connects again. */
  readonly isTooOften: boolean;
  /** Whether the response is from a pool. */
  readonly isPool: boolean;
  /** If `stop` is set, the sentence for that reason; otherwise the pool's own message, if there is one. */
  readonly message: string | null;
  readonly retryAfterMs: number;
  /** The target of a redirect. */
  readonly location: string | null;
}

const REFUSAL_BODY_BYTES = 4_096;

const REFUSAL_STOPS = [
  [ERRORS["workers/token-refused"].openAiCode, "token-refused"],
  [ERRORS["workers/token-expired"].openAiCode, "token-expired"],
] as const;

const refusalBody = z.object({ error: z.object({ message: z.string().max(500), code: z.string().nullish() }) });

/**
 * Reads why the pool refused the WebSocket.
 *
 * @param pool the atom id that our token carries
 */
export async function readRefusal(response: IncomingMessage, pool: string): Promise<Refusal> {
  const { headers, statusCode: status = 0 } = response;
  const error = await bodyOf(response);
  const common = {
    status,
    isPool: headers["x-ligand-code"] !== undefined,
    isTooOften: error?.code === ERRORS["workers/connects-too-often"].openAiCode,
    retryAfterMs: Number(headers["retry-after"] ?? 0) * 1_000 || 0,
    location: headers.location ?? null,
  };
  // A pool refuses the tokens of another pool as unknown. Report the wrong pool, which the owner can correct.
  const answering = headers[WORKER_PROTOCOL.poolHeader] ?? pool;
  const refused = REFUSAL_STOPS.find(([openAiCode]) => openAiCode === error?.code)?.[1] ?? null;
  const stop = refused === "token-refused" && answering !== pool ? "wrong-pool" : refused;
  return { ...common, stop, message: stop === null ? (error?.message ?? null) : STOPPED[stop] };
}

async function bodyOf(response: IncomingMessage): Promise<z.infer<typeof refusalBody>["error"] | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response) {
      bytes += chunk.length;
      if (bytes > REFUSAL_BODY_BYTES) return null;
      chunks.push(chunk);
    }
    return refusalBody.safeParse(JSON.parse(Buffer.concat(chunks).toString())).data?.error ?? null;
  } catch {
    return null;
  }
}
