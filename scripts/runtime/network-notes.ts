import { EventEmitter, once } from "node:events";
import { Response } from "miniflare";
import { BoundedMap } from "../../edge/limits/bounded-map.ts";
import type { NetworkFailure } from "../../schema/wire/network-failure.ts";

/** workerd's note of a call to a peer that failed: the cause, and the reference that the Worker's own error has of it. */
const NOTE = /^e = rust\/worker\/ffi\.rs:\d+: failed: ([^\n]*)\nstack: [^\n]*; wdErrId = ([a-z0-9]{24})$/;

/** What the runtime's TLS (rustls), resolver and network say, from the more to the less exact. */
const CAUSES: readonly (readonly [said: RegExp, is: NetworkFailure])[] = [
  [
    // The last is one that signs itself as `openssl req -x509` makes it; once it is trusted, it will do.
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

/** Pure. Null for whatever is not surely such a note: that is for the operator to read. */
export function readNetworkNote(message: string): { reference: string; failure: NetworkFailure } | null {
  const [, cause = "", reference = ""] = NOTE.exec(message) ?? [];
  const failure = CAUSES.find(([said]) => said.test(cause))?.[1];
  return failure === undefined ? null : { reference, failure };
}

const KEPT = 256;
const WAIT_MS = 1_000;

/**
 * Why calls to peers failed. The Worker is told a reference and no more, and the log is no place for it: a bond asks
 * again for hours, and each note has its peer's address. So they are kept here, a few, for the Worker that asks for its
 * admin (`edge/federation/delivery/peer-client.ts`).
 */
export class NetworkNotes {
  readonly #known = new BoundedMap<string, NetworkFailure>(KEPT);
  readonly #come = new EventEmitter();

  /** True for what was such a note, and is for nobody else. */
  take(message: string): boolean {
    const note = readNetworkNote(message);
    if (note === null) return false;
    this.#known.set(note.reference, note.failure);
    this.#come.emit(note.reference, note.failure);
    return true;
  }

  /** The note comes through a pipe, the question by HTTP: the one may be a moment late. */
  async find(reference: string): Promise<NetworkFailure | null> {
    const known = this.#known.get(reference);
    if (known !== undefined) return known;
    try {
      const [failure] = await once(this.#come, reference, { signal: AbortSignal.timeout(WAIT_MS) });
      return failure;
    } catch {
      return null;
    }
  }

  /** As a service of the Worker: the reference is the path, the answer a code or nothing. */
  readonly service = async (request: { url: string }): Promise<Response> => {
    const reference = /^\/([a-z0-9]{24})$/.exec(new URL(request.url).pathname)?.[1];
    const found = reference === undefined ? null : await this.find(reference);
    return new Response(found, { status: found === null ? 404 : 200 });
  };
}
