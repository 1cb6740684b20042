import { isIP } from "node:net";
import { connect } from "node:tls";

/** The certificate at an address, as this machine sees it. */
export interface SeenCertificate {
  /** The end of the certificate's validity; null if no certificate was seen. */
  validTo: Date | null;
  /** This machine cannot resolve the name. */
  unresolved: boolean;
}

const TLS_MS = 5_000;
/** Errors of `getaddrinfo`: there is no such name, or no name server answers. */
const UNRESOLVED: readonly unknown[] = ["ENOTFOUND", "EAI_AGAIN"];

/**
 * Reads the certificate at an https URL. If this machine cannot resolve the name of its own pool, it tries loopback.
 */
export async function seenCertificate(url: URL, isHere: boolean): Promise<SeenCertificate> {
  const name = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || 443);
  const seen = await certificateAt(name, name, port);
  if (!seen.unresolved || !isHere) return seen;
  const { validTo } = await certificateAt("127.0.0.1", name, port);
  return { validTo, unresolved: true };
}

/** Accepts any issuer: clients decide whom they trust. */
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
