import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

const BEGIN = /-----BEGIN CERTIFICATE-----/g;
/** RFC 7468 section 2: there may be any text between two certificates of a bundle. */
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Additional certificate authorities for calls to peers, each as one PEM text. They come from the variable that Node itself
 * reads, so that one variable serves workers, clients and pools. Node silently ignores a file that it cannot read; this
 * reports an error instead.
 */
export function trustedAuthorities({ NODE_EXTRA_CA_CERTS: file }: NodeJS.ProcessEnv): string[] {
  if (file === undefined || file === "") return [];
  const refusal = (why: string) =>
    new OperatorError(
      `NODE_EXTRA_CA_CERTS names ${file}, which ${why}. Set it to the file with your authority's certificate, or unset it, then start again.`,
    );
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    throw refusal(`cannot be read (${code})`);
  }
  const found: string[] = text.match(CERTIFICATE) ?? [];
  const isBundle = found.length > 0 && found.length === text.match(BEGIN)?.length && found.every(isCertificate);
  if (!isBundle) throw refusal("is not a bundle of PEM certificates");
  return found;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
