import type { IncomingMessage } from "node:http";
import * as z from "zod";
import { ERRORS } from "../../schema/wire/errors.ts";
import { CLOSE, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";

/** Ends after which this agent, this token and this address do not work together: asking again changes nothing. */
export type StopCode = "token-refused" | "token-expired" | "protocol-too-old" | "wrong-pool";

export const STOPPED: Readonly<Record<StopCode, string>> = Object.freeze({
  "token-refused":
    "The pool refuses this worker token: it is unknown, revoked, or bound to another worker. Ask its operator for a new invite.",
  "token-expired": "The worker token has expired. Ask the pool's operator for a new invite.",
  "protocol-too-old": "The pool speaks a newer worker protocol than this agent. Update the agent.",
  "wrong-pool":
    "The pool at this address is not the one that made the worker token. Check --pool, or ask for an invite of this pool.",
});

/** What a pool's close code means for good; null: worth another try. */
export function stopOfClose(code: number): StopCode | null {
  if (code === CLOSE.tokenRefused) return "token-refused";
  if (code === CLOSE.tokenExpired) return "token-expired";
  return code === CLOSE.protocolTooOld ? "protocol-too-old" : null;
}

/** An HTTP answer in the place of a socket. */
export interface Refusal {
  readonly status: number;
  /** Only the pool's own word: a firewall or proxy on the way may answer 401 and 403 too. */
  readonly stop: StopCode | null;
  /** The pool takes this token, and this worker has to wait before it connects again. */
  readonly isTooOften: boolean;
  /** Whether it was a pool that answered. */
  readonly isPool: boolean;
  /** For a worker that stops, the same sentence as after a close code; otherwise what the pool said, if a pool said it. */
  readonly message: string | null;
  readonly retryAfterMs: number;
  /** Where a redirect leads. */
  readonly location: string | null;
}

const REFUSAL_BODY_BYTES = 4_096;

const REFUSAL_STOPS = [
  [ERRORS["workers/token-refused"].openAiCode, "token-refused"],
  [ERRORS["workers/token-expired"].openAiCode, "token-expired"],
] as const;

const refusalBody = z.object({ error: z.object({ message: z.string().max(500), code: z.string().nullish() }) });

/**
 * Reads why there is no socket.
 *
 * @param pool the atom id that our token carries
 */
export async function readRefusal(response: IncomingMessage, pool: string): Promise<Refusal> {
  const { headers, statusCode: status = 0 } = response;
  const said = await bodyOf(response);
  const common = {
    status,
    isPool: headers["x-ligand-code"] !== undefined,
    isTooOften: said?.code === ERRORS["workers/connects-too-often"].openAiCode,
    retryAfterMs: Number(headers["retry-after"] ?? 0) * 1_000 || 0,
    location: headers.location ?? null,
  };
  // A pool knows no other's tokens: that it is another one is what the worker's owner needs to hear.
  const answering = headers[WORKER_PROTOCOL.poolHeader] ?? pool;
  const refused = REFUSAL_STOPS.find(([openAiCode]) => openAiCode === said?.code)?.[1] ?? null;
  const stop = refused === "token-refused" && answering !== pool ? "wrong-pool" : refused;
  return { ...common, stop, message: stop === null ? (said?.message ?? null) : STOPPED[stop] };
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
