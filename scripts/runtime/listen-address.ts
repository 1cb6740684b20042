import { createServer } from "node:net";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

/** Whether only this machine can reach the host. A name other than localhost may resolve to any address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Whether the URL is on loopback, so that on another machine it means that machine itself. */
export function leadsToLoopback(url: string): boolean {
  return isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ""));
}

/** The URL at which this machine reaches a pool that listens on `host`. */
export function localUrl(host: string, port: number): string {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${bracketed(reachable)}:${port}`;
}

/** The host names that the pool answers to, comma-separated and without ports (docs/spec/pool.md#where-it-runs). */
export function allowedHosts(host: string, more: readonly string[]): string {
  const own = host === "0.0.0.0" || host === "::" ? [] : [bracketed(host)];
  return [...new Set(["127.0.0.1", "localhost", "[::1]", ...own, ...more.map(bracketed)])].join(",");
}

/** Picks a free port. The pool must know its URL before it listens, so the runtime cannot choose the port. */
export async function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) =>
      reject(new OperatorError(`Cannot listen on ${host}: ${error.message}. Check --host.`)),
    );
    server.listen(0, host, () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new OperatorError(`Cannot listen on ${host}. Check --host.`));
      });
    });
  });
}

function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}
