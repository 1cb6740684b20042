export type PoolUrl = { readonly ok: true; readonly url: string } | { readonly ok: false; readonly message: string };

/**
 * The socket's address from the pool's. A worker token opens the pool's work to whoever reads it, so it goes over plain
 * HTTP only to this machine itself, unless the owner insists.
 */
export function workerSocketUrl(pool: string, allowInsecure = false): PoolUrl {
  const url = URL.canParse(pool) ? new URL(pool) : null;
  const protocols: Record<string, string> = { "https:": "wss:", "wss:": "wss:", "http:": "ws:", "ws:": "ws:" };
  const protocol = url === null ? undefined : protocols[url.protocol];
  if (url === null || protocol === undefined) {
    return { ok: false, message: "Give --pool the pool's URL, such as https://pool.example." };
  }
  if (url.username !== "" || url.password !== "") {
    return { ok: false, message: "The pool's URL carries no user name or password: the worker token is what counts." };
  }
  if (protocol === "ws:" && !isLoopback(url.hostname) && !allowInsecure) {
    return {
      ok: false,
      message: `The way to ${url.host} is not encrypted. Use https://, or --insecure on a network you trust.`,
    };
  }
  return { ok: true, url: `${protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}/v1/workers/connect` };
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
