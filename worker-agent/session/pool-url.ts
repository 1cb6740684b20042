export type PoolUrl = { readonly ok: true; readonly url: string } | { readonly ok: false; readonly message: string };

/**
 * The address of the worker socket, from the pool's URL. The token gives access to the pool's jobs, so it is sent without
 * encryption only to this machine, unless the owner allows it.
 */
export function workerSocketUrl(pool: string, allowInsecure = false): PoolUrl {
  const url = URL.canParse(pool) ? new URL(pool) : null;
  const protocols: Record<string, string> = { "https:": "wss:", "wss:": "wss:", "http:": "ws:", "ws:": "ws:" };
  const protocol = url === null ? undefined : protocols[url.protocol];
  if (url === null || protocol === undefined) {
    return { ok: false, message: "Give --pool the pool's URL, such as https://pool.example." };
  }
  if (url.username !== "" || url.password !== "") {
    return {
      ok: false,
      message: "Remove the user name and password from the pool's URL. A worker needs only its token.",
    };
  }
  if (protocol === "ws:" && !isLoopback(url.hostname) && !allowInsecure) {
    return {
      ok: false,
      message: `The connection to ${url.host} would not be encrypted. Use https://, or --insecure on a network that you trust.`,
    };
  }
  return { ok: true, url: `${protocol}//${url.host}${url.pathname.replace(/\/+$/, "")}/v1/workers/connect` };
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
