/**
 * Whether the policy allows a webhook's URL (docs/spec/webhook.md#the-url). A name may resolve to any address: on one
 * machine the network binding checks the address that it resolves to, at each try, and Cloudflare reaches public
 * addresses only.
 */
export function isAllowedWebhookUrl(text: string, allowPrivate: boolean): boolean {
  if (allowPrivate) return true;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" && !isPrivateHost(hostname);
}

/** The URL standard writes every spelling of an IPv4 address as four decimal numbers, and IPv6 in brackets. */
function isPrivateHost(hostname: string): boolean {
  if (/^(?:.+\.)?localhost\.?$/.test(hostname)) return true;
  if (hostname.startsWith("[")) return isPrivateIpv6(hostname.slice(1, -1));
  const parts = hostname.split(".").map(Number);
  return parts.length === 4 && parts.every(Number.isInteger) && isPrivateIpv4(parts);
}

/** RFC 6890: this network, private use, shared, loopback, link-local, benchmarking, multicast and reserved. */
function isPrivateIpv4([a = 0, b = 0]: readonly number[]): boolean {
  if (a === 0 || a === 10 || a === 127 || a >= 224) return true;
  if (a === 100) return b >= 64 && b < 128;
  if (a === 169) return b === 254;
  if (a === 172) return b >= 16 && b < 32;
  if (a === 192) return b === 168;
  return a === 198 && (b === 18 || b === 19);
}

/** Global unicast addresses are 2000::/3 (RFC 4291 section 2.4). No other address is public. */
function isPrivateIpv6(address: string): boolean {
  return !/^[23][0-9a-f]{3}:/.test(address);
}
