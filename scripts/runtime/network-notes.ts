import { EventEmitter, once } from "node:events";
import { Response } from "miniflare";
import { BoundedMap } from "../../edge/limits/bounded-map.ts";
import type { NetworkFailure } from "../../schema/wire/network-failure.ts";

/** workerd's note of a failed call to a peer: the cause, and the reference that the Worker's error also has. */
const NOTE = /^e = rust\/worker\/ffi\.rs:\d+: failed: ([^\n]*)\nstack: [^\n]*; wdErrId = ([a-z0-9]{24})$/;

/** Messages of the runtime's TLS (rustls), resolver and network, the more specific ones first. */
const CAUSES: readonly (readonly [pattern: RegExp, code: NetworkFailure])[] = [
  [
    // The last alternative is a self-signed certificate of `openssl req -x509`, which is accepted once it is trusted.
    /^TLS handshake failed: invalid peer certificate: (UnknownIssuer|BadSignature|Other\(OtherError\(CaUsedAsEndEntity\)\))$/,
    "federation/untrusted-certificate",
  ],
  [/^TLS handshake failed: invalid peer certificate: certificate not valid for name /, "federation/wrong-certificate"],
  [
    /^TLS handshake failed: invalid peer certificate: certificate (expired|not valid yet): /,
    "federation/expired-certificate",
  ],
  [/^TLS handshake failed: received corrupt message of type InvalidContentType$/, "federation/no-tls"],
  [/^(TLS handshake failed|received fatal alert): /, "federation/tls-failed"],
  [/^failed to lookup address information: /, "federation/unknown-host"],
  [/^connecting to \S+ is not allowed$/, "federation/private-address"],
];

/** Parses a note; null if the message is anything else, which then stays in the log. */
export function readNetworkNote(message: string): { reference: string; failure: NetworkFailure } | null {
  const [, cause = "", reference = ""] = NOTE.exec(message) ?? [];
  const failure = CAUSES.find(([pattern]) => pattern.test(cause))?.[1];
  return failure === undefined ? null : { reference, failure };
}

const KEPT = 256;
const WAIT_MS = 1_000;

/**
 * The causes of failed calls to peers. The Worker's error has only a reference. The log is not the place for the causes,
 * because a bond retries for hours and each note contains the peer's address. So the last ones are kept here, and the Worker
 * asks for them on behalf of its admin (`edge/federation/delivery/peer-client.ts`).
 */
export class NetworkNotes {
  readonly #known = new BoundedMap<string, NetworkFailure>(KEPT);
  readonly #arrived = new EventEmitter();

  /** Whether the message was a note. The caller then drops it from the log. */
  take(message: string): boolean {
    const note = readNetworkNote(message);
    if (note === null) return false;
    this.#known.set(note.reference, note.failure);
    this.#arrived.emit(note.reference, note.failure);
    return true;
  }

  /** The note comes through a pipe and the question by HTTP, so the note may be a moment late. */
  async find(reference: string): Promise<NetworkFailure | null> {
    const known = this.#known.get(reference);
    if (known !== undefined) return known;
    try {
      const [failure] = await once(this.#arrived, reference, { signal: AbortSignal.timeout(WAIT_MS) });
      return failure;
    } catch {
      return null;
    }
  }

  /** A service for the Worker: the path is the reference, the answer is the code or status 404. */
  readonly service = async (request: { url: string }): Promise<Response> => {
    const reference = /^\/([a-z0-9]{24})$/.exec(new URL(request.url).pathname)?.[1];
    const found = reference === undefined ? null : await this.find(reference);
    return new Response(found, { status: found === null ? 404 : 200 });
  };
}
