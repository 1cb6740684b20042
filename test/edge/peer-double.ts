import { applyD1Migrations, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { vi } from "vitest";
import { append, type LogState, newLog } from "../../edge/events/log-machine.ts";
import { poolKeys } from "../../edge/identity/pool-keys.ts";
import { toBase64, toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { answerLivenessChallenge } from "../../schema/crypto/liveness-proof.ts";
import { type Registration, signRegistrationProof } from "../../schema/crypto/registration-proof.ts";
import {
  freshNonce,
  SIGNATURE_HEADERS,
  type SignedHeaders,
  signedBytes,
  targetOf,
} from "../../schema/crypto/request-signature.ts";
import { signCheckpoint, signEvent } from "../../schema/crypto/signed-event.ts";
import type { PeerAudience, PulledEvent, PushAnswer, SignedEvent, Visibility } from "../../schema/wire/events.ts";
import {
  type Card,
  type FederationPolicy,
  type IdentityCard,
  type PeerView,
  registerAnswer,
  type TrustLevel,
} from "../../schema/wire/federation.ts";
import { pythonJson, Version1Pool, version1Nonce } from "../version-1-pool.ts";
import { admin, pool } from "./support.ts";

/** This pool's atom id and key. No other pool should be able to use the key. */
export const { atomId: US, signer: OURS } = await poolKeys(env);

/** A fresh pool that federates. Its outbound calls reach the doubles that are made from now on, and no other host. */
export async function freshPool(policy: Partial<FederationPolicy> = {}): Promise<void> {
  // Wait for the work that the last change of the policy started.
  await env.DB.exec("SELECT 1");
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
  doubles.clear();
  vi.spyOn(globalThis, "fetch").mockImplementation(reach);
  await setPolicy({ federation: "on", max_peers: 0, ...policy });
}

export const setPolicy = (policy: Partial<FederationPolicy>) => admin("PATCH", "/federation", policy);

/** Changes to a request, before and after it is signed. */
export interface Bend extends Partial<SignedHeaders> {
  /** The key of another pool, or a signer of its own. */
  sign?: Signer["sign"];
  /** Headers as sent; null removes one. */
  headers?: Record<string, string | null>;
  /** `pathname + search` as sent. */
  target?: string;
  body?: string | Uint8Array | ReadableStream<Uint8Array>;
}

export interface EventDraft {
  type?: string;
  visibility?: Visibility;
  payload?: Record<string, unknown>;
  /** How far its clock is ahead of ours. */
  aheadMs?: number;
  /** Microseconds since the epoch; replaces `aheadMs`. */
  atUs?: number;
}

/** A call of this pool, as the double received it. */
export interface Call {
  method: string;
  target: string;
  headers: Headers;
  body: unknown;
}

type Answer = (request: Request) => Response | undefined | Promise<Response | undefined>;

const doubles = new Map<string, PeerDouble>();

/** The double at that address answers. An address without a double is unreachable. */
async function reach(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init);
  const double = doubles.get(new URL(request.url).origin);
  if (!double) throw new TypeError("network connection lost");
  return double.receive(request, init?.signal ?? null);
}

/** Another pool: its key, card, log, requests and answers. It is honest unless a test changes it. */
export class PeerDouble {
  readonly signer: Signer;
  readonly url: string;
  /** Every call that the pool made. */
  readonly calls: Call[] = [];
  /** Events that the pool pushed. */
  readonly received: SignedEvent[] = [];
  /** Called first; where it returns undefined, the answer is honest. */
  answer: Answer = () => undefined;
  /** 1: it answers as a pool of the existing network does. */
  version: 1 | 2 = 2;
  /** Its answers in version 1. */
  readonly version1: Version1Pool;
  readonly log: DoubleLog;

  private constructor(signer: Signer, url: string) {
    this.signer = signer;
    this.url = url;
    this.log = new DoubleLog(signer);
    this.version1 = new Version1Pool(signer, url);
  }

  static async make(url?: string, secretKey = generateSecretKey()): Promise<PeerDouble> {
    const signer = await signerFrom(secretKey);
    const double = new PeerDouble(signer, url ?? `https://${signer.id.slice(0, 16)}.peer.example`);
    doubles.set(double.url, double);
    return double;
  }

  get id(): string {
    return this.signer.id;
  }

  card(changes: Partial<Card> = {}): Card {
    return {
      atom_id: this.id,
      public_key: toHex(this.signer.publicKey),
      name: "double",
      url: this.url,
      auth_tier: "device-bound",
      capabilities: ["events", "listed"],
      ...changes,
    };
  }

  // ---- requests

  async request(method: string, target: string, body?: unknown, bend: Bend = {}): Promise<Request> {
    const { sign = this.signer.sign, headers: changed = {}, target: sentTo, body: sent, ...fields } = bend;
    const version = fields.version ?? 2;
    const chain = fields.chain ?? [];
    const headers: SignedHeaders = {
      version,
      origin: this.id,
      destination: version === 2 ? US : null,
      timestampSeconds: Math.floor(Date.now() / 1_000),
      nonce: version === 2 ? freshNonce() : version1Nonce(),
      hop: chain.length,
      ...fields,
      chain,
    };
    const write = version === 2 ? JSON.stringify : pythonJson;
    const text = body === undefined ? undefined : typeof body === "string" ? body : write(body);
    const url = new URL(target, "https://pool.example");
    const message = await signedBytes(headers, { method, target: targetOf(url), body: utf8(text ?? "") });
    const given = new Headers({
      [SIGNATURE_HEADERS.atomId]: headers.origin,
      [SIGNATURE_HEADERS.timestamp]: String(headers.timestampSeconds),
      [SIGNATURE_HEADERS.nonce]: headers.nonce,
      [SIGNATURE_HEADERS.hop]: String(headers.hop),
      [SIGNATURE_HEADERS.chain]: headers.chain.join(","),
      [SIGNATURE_HEADERS.signature]: toBase64(await sign(message)),
    });
    if (version === 2) given.set(SIGNATURE_HEADERS.version, "2");
    if (headers.destination !== null) given.set(SIGNATURE_HEADERS.destination, headers.destination);
    for (const [name, value] of Object.entries(changed)) {
      if (value === null) given.delete(name);
      else given.set(name, value);
    }
    const content = sent ?? text;
    return new Request(new URL(sentTo ?? target, url), {
      method,
      headers: given,
      ...(content !== undefined && { body: content }),
    });
  }

  async send(method: string, target: string, body?: unknown, bend?: Bend): Promise<Response> {
    return deliver(await this.request(method, target, body, bend));
  }

  /** A signed request that a test may send several times. */
  replay(request: Request): Promise<Response> {
    return deliver(request.clone());
  }

  /** Status and code. */
  async outcomeOf(method: string, target: string, body?: unknown, bend?: Bend): Promise<string> {
    return outcome(await this.send(method, target, body, bend));
  }

  /** Registers as the initiator, by the real routes (docs/spec/federation.md#registration). */
  async register(card = this.card()): Promise<Response> {
    const registration = await this.startRegistration(card);
    if (registration instanceof Response) return registration;
    return this.confirm(registration);
  }

  async startRegistration(card = this.card()): Promise<Registration | Response> {
    const challenge = toHex(crypto.getRandomValues(new Uint8Array(32)));
    const asked = await this.send("POST", "/api/federation/register", { card, challenge });
    if (asked.status !== 200) return asked;
    const theirs = registerAnswer.parse(await asked.json());
    return { initiator: { card, challenge }, responder: { card: theirs.card, challenge: theirs.challenge } };
  }

  async confirm(registration: Registration, bend: { proof?: string } & Bend = {}): Promise<Response> {
    const { proof = await signRegistrationProof(this.signer, "initiator", registration), ...rest } = bend;
    const body = { card: registration.initiator.card, challenge: registration.responder.challenge, proof };
    return this.send("POST", "/api/federation/register/confirm", body, rest);
  }

  event(draft?: EventDraft): Promise<SignedEvent> {
    return eventOf(this.signer, draft);
  }

  grant(level: TrustLevel, draft: EventDraft = {}): Promise<SignedEvent> {
    return this.event({ type: "trust_granted", visibility: "direct", payload: { peer: US, level }, ...draft });
  }

  async push(events: readonly SignedEvent[], ttl = 3): Promise<Response> {
    return this.send("POST", "/api/federation/events", { events: events.map((event) => ({ event, ttl })) });
  }

  /** The answer to the push, for any status. */
  async pushed(events: readonly SignedEvent[], ttl = 3): Promise<PushAnswer> {
    return (await this.push(events, ttl)).json();
  }

  /** The peer as our admin sees it. */
  seen(): Promise<PeerView & { deliveries_waiting: number; sync: unknown }> {
    return admin("GET", `/peers/${this.id}`);
  }

  bond() {
    return env.BOND.getByName(this.id);
  }

  // ---- answers

  async receive(request: Request, signal: AbortSignal | null): Promise<Response> {
    const url = new URL(request.url);
    const text = await request.clone().text();
    this.calls.push({
      method: request.method,
      target: targetOf(url),
      headers: request.headers,
      body: text === "" ? null : JSON.parse(text),
    });
    const scripted = await this.answer(request);
    if (scripted !== undefined) return scripted;
    if (this.version === 2) return this.#honest(`${request.method} ${url.pathname}`, url, text, signal);
    const { method, headers } = request;
    const { status, body } = await this.version1.answer({ method, path: url.pathname, headers, body: text });
    return Response.json(body, { status });
  }

  /** Calls to that path, with any query. */
  called(path: string): Call[] {
    return this.calls.filter(({ target }) => target.split("?", 1)[0] === path);
  }

  async #honest(route: string, url: URL, text: string, signal: AbortSignal | null): Promise<Response> {
    const since = Number(url.searchParams.get("since"));
    const audience = url.searchParams.get("audience") === "peers" ? "peers" : "public";
    switch (route) {
      case "GET /v1/federation/info":
        return Response.json(this.#info());
      case "POST /v1/federation/verify": {
        const { challenge_b64 } = JSON.parse(text) as { challenge_b64: string };
        return Response.json({ signed_response_b64: await answerLivenessChallenge(this.signer, challenge_b64) });
      }
      case "POST /v1/federation/handshake": {
        const self = this.#info();
        const flags = { signature_verified: true, reciprocation_scheduled: false, already_known: false };
        return Response.json({ ok: true, peer_trust_level: 1, ...flags, self });
      }
      case "POST /api/federation/register": {
        const initiator = JSON.parse(text) as Registration["initiator"];
        const responder = { card: this.card(), challenge: toHex(crypto.getRandomValues(new Uint8Array(32))) };
        const proof = await signRegistrationProof(this.signer, "responder", { initiator, responder });
        return Response.json({ ...responder, proof });
      }
      case "POST /api/federation/register/confirm":
        return Response.json({ status: "registered" });
      case "POST /api/federation/events": {
        const { events } = JSON.parse(text) as { events: { event: SignedEvent }[] };
        this.received.push(...events.map(({ event }) => event));
        return Response.json(takes(events.length));
      }
      case "GET /api/federation/events":
        return Response.json(await this.log.page(audience, since));
      case "GET /api/federation/stream":
        return this.log.stream(audience, since, signal);
      default:
        return new Response("not found", { status: 404 });
    }
  }

  #info(): IdentityCard {
    const { atom_id, name, public_key: pubkey_hex, url, capabilities } = this.card();
    return {
      mode: "federated",
      atom_id,
      name,
      pubkey_hex,
      url,
      molecule_id: null,
      capabilities,
      hop_max: 2,
      nonce_window_sec: 60,
      schema: 1,
      sig_versions: [1, 2],
    };
  }
}

