import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { text } from "node:stream/consumers";
import { afterAll } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { SIGNATURE_HEADERS, signRequest } from "../../schema/crypto/request-signature.ts";
import { type HandshakeAnswer, handshakeAnswer } from "../../schema/wire/federation.ts";
import { pythonJson, Version1Pool, version1Nonce } from "../version-1-pool.ts";
import type { Pool } from "./scripted-peer.ts";

const open: Version1Peer[] = [];
afterAll(() => {
  for (const peer of open) peer.close();
});

/** A pool of the existing network on its own socket (`version-1-pool.ts`). */
export class Version1Peer {
  readonly pool: Version1Pool;
  /** `METHOD path` of the requests that it received. */
  readonly received: string[] = [];
  /** The signature versions of the signed ones among them. */
  readonly versionsReceived = new Set<1 | 2>();
  readonly #server: Server;

  private constructor(pool: Version1Pool, server: Server) {
    this.pool = pool;
    this.#server = server;
    server.on("request", async (request: IncomingMessage, response) => {
      const answer = await this.#answer(request);
      response.writeHead(answer.status, { "content-type": "application/json" }).end(JSON.stringify(answer.body));
    });
  }

  static async start(): Promise<Version1Peer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const signer = await signerFrom(generateSecretKey());
    const peer = new Version1Peer(new Version1Pool(signer, `http://127.0.0.1:${port}`), server);
    open.push(peer);
    return peer;
  }

  get id(): string {
    return this.pool.signer.id;
  }

  get url(): string {
    return this.pool.url;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Sends a request as every fixture of `existing-network.json` was sent: the path alone is signed. */
  async send(to: Pool, method: "GET" | "POST", path: string, json?: unknown): Promise<Response> {
    const body = json === undefined ? "" : pythonJson(json);
    const headers = await signRequest(this.pool.signer, {
      method,
      target: path,
      body: utf8(body),
      destination: null,
      timestampSeconds: Math.floor(Date.now() / 1_000),
      nonce: version1Nonce(),
    });
    const hasBody = json !== undefined;
    return fetch(`${to.url}${path}`, {
      method,
      headers: { ...headers, ...(hasBody && { "content-type": "application/json" }) },
      ...(hasBody && { body }),
    });
  }

  /** First contact, begun by this pool. */
  async shakeHands(to: Pool): Promise<HandshakeAnswer> {
    return handshakeAnswer.parse(await this.#call(to, "/v1/federation/handshake", this.pool.hello));
  }

  /** The question of its console. */
  status(of: Pool): Promise<unknown> {
    return this.#call(of, "/v1/federation/peer/status", { origin_pool_id: this.id });
  }

  /** Sends a request of its admin, in the form of the fixture `admin-request-1-query_events`. */
  askForEvents(of: Pool, request_id: string): Promise<unknown> {
    this.pool.asked.set(request_id, { askedPool: of.credentials.atom_id, callback: null });
    return this.#call(of, "/v1/federation/admin/request", {
      request_id,
      origin_pool_id: this.id,
      action_type: "query_events",
      action_params: { limit: 5, event_types: ["worker_joined"] },
      from_admin_email: "ops@alder.example",
    });
  }

  /** Answers a request, in the form of the fixture `callback-approved-200`. It calls back once, and never again. */
  callBack(to: Pool, request_id: unknown): Promise<unknown> {
    const event = { ts: "2026-11-30T18:01:02.289414", query_type: "overview", summary: "pools=2 unreachable=1" };
    return this.#call(to, "/v1/federation/admin/callback", {
      origin_pool_id: this.id,
      request_id,
      final_status: "executed",
      execution_result: { ok: true, events: [event], count: 1, whitelist_applied: ["overview"], window_days: 7 },
      execution_error: null,
    });
  }

  /** Its calls succeed with exactly 200: any other status, also 202 (`callback-approved-202`), is a failure to it. */
  async #call(to: Pool, path: string, body: object): Promise<unknown> {
    const answer = await this.send(to, "POST", path, body);
    const said = await answer.text();
    if (answer.status !== 200) throw new Error(`target returned ${answer.status}: ${said}`);
    return JSON.parse(said);
  }

  async #answer(request: IncomingMessage) {
    const { pathname } = new URL(request.url ?? "/", this.url);
    const method = request.method ?? "GET";
    this.received.push(`${method} ${pathname}`);
    const headers = new Headers();
    for (const [name, value] of Object.entries(request.headers))
      if (typeof value === "string") headers.set(name, value);
    if (headers.has(SIGNATURE_HEADERS.signature)) {
      this.versionsReceived.add(headers.get(SIGNATURE_HEADERS.version) === "2" ? 2 : 1);
    }
    return this.pool.answer({ method, path: pathname, headers, body: await text(request) });
  }
}
