import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { afterAll } from "vitest";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { answerLivenessChallenge } from "../../schema/crypto/liveness-proof.ts";
import { signRegistrationProof } from "../../schema/crypto/registration-proof.ts";
import { freshNonce, signRequest } from "../../schema/crypto/request-signature.ts";
import {
  type EventContent,
  GENESIS_CHAIN,
  nextChain,
  signCheckpoint,
  signEvent,
} from "../../schema/crypto/signed-event.ts";
import { ERRORS } from "../../schema/wire/errors.ts";
import {
  type HybridTime,
  type PeerAudience,
  type PullAnswer,
  type PulledEvent,
  type PushAnswer,
  pullQuery,
  pushAnswer,
  type SignedEvent,
} from "../../schema/wire/events.ts";
import { type Card, type GrantableLevel, type IdentityCard, registerAnswer } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AdminClient } from "../../scripts/runtime/admin-client.ts";
import type { Credentials } from "../../scripts/runtime/credentials.ts";

/** A pool, by any runner. */
export interface Pool {
  url: string;
  credentials: Pick<Credentials, "atom_id" | "admin_token" | "public_url">;
  admin: AdminClient;
}

/** What a peer does instead of an honest answer. False: it answers honestly. */
export type Script = (request: IncomingMessage, response: ServerResponse) => boolean;

const SAID_NOTHING = { type: "overview", visibility: "public", payload: {} } as const;
const NEVER_MISBEHAVES: Script = () => false;

const open: ScriptedPeer[] = [];
afterAll(() => {
  for (const peer of open) peer.close();
});

/**
 * A federated pool on a raw socket: the real protocol, signed with real keys, and answers by a script. By default it is
 * honest: it has a log of public events that can be pulled and followed, and an empty log for bonded peers.
 */
export class ScriptedPeer {
  readonly signer: Signer;
  readonly url: string;
  script: Script = NEVER_MISBEHAVES;
  /** It claims one more page than a puller has received. */
  isEndless = false;
  /** `METHOD path` of the requests that it received. */
  readonly asked: string[] = [];
  readonly sockets = new Set<Socket>();
  readonly #server: Server;
  readonly #streams = new Set<ServerResponse>();
  readonly #events: PulledEvent[] = [];
  readonly #logId = randomBytes(16).toString("hex");
  #chain = GENESIS_CHAIN;
  #clock: HybridTime = { physical_us: 0, logical: 0 };

