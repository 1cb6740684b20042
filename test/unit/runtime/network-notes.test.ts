import { expect, it } from "vitest";
import { NetworkNotes, readNetworkNote } from "../../../scripts/runtime/network-notes.ts";

const REFERENCE = "cfkotgqv4utounohsipq28ov";
const note = (cause: string, reference = REFERENCE) =>
  `e = rust/worker/ffi.rs:110: failed: ${cause}\nstack: /opt/workerd@28a3c60 /opt/workerd@3ac7580; sentryErrorContext = jsgInternalError; wdErrId = ${reference}`;
const HANDSHAKE = "TLS handshake failed:";

it.each<[cause: string, failure: string]>([
  [`${HANDSHAKE} invalid peer certificate: UnknownIssuer`, "untrusted-certificate"],
  [`${HANDSHAKE} invalid peer certificate: BadSignature`, "untrusted-certificate"],
  [`${HANDSHAKE} invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))`, "untrusted-certificate"],
  [
    `${HANDSHAKE} invalid peer certificate: certificate not valid for name "localhost"; certificate is only valid for DnsName("other.example")`,
    "wrong-certificate",
  ],
  [
    `${HANDSHAKE} invalid peer certificate: certificate expired: verification time 1795289829 (UNIX), but certificate is not valid after 1795279828 (10001 seconds ago)`,
    "expired-certificate",
  ],
  [
    `${HANDSHAKE} invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but certificate is not valid before 2 (1 seconds in future)`,
    "expired-certificate",
  ],
  [`${HANDSHAKE} received corrupt message of type InvalidContentType`, "no-tls"],
  [`${HANDSHAKE} tls handshake eof`, "tls-failed"],
  [`${HANDSHAKE} received fatal alert: ProtocolVersion`, "tls-failed"],
  ["received fatal alert: CertificateRequired", "tls-failed"],
  ["failed to lookup address information: Name or service not known", "unknown-host"],
  ["connecting to 127.0.0.1:41713 is not allowed", "private-address"],
])("the cause of a failed call is read from the runtime's note: %s", (cause, failure) =>
  expect(readNetworkNote(note(cause))).toEqual({ reference: REFERENCE, failure: `federation/${failure}` }),
);

it.each<[what: string, message: string]>([
  ["another failure of the runtime", note("database disk image is malformed")],
  ["a cause that only contains such words", note("opening connecting to x is not allowed")],
  ["no reference", note("tls", "")],
  ["an entry of the Worker itself", '{"event":"x","said":"failed to lookup address information: "}'],
  ["a longer entry that begins with such a note", `${note(`${HANDSHAKE} tls handshake eof`)}\nand more`],
  ["an entry of the alarm scheduler", "NOSENTRY SQLite alarm overdue; wdErrId = cfkotgqv4utounohsipq28ov"],
])("%s stays in the log", (_what, message) => {
  expect(readNetworkNote(message)).toBeNull();
  expect(new NetworkNotes().take(message)).toBe(false);
});

const asked = async (notes: NetworkNotes, path: string) => {
  const answer = await notes.service({ url: `http://runner${path}` });
  return [answer.status, await answer.text()];
};

it("the cause is found by its reference, whether the note comes before or after the request", async () => {
  const notes = new NetworkNotes();
  const early = asked(notes, `/${REFERENCE}`);
  expect(notes.take(note(`${HANDSHAKE} tls handshake eof`))).toBe(true);
  expect(await early).toEqual([200, "federation/tls-failed"]);
  expect(await asked(notes, `/${REFERENCE}`)).toEqual([200, "federation/tls-failed"]);
});

it.each(["/", "/error", `/${REFERENCE}/more`, `/${"a".repeat(24)}`])("the path %s is no reference", async (path) => {
  expect(await asked(new NetworkNotes(), path)).toEqual([404, ""]);
});

it("only the newest notes are kept", async () => {
  const notes = new NetworkNotes();
  const references = Array.from({ length: 300 }, (_, i) => i.toString(36).padStart(24, "0"));
  for (const reference of references) notes.take(note("connecting to x is not allowed", reference));
  expect(await asked(notes, `/${references[299]}`)).toEqual([200, "federation/private-address"]);
  expect(await asked(notes, `/${references[44]}`)).toEqual([200, "federation/private-address"]);
  expect(await asked(notes, `/${references[43]}`)).toEqual([404, ""]);
});
