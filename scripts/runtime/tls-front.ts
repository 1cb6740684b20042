import { connect, type Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import type { TlsCertificate } from "./tls-certificate.ts";

/**
 * Terminates TLS for the pool on one machine (docs/spec/pool.md#where-it-runs). It forwards the bytes to the pool's socket on
 * loopback without parsing them. Only workerd parses HTTP, so no two parsers can disagree about where a request ends, and no
 * header is added, trusted or removed. Every connection has its own connection to the pool; backpressure, closes and resets
 * pass through immediately.
 */
export interface TlsFront {
  /** New connections use this certificate. Open connections are not affected. */
  use(certificate: TlsCertificate): void;
  stop(): Promise<void>;
}

const HANDSHAKE_MS = 10_000;
const MAX_CONNECTIONS = 20_000;
/** TCP keep-alive, to detect a client whose machine is gone. */
const KEEP_ALIVE_MS = 30_000;
/** TLS 1.3, and 1.2 for clients that are a few years old (RFC 9325 section 3.1). */
const MIN_VERSION = "TLSv1.2";

export async function startTlsFront(
  listen: { host: string; port: number },
  pool: { host: string; port: number },
  certificate: TlsCertificate,
): Promise<TlsFront> {
  const open = new Set<Socket>();
  const server = createServer({
    cert: certificate.cert,
    key: certificate.key,
    minVersion: MIN_VERSION,
    ALPNProtocols: ["http/1.1"],
    handshakeTimeout: HANDSHAKE_MS,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  server.on("secureConnection", (client) => join(client, connect({ ...pool, noDelay: true })));
  // A failed handshake concerns only its client.
  server.on("tlsClientError", (_error, client) => client.destroy());

  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(listenError(error, listen)));
    server.listen({ ...listen, exclusive: true }, resolve);
  });
  return {
    use: ({ cert, key }) => server.setSecureContext({ cert, key, minVersion: MIN_VERSION }),
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/**
 * Connects both sockets; `pipe` passes backpressure on, and the end of one ends the other. When the client is gone, the
 * connection to the pool is reset: workerd notices a reset within milliseconds, but a plain close (FIN) only at its next
 * write.
 */
function join(client: TLSSocket, pool: Socket): void {
  client.on("error", () => pool.resetAndDestroy());
  pool.on("error", () => client.destroy());
  client.once("close", () => pool.resetAndDestroy());
  pool.once("close", () => client.destroySoon());
  client.pipe(pool, { end: false });
  pool.pipe(client);
}

function listenError(error: Error, { host, port }: { host: string; port: number }): Error {
  if (!("code" in error)) return error;
  if (error.code === "EADDRINUSE") {
    return new OperatorError(`Port ${port} on ${host} is in use. Choose another with --port. 0 picks a free port.`);
  }
  return new OperatorError(`Cannot listen on ${host}, port ${port} (${String(error.code)}). Check --host and --port.`);
}
