import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

export interface TlsFiles {
  /** PEM: the certificate, then the intermediate ones. */
  certFile: string;
  keyFile: string;
}

export interface TlsCertificate {
  cert: string;
  key: string;
  /** The DNS names that it covers, without wildcards. */
  names: string[];
  validTo: Date;
}

/** Reads both files and checks that they belong together. */
export function readCertificate({ certFile, keyFile }: TlsFiles): TlsCertificate {
  const cert = readPem(certFile, "--cert");
  const key = readPem(keyFile, "--key");
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    throw new OperatorError(`${certFile} is not a PEM certificate. --cert must name the certificate with its chain.`);
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error("the key belongs to another certificate");
  } catch {
    throw new OperatorError(
      `${keyFile} is not the private key of ${certFile} (PEM, without a passphrase). Give --key the private key of this certificate.`,
    );
  }
  const validTo = new Date(certificate.validTo);
  if (validTo.getTime() <= Date.now()) {
    throw new OperatorError(`${certFile} expired at ${validTo.toISOString()}. Renew it, then start again.`);
  }
  return { cert, key, names: dnsNames(certificate.subjectAltName ?? ""), validTo };
}

/** The single host names in `DNS:pool.example, DNS:*.pool.example, IP Address:127.0.0.1`. */
export function dnsNames(subjectAltName: string): string[] {
  return subjectAltName
    .split(", ")
    .flatMap((entry) => (entry.startsWith("DNS:") ? [entry.slice(4).toLowerCase()] : []))
    .filter((name) => /^[a-z0-9.-]+$/.test(name));
}

/** The URL for clients. If the pool listens on an address, it uses a name of the certificate. */
export function publicUrl(host: string, port: number, names: readonly string[]): string {
  const name = isIP(host) === 0 ? host : (names[0] ?? (host === "0.0.0.0" || host === "::" ? "localhost" : host));
  const bracketed = name.includes(":") ? `[${name}]` : name;
  return new URL(`https://${bracketed}:${port}`).origin;
}

function readPem(file: string, flag: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const why = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    throw new OperatorError(`Cannot read ${flag} ${file} (${why}). Check the path and its permissions.`);
  }
}