  private constructor(signer: Signer, server: Server) {
    this.signer = signer;
    this.#server = server;
    const address = server.address();
    this.url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
    server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("error", () => {}).on("close", () => this.sockets.delete(socket));
    });
    // A caller that disconnects in the middle gets no answer.
    server.on("request", (request, response) => this.#answer(request, response).catch(() => response.destroy()));
  }

  static async start(): Promise<ScriptedPeer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const peer = new ScriptedPeer(await signerFrom(generateSecretKey()), server);
    open.push(peer);
    return peer;
  }

  get id(): string {
    return this.signer.id;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  // ---- as a client

  /** Registers (docs/spec/federation.md#registration), then both sides trust each other at this level. */
  async trustEachOther(pool: Pool, level: GrantableLevel): Promise<void> {
    await this.register(pool);
    await pool.admin.trustPeer(this.id, level);
    await this.grant(pool, level);
  }

  async register(pool: Pool, url = this.url): Promise<void> {
    const card: Card = {
      atom_id: this.id,
      public_key: toHex(this.signer.publicKey),
      name: "scripted",
      url,
      auth_tier: "device-bound",
      capabilities: [],
    };
    const challenge = randomBytes(32).toString("hex");
    const asked = await this.ask(pool, "POST", "/api/federation/register", { card, challenge });
    if (!asked.ok) throw new Error(`not registered: ${await asked.text()}`);
    const theirs = registerAnswer.parse(await asked.json());
    const proof = await signRegistrationProof(this.signer, "initiator", {
      initiator: { card, challenge },
      responder: { card: theirs.card, challenge: theirs.challenge },
    });
    const body = { card, challenge: theirs.challenge, proof };
    const confirmed = await this.ask(pool, "POST", "/api/federation/register/confirm", body);
    if (!confirmed.ok) throw new Error(`not registered: ${await confirmed.text()}`);
  }

  async grant(pool: Pool, level: GrantableLevel): Promise<void> {
    const payload = { peer: pool.credentials.atom_id, level };
    const [event] = await this.sign([{ type: "trust_granted", visibility: "direct", payload }]);
    const { accepted } = await this.push(pool, event === undefined ? [] : [event]);
    if (accepted !== 1) throw new Error("the grant was not accepted");
  }

  /** Signs events of its own, each later than the one before. */
  sign(contents: Omit<EventContent, "hlc">[]): Promise<SignedEvent[]> {
    return Promise.all(contents.map((content) => signEvent(this.signer, { ...content, hlc: this.#tick() })));
  }

  /** Throws unless the answer is that of a push. */
  async push(pool: Pool, events: SignedEvent[]): Promise<PushAnswer> {
    const body = { events: events.map((event) => ({ event, ttl: LIMITS.eventTtl })) };
    const answer = await this.ask(pool, "POST", "/api/federation/events", body);
    return pushAnswer.parse(await answer.json());
  }

  /** One signed request (docs/spec/federation.md#signed-requests). */
  async ask(
    pool: Pool,
    method: "GET" | "POST",
    target: string,
    json?: unknown,
    signal?: AbortSignal,
  ): Promise<Response> {
    const body = json === undefined ? new Uint8Array() : Buffer.from(JSON.stringify(json));
    const signed = await this.signed(pool, method, target, body);
    const hasBody = json !== undefined;
    return fetch(`${pool.url}${target}`, {
      method,
      headers: { ...signed, ...(hasBody && { "content-type": "application/json" }) },
      ...(hasBody && { body }),
      ...(signal && { signal }),
    });
  }

  /** The headers of a signed request. */
  signed(
    pool: Pool,
    method: "GET" | "POST",
    target: string,
    body: Uint8Array = new Uint8Array(),
  ): Promise<Record<string, string>> {
    const timestampSeconds = Math.floor(Date.now() / 1_000);
    const nonce = freshNonce();
    return signRequest(this.signer, {
      method,
      target,
      body,
      destination: pool.credentials.atom_id,
      timestampSeconds,
      nonce,
    });
  }

  // ---- as a server

  /** Appends a public event to its own log, and sends it to all followers. */
  async publish(payload: EventContent["payload"]): Promise<SignedEvent> {
    const [event] = await this.sign([{ type: "overview", visibility: "public", payload }]);
    if (event === undefined) throw new Error("nothing was signed");
    const pulled = this.#write(event);
    for (const stream of this.#streams) stream.write(frame(pulled));
    return event;
  }

  /** How many public events it has. */
  get length(): number {
    return this.#events.length;
  }

  #write(event: SignedEvent): PulledEvent {
    this.#chain = nextChain(this.#chain, event.content_id, sha256);
    const pulled = { seq: this.#events.length + 1, event, ttl: LIMITS.eventTtl };
    this.#events.push(pulled);
    return pulled;
  }

  async #lengthenTo(length: number): Promise<void> {
    const more = Array.from({ length: Math.max(0, length - this.#events.length) }, () => SAID_NOTHING);
    for (const event of await this.sign(more)) this.#write(event);
  }

  /** How many pools follow it by a stream now. */
  get followers(): number {
    return this.#streams.size;
  }

  #tick(): HybridTime {
    const { physical_us, logical } = this.#clock;
    const nowUs = Date.now() * 1_000;
    this.#clock = nowUs > physical_us ? { physical_us: nowUs, logical: 0 } : { physical_us, logical: logical + 1 };
    return this.#clock;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    this.asked.push(`${request.method} ${url.pathname}`);
    response.on("error", () => {});
    if (this.script(request, response)) return;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length === 0 ? null : JSON.parse(Buffer.concat(chunks).toString("utf8"));
    switch (`${request.method} ${url.pathname}`) {
      case "GET /v1/federation/info":
        return json(response, this.#info());
      case "POST /v1/federation/verify": {
        const signed_response_b64 = await answerLivenessChallenge(this.signer, body.challenge_b64);
        return json(response, { signed_response_b64 });
      }
      case "GET /api/federation/events":
        return json(response, await this.#page(pullQuery.parse(Object.fromEntries(url.searchParams))));
      case "GET /api/federation/stream":
        return this.#follow(pullQuery.parse(Object.fromEntries(url.searchParams)), response);
      case "POST /api/federation/events":
        return json(response, this.#took(body.events.length));
      default:
        json(response, { error: { code: ERRORS["http/not-found"].openAiCode } }, 404);
    }
  }

  async #page({
    audience,
    since,
    limit,
  }: {
    audience: PeerAudience;
    since: number;
    limit: number;
  }): Promise<PullAnswer> {
    if (this.isEndless && audience === "public") await this.#lengthenTo(since + 2 * limit);
    const log = audience === "public" ? this.#events : [];
    const events = log.slice(since, since + limit);
    const head = log.length;
    // The event at a position is always the same one: two would be two versions of the log.
    const hlc = { physical_us: head, logical: 0 };
    const chain = head === 0 ? GENESIS_CHAIN : this.#chain;
    const checkpointBody = { log_id: this.#logId, audience, seq: head, chain, hlc };
    return {
      events,
      next: events.at(-1)?.seq ?? since,
      head,
      checkpoint: await signCheckpoint(this.signer, checkpointBody),
    };
  }

  #follow({ audience, since }: { audience: PeerAudience; since: number }, response: ServerResponse): void {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": following\n\n");
    if (audience !== "public") return;
    for (const pulled of this.#events.slice(since)) response.write(frame(pulled));
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
  }

  #info(): IdentityCard {
    return {
      mode: "federated",
      atom_id: this.id,
      name: "scripted",
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

  #took(accepted: number): PushAnswer {
    const receiver_hlc = this.#clock;
    return { accepted, duplicates: 0, rejected: 0, errors: [], receiver_hlc, receiver_head_seq: 0 };
  }
}

function frame(pulled: PulledEvent): string {
  return `id: ${pulled.seq}\ndata: ${JSON.stringify(pulled)}\n\n`;
}

function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
