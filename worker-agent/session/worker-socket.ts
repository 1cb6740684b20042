import WebSocket, { type ClientOptions } from "ws";
import { OFFERED_SUBPROTOCOLS } from "../../schema/wire/worker-protocol.ts";

/** How long the closing handshake may take: longer while an answer is still on its way out. */
export const CLOSING = Object.freeze({ idleMs: 300, unsentMs: 2_000 } as const);

export interface WorkerSocketOptions {
  /** `wss://…/v1/workers/connect`. */
  readonly url: string;
  readonly token: string;
  /** The most that a frame of the pool may be. */
  readonly frameBytes: number;
  /** Until the socket is open; absent where the caller has a clock of its own. */
  readonly handshakeMs?: number;
}

/** A socket to a pool (docs/spec/workers.md#socket-protocol): the token goes to this address and, whatever it answers, to no other. */
export function openWorkerSocket({ url, token, frameBytes, handshakeMs }: WorkerSocketOptions): WebSocket {
  // The type is behind the library in `closeTimeout` alone.
  const options: ClientOptions & { closeTimeout: number } = {
    headers: { authorization: `Bearer ${token}` },
    ...(handshakeMs !== undefined && { handshakeTimeout: handshakeMs }),
    maxPayload: frameBytes,
    perMessageDeflate: false,
    followRedirects: false,
    // Some servers send their close frame and leave TCP open for long: what they said counts, not when they hang up.
    closeTimeout: CLOSING.idleMs,
  };
  return new WebSocket(url, [...OFFERED_SUBPROTOCOLS], options);
}
