import { createServer, type IncomingMessage, type Server } from "node:http";
import { toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { answerLivenessChallenge } from "../../schema/crypto/liveness-proof.ts";
import { signRegistrationProof } from "../../schema/crypto/registration-proof.ts";
import { freshNonce, signRequest } from "../../schema/crypto/request-signature.ts";
import { signEvent } from "../../schema/crypto/signed-event.ts";
import { callbackBody } from "../../schema/wire/admin-requests.ts";
import { ERRORS } from "../../schema/wire/errors.ts";
import type { EventType } from "../../schema/wire/event-registry.ts";
import { pushBody, type SignedEvent, type Visibility } from "../../schema/wire/events.ts";
import {
  type Card,
  type GrantableLevel,
  type IdentityCard,
  registerAnswer,
  registerBody,
  verifyBody,
} from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Target } from "./load.ts";

/** As a pool answers a path that it does not have. Its log is one of these: a pool that follows it asks again later. */
const NOT_FOUND = { error: { code: ERRORS["http/not-found"].openAiCode, message: ERRORS["http/not-found"].message } };

/**
 * A peer without a pool: it proves its key when an admin adds it, accepts every message, and signs its requests before the
 * measurement, so that only the pool is measured.
 */
export class PeerDouble {
  readonly id: string;
  readonly url: string;
  readonly signer: Signer;
  readonly #server: Server;
  #written = 0;
  #calledBack: (() => void) | null = null;

  private constructor(signer: Signer, server: Server, url: string) {
    this.id = signer.id;
    this.url = url;
    this.signer = signer;
    this.#server = server;
  }

  static async start(): Promise<PeerDouble> {
    const signer = await signerFrom(generateSecretKey());
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const peer = new PeerDouble(signer, server, `http://127.0.0.1:${port}`);
    server.on("request", async (request: IncomingMessage, response) => {
      const answer = await peer.#answer(request).catch(() => null);
      response.writeHead(answer === null ? 404 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? NOT_FOUND));
    });
    return peer;
  }

  /** Signs one request, which is valid for a minute. Without a body it is a read. A text body is sent as it is. */
  async signed(pool: { url: string; atomId: string }, target: string, body?: object | string): Promise<Target> {
    const text = typeof body === "string" ? body : body === undefined ? "" : JSON.stringify(body);
    const headers = await signRequest(this.signer, {
      method: body === undefined ? "GET" : "POST",
      target,
      body: utf8(text),
      destination: pool.atomId,
      timestampSeconds: Math.floor(Date.now() / 1_000),
      nonce: freshNonce(),
    });
    return { url: `${pool.url}${target}`, headers, body: text };
  }

  /** Signs a public event with the current time. `more` makes it longer. */
  event(more: Record<string, string> = {}): Promise<SignedEvent> {
    return this.#sign("worker_joined", "public", { worker: this.id, written: this.#written++, ...more });
  }

  /** Resolves when the pool has answered a request of this peer's admin. */
  nextCallback(): Promise<void> {
    return new Promise((resolve) => {
      this.#calledBack = resolve;
    });
  }

  /** Grants the pool this trust. */
  grant(pool: { atomId: string }, level: GrantableLevel): Promise<SignedEvent> {
    return this.#sign("trust_granted", "direct", { peer: pool.atomId, level });
  }

  /** Registers at the pool as a stranger. Throws if it is refused. */
  async register(pool: { url: string; atomId: string }): Promise<void> {
    const initiator = { card: this.#card(), challenge: toHex(crypto.getRandomValues(new Uint8Array(32))) };
    const asked = await send(await this.signed(pool, "/api/federation/register", initiator));
    const responder = registerAnswer.parse(JSON.parse(asked.text));
    const proof = await signRegistrationProof(this.signer, "initiator", { initiator, responder });
    const body = { card: initiator.card, challenge: responder.challenge, proof };
    const confirmed = await send(await this.signed(pool, "/api/federation/register/confirm", body));
    if (confirmed.status !== 200) throw new Error(`not registered: ${confirmed.status} ${confirmed.text}`);
  }

  #sign(type: EventType, visibility: Visibility, payload: Record<string, unknown>): Promise<SignedEvent> {
    const hlc = { physical_us: Date.now() * 1_000, logical: this.#written++ };
    return signEvent(this.signer, { type, visibility, payload, hlc });
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: IncomingMessage): Promise<object | null> {
    const chunks: Buffer[] = await request.toArray();
    const body: unknown = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : null;
    switch (`${request.method} ${request.url}`) {
      case "GET /v1/federation/info":
        return this.#identity();
      case "POST /v1/federation/verify": {
        const { challenge_b64 } = verifyBody.parse(body);
        return { signed_response_b64: await answerLivenessChallenge(this.signer, challenge_b64) };
      }
      case "POST /api/federation/register": {
        const initiator = registerBody.parse(body);
        const responder = { card: this.#card(), challenge: toHex(crypto.getRandomValues(new Uint8Array(32))) };
        const proof = await signRegistrationProof(this.signer, "responder", { initiator, responder });
        return { ...responder, proof };
      }
      case "POST /api/federation/register/confirm":
        return { status: "registered" };
      case "POST /api/federation/events": {
        const { length: accepted } = pushBody.parse(body).events;
        const receiver = { receiver_hlc: { physical_us: Date.now() * 1_000, logical: 0 }, receiver_head_seq: 0 };
        return { accepted, duplicates: 0, rejected: 0, errors: [], ...receiver };
      }
      case "POST /v1/federation/admin/callback":
        this.#calledBack?.();
        return { ok: true, request_id: callbackBody.parse(body).request_id };
      default:
        return null;
    }
  }

  #card(): Card {
    const public_key = toHex(this.signer.publicKey);
    return { atom_id: this.id, public_key, name: "bench", url: this.url, auth_tier: "device-bound", capabilities: [] };
  }

  #identity(): IdentityCard {
    return {
      mode: "federated",
      atom_id: this.id,
      name: "bench",
      pubkey_hex: toHex(this.signer.publicKey),
      url: this.url,
      molecule_id: null,
      capabilities: [],
      hop_max: LIMITS.hops,
      nonce_window_sec: LIMITS.signedRequestWindowSeconds,
      schema: 1,
      sig_versions: [1, 2],
    };
  }
}

/** Sends the request and ignores the answer. */
export async function send(target: Target, signal?: AbortSignal): Promise<{ status: number; text: string }> {
  const { url, headers, body } = target;
  const init = body === "" ? {} : { method: "POST", body, headers: { "content-type": "application/json" } };
  const given = { ...("headers" in init ? init.headers : {}), ...headers };
  const response = await fetch(url, { ...init, headers: given, ...(signal && { signal }) });
  return { status: response.status, text: await response.text() };
}
