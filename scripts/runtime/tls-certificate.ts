import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

export interface TlsFiles {
  /** PEM: the certificate, then those that lead to its issuer's root. */
  certFile: string;
  keyFile: string;
}

export interface TlsCertificate {
  cert: string;
  key: string;
  /** DNS names that it covers; a wildcard names no one host. */
  names: string[];
  validTo: Date;
}

/** Reads both files and checks that they belong together, before anything listens with them. */
export function readCertificate({ certFile, keyFile }: TlsFiles): TlsCertificate {
  const cert = readPem(certFile, "--cert");
  const key = readPem(keyFile, "--key");
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    throw new OperatorError(`${certFile} is not a PEM certificate. --cert wants the certificate with its chain.`);
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error("another certificate's");
  } catch {
    throw new OperatorError(
      `${keyFile} is not the private key of ${certFile} (PEM, without a passphrase). Give the key that it was issued for.`,
    );
  }
  const validTo = new Date(certificate.validTo);
  if (validTo.getTime() <= Date.now()) {
    throw new OperatorError(`${certFile} expired at ${validTo.toISOString()}. Renew it, then start again.`);
  }
  return { cert, key, names: dnsNames(certificate.subjectAltName ?? ""), validTo };
}

/** Pure: of `DNS:pool.example, DNS:*.pool.example, IP Address:127.0.0.1`, the names of single hosts. */
export function dnsNames(subjectAltName: string): string[] {
  return subjectAltName
    .split(", ")
    .flatMap((entry) => (entry.startsWith("DNS:") ? [entry.slice(4).toLowerCase()] : []))
    .filter((name) => /^[a-z0-9.-]+$/.test(name));
}

/** Pure: the URL to give to clients: under the name that the certificate covers, where it listens under no name. */
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
    throw new OperatorError(`${flag} ${file} cannot be read (${why}).`);
  }
}
