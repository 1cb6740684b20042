import { connect, type Socket } from "node:net";
import type { AdminClient } from "../../runtime/admin-client.ts";

/**
 * The pool that an attack is run against. Each file of this folder has one `attack(target, signal)`: it attacks until
 * `signal` is aborted, leaves nothing behind, and reports what the pool answered.
 */
export interface AttackTarget {
  readonly url: string;
  readonly admin: AdminClient;
}

/** What the pool answered, by HTTP status or outcome. */
export type AttackReport = Readonly<Record<string, number>>;

/** The bytes of a request to open a worker's socket. */
export function upgradeRequest(url: string, token: string): string {
  const head = [
    "GET /v1/workers/connect HTTP/1.1",
    `host: ${new URL(url).host}`,
    `authorization: Bearer ${token}`,
    "connection: Upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    "sec-websocket-protocol: ligand.worker.v1",
  ];
  return `${head.join("\r\n")}\r\n\r\n`;
}

/**
 * A TCP connection that asks for a worker's socket and never answers a close frame. Resolves with the HTTP status; 0:
 * the connection ended without one.
 */
export function rawSocket(url: string, token: string): Promise<{ socket: Socket; status: number }> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  return new Promise((resolve) => {
    let head = "";
    const settle = (status: number) => resolve({ socket, status });
    socket.on("error", () => settle(0));
    socket.on("close", () => settle(0));
    socket.on("data", (bytes) => {
      if (head.length < 64) head += bytes.toString("latin1");
      const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1];
      if (status !== undefined) settle(Number(status));
    });
    socket.write(upgradeRequest(url, token));
  });
}
