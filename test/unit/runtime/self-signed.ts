import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generate } from "selfsigned";
import type { TlsFiles } from "../../../scripts/runtime/tls-certificate.ts";

/** A certificate that signs itself, for localhost and 127.0.0.1 unless told otherwise, as files in a folder. */
export async function selfSigned(
  folder: string,
  { names = ["localhost"], notAfter = new Date(Date.now() + 86_400_000) } = {},
): Promise<TlsFiles & { cert: string; key: string }> {
  const made = await generate([{ name: "commonName", value: names[0] ?? "localhost" }], {
    keyType: "ec",
    notBeforeDate: new Date(Date.now() - 7 * 86_400_000),
    notAfterDate: notAfter,
    extensions: [
      {
        name: "subjectAltName",
        altNames: [...names.map((value) => ({ type: 2 as const, value })), { type: 7 as const, ip: "127.0.0.1" }],
      },
    ],
  });
  const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  writeFileSync(certFile, made.cert);
  writeFileSync(keyFile, made.private, { mode: 0o600 });
  return { certFile, keyFile, cert: made.cert, key: made.private };
}
