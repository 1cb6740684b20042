/** The minor version of the worker protocol on a socket, which its WebSocket subprotocol states (RFC 6455 section 1.9). */
import { WORKER_PROTOCOL } from "./limits.ts";

/** The subprotocols in the order in which an agent offers them: the newest first. */
export const OFFERED_SUBPROTOCOLS: readonly string[] = [...WORKER_PROTOCOL.subprotocols].reverse();

/** The newest offered subprotocol that the pool supports. */
export function chooseSubprotocol(offered: readonly string[]): string | undefined {
  return OFFERED_SUBPROTOCOLS.find((name) => offered.includes(name));
}

/** 0 for v1, 1 for v1.1, and so on; 0 for an unknown name too. */
export function minorOf(subprotocol: string): number {
  return Math.max(0, WORKER_PROTOCOL.subprotocols.indexOf(subprotocol));
}