/** Makes events distinct, and later events later. */
let logical = 0;

export function eventOf(signer: Signer, draft: EventDraft = {}): Promise<SignedEvent> {
  const { type = "overview", visibility = "public", payload = {}, aheadMs = 0, atUs } = draft;
  const physical_us = atUs ?? (Date.now() + aheadMs) * 1_000;
  return signEvent(signer, { type: type as "overview", visibility, payload, hlc: { physical_us, logical: logical++ } });
}

/** The log of a double, with its checkpoints. */
export class DoubleLog {
  readonly #signer: Signer;
  readonly #events: Record<PeerAudience, PulledEvent[]> = { public: [], peers: [] };
  readonly #loose: PulledEvent[] = [];
  /** Streams that were opened under another value have ended. */
  #generation = 0;
  state: LogState = newLog(toHex(crypto.getRandomValues(new Uint8Array(16))));

  constructor(signer: Signer) {
    this.#signer = signer;
  }

  /** Empties the log, under the same name or, as after a restore, under a new one. Open streams end. */
  startOver(logId = this.state.logId): void {
    this.goBack(newLog(logId));
  }

  /** Removes all events after that state. */
  goBack(state: LogState): void {
    this.state = state;
    for (const audience of ["public", "peers"] as const) this.#events[audience].length = state.heads[audience].seq;
    this.drop();
  }

