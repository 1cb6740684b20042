import { createServer } from "node:net";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

/** Pure: only this machine can reach it. A name other than localhost may lead anywhere. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Pure: whoever is told this URL on another machine finds itself there. */
export function leadsToLoopback(url: string): boolean {
  return isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ""));
}

/** Pure: the URL by which this machine reaches a pool that listens on `host`. */
export function localUrl(host: string, port: number): string {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${bracketed(reachable)}:${port}`;
}

/** Pure: the host names the pool answers to (docs/spec/pool.md#where-it-runs: an unknown `Host` is refused). Comma-separated, no ports. */
export function allowedHosts(host: string, more: readonly string[]): string {
  const own = host === "0.0.0.0" || host === "::" ? [] : [bracketed(host)];
  return [...new Set(["127.0.0.1", "localhost", "[::1]", ...own, ...more.map(bracketed)])].join(",");
}

/** A port that is free now. The pool must know its URL before it listens, so port 0 cannot be left to the runtime. */
export async function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => reject(new OperatorError(`Cannot listen on ${host}: ${error.message}`)));
    server.listen(0, host, () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new OperatorError(`Cannot listen on ${host}.`));
      });
    });
  });
}

function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}
