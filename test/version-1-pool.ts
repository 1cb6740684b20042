import { fromHex, toHex, utf8 } from "../schema/crypto/bytes.ts";
import type { Signer } from "../schema/crypto/ed25519.ts";
import { answerLivenessChallenge } from "../schema/crypto/liveness-proof.ts";
import { readSignedHeaders, verifyRequest } from "../schema/crypto/request-signature.ts";

/**
 * What a pool of the existing network answers, and how it writes its requests. `test/vectors/existing-network.json` has
 * requests that an unmodified pool of its release 1.0.5 sent: bodies, nonces and headers are as there. That it knows nobody
 * before a handshake, answers 404 at `/api/federation`, pushes no grants, errs with `{"error": "text"}` and expects exactly 200
 * was seen at the same pool. The words of its errors and the order of its checks are read from the published source of that
 * release.
 */

export interface Version1Answer {
  readonly status: number;
  readonly body: object;
}

export interface Version1Request {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** What the pool remembers of a pool that has sent it a handshake. It never tells the trust that it grants. */
export interface MetPool {
  readonly publicKey: Uint8Array;
  trust: 0 | 1 | 2 | 3;
  isRevoked: boolean;
}

/** A request that this pool has sent, and whose callback it awaits. */
export interface AwaitedCallback {
  readonly askedPool: string;
  callback: { final_status: string; execution_result: unknown; execution_error: unknown } | null;
}

export class Version1Pool {
  readonly signer: Signer;
  readonly url: string;
  /** Pools that it has met, by their atom id. */
  readonly met = new Map<string, MetPool>();
  /** Its own requests, by their id. */
  readonly asked = new Map<string, AwaitedCallback>();
  /** Requests of other admins that wait for its own. */
  readonly inbox: Record<string, unknown>[] = [];

  constructor(signer: Signer, url: string) {
    this.signer = signer;
    this.url = url;
  }

  /** The card, without `sig_versions`. Its operator need not have set the URL, and it may then be empty. */
  get card() {
    return {
      mode: "active",
      atom_id: this.signer.id,
      name: "Cellule",
      pubkey_hex: toHex(this.signer.publicKey),
      url: this.url,
      molecule_id: "iamine-testnet",
      capabilities: [{ kind: "events" }],
      hop_max: 2,
      nonce_window_sec: 60,
      schema: 1,
    };
  }

  /** The members of the fixture `handshake`. */
  get hello() {
    const { atom_id, name, pubkey_hex, url, molecule_id } = this.card;
    return { atom_id, name, pubkey_hex, url, molecule_id, capabilities: [], request_reciprocation: true };
  }

  async answer(request: Version1Request): Promise<Version1Answer> {
    const { method, path, body } = request;
    const given = body === "" ? {} : (JSON.parse(body) as Record<string, unknown>);
    switch (`${method} ${path}`) {
      case "GET /v1/federation/info":
        return ok(this.card);
      case "POST /v1/federation/handshake":
        return this.#handshake(request, given);
      case "POST /v1/federation/verify":
        return this.#verify(request, given);
      case "POST /v1/federation/admin/request":
        return this.#bonded(request, given, "origin pool not bonded here", () => this.#request(given));
      case "POST /v1/federation/admin/callback":
        return this.#bonded(request, given, "callback from non-bonded peer", () => this.#callback(given));
      default:
        // Also every path under /api/federation: it has none of these.
        return { status: 404, body: { detail: "Not Found" } };
    }
  }

  async #handshake(request: Version1Request, given: Record<string, unknown>): Promise<Version1Answer> {
    const publicKey = fromHex(String(given.pubkey_hex)) ?? new Uint8Array();
    if (!(await isSigned(request, publicKey))) return refuse(401, "signature: invalid");
    const id = String(given.atom_id);
    const known = this.met.get(id);
    if (known === undefined) this.met.set(id, { publicKey, trust: 1, isRevoked: false });
    const reciprocation_scheduled = given.request_reciprocation === true && known === undefined;
    const flags = { signature_verified: true, reciprocation_scheduled, already_known: known !== undefined };
    return ok({ ok: true, peer_trust_level: 1, ...flags, self: this.card });
  }

  /** A pool that it has not met is unknown, also while its own handshake with that pool is open. */
  async #verify(request: Version1Request, given: Record<string, unknown>): Promise<Version1Answer> {
    const peer = this.met.get(String(given.atom_id));
    if (peer === undefined) return refuse(404, "unknown peer");
    if (peer.isRevoked) return refuse(403, "peer revoked");
    if (!(await isSigned(request, peer.publicKey))) return refuse(401, "signature: invalid");
    const challenge = String(given.challenge_b64);
    return ok({
      ok: true,
      echo_challenge_b64: challenge,
      signed_response_b64: await answerLivenessChallenge(this.signer, challenge),
      self_atom_id: this.signer.id,
      signature_verified_inbound: true,
    });
  }

  /** It looks up the sender before it verifies the signature, and says what is wrong. */
  async #bonded(
    request: Version1Request,
    given: Record<string, unknown>,
    unknown: string,
    take: () => Version1Answer,
  ): Promise<Version1Answer> {
    const peer = this.met.get(String(given.origin_pool_id));
    if (peer === undefined || peer.isRevoked) return refuse(403, unknown);
    if (peer.trust < 3) return refuse(403, `trust_level ${peer.trust} < 3 required (replication-bonded)`);
    return (await isSigned(request, peer.publicKey)) ? take() : refuse(401, "signature: invalid");
  }

  #request(given: Record<string, unknown>): Version1Answer {
    const { action_type, request_id } = given;
    if (action_type !== "query_events" && action_type !== "circuit_reset") {
      return refuse(400, `action_type not whitelisted: ${action_type}`);
    }
    if (action_type === "circuit_reset") return refuse(403, "federation_admin_write_actions disabled on this pool");
    this.inbox.push(given);
    return ok({ ok: true, request_id, status: "pending", expires_at: Math.floor(Date.now() / 1_000) + 86_400 });
  }

  #callback(given: Record<string, unknown>): Version1Answer {
    const { request_id, origin_pool_id, final_status, execution_result, execution_error } = given;
    const isStatus = ["approved", "rejected", "executed", "failed"].includes(String(final_status));
    if (!isStatus) return refuse(400, "invalid callback payload");
    const awaited = this.asked.get(String(request_id));
    if (awaited === undefined) return refuse(404, "no matching outbound request");
    if (awaited.askedPool !== origin_pool_id) return refuse(403, "callback origin mismatch");
    awaited.callback = { final_status: String(final_status), execution_result, execution_error };
    return ok({ ok: true });
  }
}

const ok = (body: object): Version1Answer => ({ status: 200, body });
const refuse = (status: number, error: string): Version1Answer => ({ status, body: { error } });

/** Version 1 signs the path alone. */
async function isSigned({ method, path, headers, body }: Version1Request, publicKey: Uint8Array): Promise<boolean> {
  const read = readSignedHeaders(headers);
  if (!read.ok || read.headers.version !== 1) return false;
  return (await verifyRequest(read, { method, target: path, body: utf8(body) }, publicKey)).verified;
}

/** 16 hex digits, as in every signed fixture. Ours have 32. */
export function version1Nonce(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(8)));
}

/** JSON as Python's `json.dumps` writes it, as in every fixture with a body: a space after `,` and `:`, and ASCII only. */
export function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value)
      .map(([name, member]) => `${pythonJson(name)}: ${pythonJson(member)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
