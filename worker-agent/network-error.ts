/** https://nodejs.org/api/tls.html#x509-certificate-error-codes: the chain ends in nobody that this machine trusts. */
const UNTRUSTED: readonly string[] = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
];

const WORDS: Readonly<Record<string, string>> = Object.freeze({
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "it ended the connection",
  EAI_AGAIN: "its name cannot be looked up now",
  ENOTFOUND: "there is no host of that name",
  EHOSTUNREACH: "there is no way to that host",
  ENETUNREACH: "there is no way to that network",
  ETIMEDOUT: "it does not answer",
  UND_ERR_CONNECT_TIMEOUT: "it does not answer",
  UND_ERR_SOCKET: "it ended the connection",
  CERT_HAS_EXPIRED: "its certificate has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
  // Not TLS where TLS was expected, or TLS where HTTP was.
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS there: http:// may be meant",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS there: http:// may be meant",
  EPROTO: "it does not speak TLS there: http:// may be meant",
});

const PRIVATE_AUTHORITY =
  "its certificate is from an authority that this machine does not know. If that is the operator's own, get its certificate and set NODE_EXTRA_CA_CERTS=ca.pem";

/** Pure: why a server could not be spoken to. What a library throws carries the system's word in one of several places. */
export function networkReason(error: unknown): string {
  const chain = causes(error);
  const code = chain.map(codeOf).find((it) => it !== undefined);
  if (code !== undefined && UNTRUSTED.includes(code)) return `${PRIVATE_AUTHORITY} (${code})`;
  const words = code === undefined ? undefined : WORDS[code];
  if (words !== undefined) return `${words} (${code})`;
  const deepest = chain.findLast((it) => it.message !== "");
  return deepest?.message ?? code ?? "it cannot be reached";
}

/** The error and what caused it, outermost first; a loop of causes ends. */
function causes(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let at = error; at instanceof Error && !chain.includes(at); at = at.cause) chain.push(at);
  return chain;
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
