import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generate } from "selfsigned";
import type { TlsFiles } from "../../../scripts/runtime/tls-certificate.ts";

export interface Certificate extends TlsFiles {
  cert: string;
  key: string;
}

interface Issued {
  names?: string[];
  notAfter?: Date;
}

const DAY_MS = 86_400_000;
const notBeforeDate = new Date(Date.now() - 7 * DAY_MS);

/** Makes a self-signed certificate as files in a folder; by default for localhost and 127.0.0.1. */
export function selfSigned(folder: string, wanted: Issued = {}): Promise<Certificate> {
  return issue(folder, wanted);
}

/** A private authority: its own certificate as a file, and the certificates that it issues, each in a folder. */
export async function authority(folder: string) {
  const { cert, private: key } = await generate([{ name: "commonName", value: "An authority of the test" }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate,
    notAfterDate: new Date(Date.now() + DAY_MS),
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  const certFile = join(folder, "ca.pem");
  writeFileSync(certFile, cert);
  return { certFile, issue: (into: string, wanted: Issued = {}) => issue(into, wanted, { cert, key }) };
}

async function issue(
  folder: string,
  { names = ["localhost"], notAfter = new Date(Date.now() + DAY_MS) }: Issued,
  ca?: { cert: string; key: string },
): Promise<Certificate> {
  const covered = names.map((value) => ({ type: 2 as const, value }));
  const made = await generate([{ name: "commonName", value: names[0] ?? "localhost" }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate,
    notAfterDate: notAfter,
    extensions: [{ name: "subjectAltName", altNames: [...covered, { type: 7, ip: "127.0.0.1" }] }],
    ...(ca && { ca }),
  });
  const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  writeFileSync(certFile, made.cert);
  writeFileSync(keyFile, made.private, { mode: 0o600 });
  return { certFile, keyFile, cert: made.cert, key: made.private };
}
