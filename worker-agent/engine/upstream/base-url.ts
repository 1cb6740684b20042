import { BlockList, isIP } from "node:net";

export type UpstreamUrl =
  | { readonly ok: true; readonly base: string }
  | { readonly ok: false; readonly message: string };

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * The base URL of an OpenAI-compatible server, without a slash at the end. The path is `/v1` if the URL has none. Clients'
 * prompts and the key are sent there, so plain HTTP is allowed only to this machine, unless the owner allows it.
 */
export function upstreamBase(given: string, allowInsecure: boolean): UpstreamUrl {
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    return { ok: false, message: "Give --upstream-url the server's URL, such as http://127.0.0.1:8080/v1." };
  }
  if (url.username !== "" || url.password !== "") {
    return {
      ok: false,
      message: "The upstream URL must not contain a user name or password: set LIGAND_UPSTREAM_KEY instead.",
    };
  }
  if (url.search !== "" || url.hash !== "") {
    return { ok: false, message: "The upstream URL must end with its path: remove everything after ? or #." };
  }
  if (url.protocol === "http:" && !isLoopback(url.hostname) && !allowInsecure) {
    return {
      ok: false,
      message: `The connection to ${url.host} is not encrypted. Use https://, or --upstream-insecure on a network you trust.`,
    };
  }
  const path = url.pathname.replace(/\/+$/, "");
  return { ok: true, base: `${url.origin}${path === "" ? "/v1" : path}` };
}

function isLoopback(hostname: string): boolean {
  const address = hostname.replace(/^\[|\]$/g, "");
  const family = isIP(address);
  return hostname === "localhost" || (family !== 0 && LOOPBACK.check(address, family === 4 ? "ipv4" : "ipv6"));
}
