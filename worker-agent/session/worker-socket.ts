import WebSocket, { type ClientOptions } from "ws";
import { OFFERED_SUBPROTOCOLS } from "../../schema/wire/worker-protocol.ts";

/** The time limit of the closing handshake. It is longer while an answer is still being sent. */
export const CLOSING = Object.freeze({ idleMs: 300, unsentMs: 2_000 } as const);

export interface WorkerSocketOptions {
  /** `wss://…/v1/workers/connect`. */
  readonly url: string;
  readonly token: string;
  /** The largest frame that the pool may send. */
  readonly frameBytes: number;
  /** The time limit until the socket is open. Absent if the caller has its own timer. */
  readonly handshakeMs?: number;
}

/**
 * Opens a socket to a pool (docs/spec/workers.md#socket-protocol). Redirects are not followed, so the token is sent to this
 * address only.
 */
export function openWorkerSocket({ url, token, frameBytes, handshakeMs }: WorkerSocketOptions): WebSocket {
  // The published type lacks `closeTimeout`.
  const options: ClientOptions & { closeTimeout: number } = {
    headers: { authorization: `Bearer ${token}` },
    ...(handshakeMs !== undefined && { handshakeTimeout: handshakeMs }),
    maxPayload: frameBytes,
    perMessageDeflate: false,
    followRedirects: false,
    // Some servers send a close frame and keep TCP open. Do not wait for them: the close frame is enough.
    closeTimeout: CLOSING.idleMs,
  };
  return new WebSocket(url, [...OFFERED_SUBPROTOCOLS], options);
}
