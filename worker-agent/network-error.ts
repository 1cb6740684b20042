/** The certificate's authority is not trusted: https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const UNTRUSTED: readonly string[] = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
];

const REASONS: Readonly<Record<string, string>> = Object.freeze({
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "it closed the connection",
  EAI_AGAIN: "its name cannot be resolved now",
  ENOTFOUND: "no host has that name",
  EHOSTUNREACH: "that host is unreachable",
  ENETUNREACH: "that network is unreachable",
  ETIMEDOUT: "it does not answer",
  UND_ERR_CONNECT_TIMEOUT: "it does not answer",
  UND_ERR_SOCKET: "it closed the connection",
  CERT_HAS_EXPIRED: "its certificate has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
  // The other side speaks HTTP where TLS was expected, or TLS where HTTP was expected.
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS; use http:// if that is intended",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS; use http:// if that is intended",
  EPROTO: "it does not speak TLS; use http:// if that is intended",
});

const PRIVATE_AUTHORITY =
  "its certificate is from an authority that this machine does not trust. If the operator runs that authority, get its certificate and set NODE_EXTRA_CA_CERTS=ca.pem";

/**
 * Why a request to a server failed, for a person. Libraries put the system's error code on the error or on one of its
 * causes.
 */
export function networkReason(error: unknown): string {
  const chain = causes(error);
  const code = chain.map(codeOf).find((it) => it !== undefined);
  if (code !== undefined && UNTRUSTED.includes(code)) return `${PRIVATE_AUTHORITY} (${code})`;
  const reason = code === undefined ? undefined : REASONS[code];
  if (reason !== undefined) return `${reason} (${code})`;
  const deepest = chain.findLast((it) => it.message !== "");
  return deepest?.message ?? code ?? "it cannot be reached";
}

/** The error and its causes, outermost first. Stops if the causes form a loop. */
function causes(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let at = error; at instanceof Error && !chain.includes(at); at = at.cause) chain.push(at);
  return chain;
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
