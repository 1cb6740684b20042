import { connect, type Socket } from "node:net";
import type { AdminClient } from "../../runtime/admin-client.ts";

/**
 * The attacked pool. Each attack of this folder is a function `attack(target, signal)`. It attacks until `signal` is aborted,
 * closes everything that it opened, and counts the pool's answers.
 */
export interface AttackTarget {
  readonly url: string;
  readonly admin: AdminClient;
}

/** The number of answers by HTTP status or outcome. */
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
 * Opens a worker's socket over plain TCP and never answers a close frame. Resolves with the HTTP status, or with 0 if the
 * connection ended without an answer.
 */
export function rawSocket(url: string, token: string): Promise<{ socket: Socket; status: number }> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  return new Promise((resolve) => {
    let head = "";
    const answered = (status: number) => resolve({ socket, status });
    socket.on("error", () => answered(0));
    socket.on("close", () => answered(0));
    socket.on("data", (bytes) => {
      if (head.length < 64) head += bytes.toString("latin1");
      const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1];
      if (status !== undefined) answered(Number(status));
    });
    socket.write(upgradeRequest(url, token));
  });
}
