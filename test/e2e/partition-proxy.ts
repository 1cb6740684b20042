import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  request as openRequest,
  type Server,
  type ServerResponse,
} from "node:http";
import { pipeline } from "node:stream/promises";
import { setImmediate } from "node:timers/promises";
import { afterAll } from "vitest";
import { SIGNATURE_HEADERS } from "../../schema/crypto/request-signature.ts";

/**
 * What happens to a caller's requests and open streams. `refused`: its connections end, and the pool receives nothing.
 * `silent`: no byte moves until the cut ends; then everything arrives. `torn`: the pool receives the request, and the
 * connection ends in the middle of the answer.
 */
export type Cut = "refused" | "silent" | "torn";

const started: PartitionProxy[] = [];
afterAll(() => {
  for (const proxy of started) proxy.close();
});

/**
 * Listens at a pool's public URL (`--public-url`) and cuts it off from single callers, which signed requests name
 * (docs/spec/federation.md#signed-requests). It cuts one direction only: calls of the pool to the caller go through the
 * caller's proxy.
 */
export class PartitionProxy {
  readonly url: string;
  /** The port of the pool; set once the pool listens. */
  poolUrl = "";
  /** How many requests and pieces of answers a cut affected. */
  affected = 0;
  readonly #server: Server;
  readonly #cuts = new Map<string, { how: Cut; over: PromiseWithResolvers<void> }>();
  readonly #open = new Set<{ caller: string; response: ServerResponse }>();

  private constructor(server: Server) {
    this.#server = server;
    const address = server.address();
    this.url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
    // If a connection closed while the next request is in flight, that would be an unintended cut.
    server.keepAliveTimeout = 0;
    server.on("request", (request, response) => this.#pass(request, response).catch(() => response.destroy()));
  }

  static async start(): Promise<PartitionProxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new PartitionProxy(server);
    started.push(proxy);
    return proxy;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  cut(caller: string, how: Cut): void {
    this.mend(caller);
    this.#cuts.set(caller, { how, over: Promise.withResolvers() });
    if (how !== "refused") return;
    for (const each of this.#open) if (each.caller === caller) each.response.destroy();
  }

  mend(caller: string): void {
    this.#cuts.get(caller)?.over.resolve();
    this.#cuts.delete(caller);
  }

  mendAll(): void {
    for (const caller of this.#cuts.keys()) this.mend(caller);
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const caller = String(request.headers[SIGNATURE_HEADERS.atomId.toLowerCase()] ?? "");
    const exchange = { caller, response };
    this.#open.add(exchange);
    response.on("close", () => this.#open.delete(exchange));
    if ((await this.#cutNow(caller)) === "refused" || response.destroyed) {
      response.destroy();
      return;
    }
    const { method, url = "/", headers } = request;
    const inner = openRequest(new URL(url, this.poolUrl), { method, headers, agent: false });
    response.on("close", () => inner.destroy());
    request.pipe(inner);
    const [answer] = (await once(inner, "response")) as [IncomingMessage];
    response.writeHead(answer.statusCode ?? 502, answer.headers).flushHeaders();
    await pipeline(answer, (pieces: AsyncIterable<Buffer>) => this.#passed(caller, pieces), response);
  }

  async *#passed(caller: string, pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      const cut = await this.#cutNow(caller);
      if (cut === undefined) {
        yield piece;
        continue;
      }
      if (cut === "torn") yield piece.subarray(0, Math.ceil(piece.length / 2));
      // The first half is sent before the connection ends.
      await setImmediate();
      throw new Error("cut off");
    }
  }

  /** Waits until a `silent` cut ends. */
  async #cutNow(caller: string): Promise<Exclude<Cut, "silent"> | undefined> {
    for (;;) {
      const cut = this.#cuts.get(caller);
      if (cut === undefined) return;
      this.affected += 1;
      if (cut.how !== "silent") return cut.how;
      await cut.over.promise;
    }
  }
}
