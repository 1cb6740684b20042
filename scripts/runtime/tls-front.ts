import { connect, type Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import type { TlsCertificate } from "./tls-certificate.ts";

/**
 * TLS for the pool on one machine (docs/spec/pool.md#where-it-runs). It ends here and the bytes go on, unread, to the pool's own socket on
 * loopback: HTTP has one parser, workerd's, so there are no two that could disagree about where a request ends, and no
 * header is added, trusted or taken away. Each connection has its own to the pool; what either side holds back, closes
 * or breaks off, the other feels at once.
 */
export interface TlsFront {
  /** Connections from now on see this certificate; those that are open stay as they are. */
  use(certificate: TlsCertificate): void;
  stop(): Promise<void>;
}

const HANDSHAKE_MS = 10_000;
const MAX_CONNECTIONS = 20_000;
/** A peer whose machine is gone says nothing: the system asks it this often. */
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
  // A handshake that fails is its client's affair.
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
 * `pipe` waits where the other side does; the end of either is the end of both. The pool's connection is reset when its
 * client is gone: workerd notices a reset within milliseconds, but a plain close (FIN) only when it next writes.
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
    return new OperatorError(`Port ${port} on ${host} is in use. Choose another with --port, or 0 for any free one.`);
  }
  return new OperatorError(`Cannot listen on ${host}, port ${port} (${String(error.code)}).`);
}
