import { isIP } from "node:net";
import { connect } from "node:tls";

/** What a look at the certificate of an address found. */
export interface SeenCertificate {
  /** Of the certificate that was shown; null where none could be seen. */
  validTo: Date | null;
  /** The name leads nowhere from this machine. */
  unresolved: boolean;
}

const TLS_MS = 5_000;
/** What `getaddrinfo` says of a name that leads nowhere, or of which nobody could be asked. */
const UNRESOLVED: readonly unknown[] = ["ENOTFOUND", "EAI_AGAIN"];

/**
 * The certificate that is shown at an https URL. A pool on this machine is looked for on loopback where its name, which
 * is for others, leads nowhere from here.
 */
export async function seenCertificate(url: URL, isHere: boolean): Promise<SeenCertificate> {
  const name = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || 443);
  const seen = await certificateAt(name, name, port);
  if (!seen.unresolved || !isHere) return seen;
  const { validTo } = await certificateAt("127.0.0.1", name, port);
  return { validTo, unresolved: true };
}

/** Whoever signed it: that is for clients to judge. */
function certificateAt(host: string, name: string, port: number): Promise<SeenCertificate> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, rejectUnauthorized: false, ...(isIP(name) === 0 && { servername: name }) });
    const answer = (validTo: Date | null, unresolved = false) => {
      socket.destroy();
      resolve({ validTo, unresolved });
    };
    socket.setTimeout(TLS_MS, () => answer(null));
    socket.once("error", (error: NodeJS.ErrnoException) => answer(null, UNRESOLVED.includes(error.code)));
    socket.once("secureConnect", () => answer(new Date(socket.getPeerCertificate().valid_to)));
  });
}
