import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { trustedAuthorities } from "../../../scripts/runtime/trusted-authorities.ts";
import { temporaryFolder } from "../../temporary-folder.ts";
import { authority, selfSigned } from "./self-signed.ts";

const folder = temporaryFolder();

let certificates: string[];
beforeAll(async () => {
  const { issue } = await authority(folder);
  certificates = [(await issue(folder)).cert.trim(), (await selfSigned(folder)).cert.trim()];
});

const read = (text: string) => {
  const file = join(folder, "bundle.pem");
  writeFileSync(file, text);
  return trustedAuthorities({ NODE_EXTRA_CA_CERTS: file });
};

it.each<[what: string, text: (one: string, two: string) => string, wanted: number[]]>([
  ["one certificate", (one) => one, [0]],
  ["a bundle", (one, two) => `${one}\n${two}\n`, [0, 1]],
  ["a bundle with comments", (one, two) => `# ours\n${one}\n\n# theirs\n${two}`, [0, 1]],
  ["a file with CRLF line ends", (one) => one.replaceAll("\n", "\r\n"), [0]],
])("%s of NODE_EXTRA_CA_CERTS is read", (_what, text, wanted) => {
  const [one = "", two = ""] = certificates;
  const found = read(text(one, two)).map((pem) => pem.replaceAll("\r", ""));
  expect(found).toEqual(wanted.map((index) => certificates[index]));
});

it.each([undefined, ""])("without a file, given as %j, there is no authority", (given) => {
  expect(trustedAuthorities({ NODE_EXTRA_CA_CERTS: given })).toEqual([]);
});

it.each<[what: string, text: (one: string) => string]>([
  ["an empty file", () => ""],
  ["a private key", () => "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"],
  ["a broken certificate", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"],
  [
    "a broken certificate after a valid one",
    (one) => `${one}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----`,
  ],
  ["a certificate that is cut off", (one) => `${one}\n${one.slice(0, 200)}`],
])("%s in the file gives an error that says what to do", (_what, text) => {
  expect(() => read(text(certificates[0] ?? ""))).toThrow(
    /^NODE_EXTRA_CA_CERTS names .*bundle\.pem, which is not a bundle of PEM certificates\. .* or unset it, then start again\.$/,
  );
});

it("a file that does not exist gives the same kind of error", () => {
  expect(() => trustedAuthorities({ NODE_EXTRA_CA_CERTS: join(folder, "none.pem") })).toThrow(
    /^NODE_EXTRA_CA_CERTS names .*none\.pem, which cannot be read \(ENOENT\)\. .* or unset it, then start again\.$/,
  );
});