  /** Ends all streams. */
  drop(): void {
    this.#generation += 1;
  }

  /** Writes events into the open streams only, with any numbers. */
  send(events: readonly PulledEvent[]): void {
    this.#loose.push(...events);
  }

  append(event: SignedEvent, audience: PeerAudience = "public", ttl = 3): void {
    const clock = { physical_us: Date.now() * 1_000, logical: this.#events[audience].length };
    const { state, places } = append(
      this.state,
      { contentId: event.content_id, audiences: [audience], clock },
      (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
    );
    this.state = state;
    this.#events[audience].push({ seq: places[audience]?.seq ?? 0, event, ttl });
  }

  async page(audience: PeerAudience, since: number) {
    const { seq, chain, hlc } = this.state.heads[audience];
    const events = this.#events[audience].slice(since, since + 500);
    const checkpointBody = { log_id: this.state.logId, audience, seq, chain, hlc };
    const checkpoint = await signCheckpoint(this.#signer, checkpointBody);
    return { events, next: events.at(-1)?.seq ?? since, head: seq, checkpoint };
  }

  /** The stream polls for new events, so that nothing from outside wakes the reader's object. */
  stream(audience: PeerAudience, since: number, signal: AbortSignal | null): Response {
    const generation = this.#generation;
    let [at, loose] = [since, this.#loose.length];
    const next = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
      for (;;) {
        signal?.throwIfAborted();
        if (generation !== this.#generation) return controller.close();
        const fresh = [...this.#events[audience].slice(at), ...this.#loose.slice(loose)];
        if (fresh.length > 0) {
          [at, loose] = [this.#events[audience].length, this.#loose.length];
          return controller.enqueue(utf8(fresh.map((e) => `id: ${e.seq}\ndata: ${JSON.stringify(e)}\n\n`).join("")));
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(utf8(": following\n\n")),
      pull: next,
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  }
}

/** The answer to a push. */
export function takes(accepted: number, errors: PushAnswer["errors"] = []): PushAnswer {
  return {
    accepted,
    duplicates: 0,
    rejected: errors.length,
    errors,
    receiver_hlc: { physical_us: 0, logical: 0 },
    receiver_head_seq: 0,
  };
}

/** A double that has registered by its own request and has granted us `received`; this pool has granted it `granted`. */
export async function peerAt(granted: TrustLevel, received: TrustLevel = 0): Promise<PeerDouble> {
  const peer = await PeerDouble.make();
  let registered = await peer.register();
  // On a busy machine the kill switch may answer late, and federation is then closed.
  while (registered.status === 503) registered = await peer.register();
  if (registered.status !== 200) throw new Error(`not registered: ${await outcome(registered)}`);
  if (received > 0) await peer.push([await peer.grant(received)]);
  if (granted !== 1) await admin("PUT", `/peers/${peer.id}/trust`, { level: granted }, 200);
  return peer;
}

export const deliver = (request: Request): Promise<Response> => pool.fetch(request);

/** Status and code of an answer. */
export async function outcome(response: Response): Promise<string> {
  await response.body?.cancel();
  return [response.status, response.headers.get("x-ligand-code")].filter((each) => each !== null).join(" ");
}
