import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { keyTagger } from "../../schema/crypto/api-keys.ts";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { verifyManifest, verifyWorkerProof } from "../../schema/crypto/worker-proof.ts";
import { type AgentFrame, agentFrame, type Hello, type PoolFrame } from "../../schema/wire/worker-frames.ts";

type Frame<T extends AgentFrame["type"]> = Extract<AgentFrame, { type: T }>;

/**
 * The pool's side of the worker socket (docs/spec/workers.md#socket-protocol) on loopback: the real protocol with real
 * signatures. A test decides each frame. The pool itself is tested in workerd, and both together end to end.
 */
export class PoolDouble {
  readonly atomId: string;
  readonly token: string;
  /** The answer to the next upgrade, instead of a socket. */
  refuseWith: { status: number; body: string; headers?: Record<string, string> } | null = null;
  /** The subprotocols that it speaks; an older pool knows only older ones. */
  speaks = "ligand.worker.v1.2";
  readonly #http: Server;
  readonly #sockets: WebSocketServer;
  readonly #arrived: PoolSide[] = [];
  readonly #waiting: ((side: PoolSide) => void)[] = [];

  private constructor(atomId: string, token: string) {
    this.atomId = atomId;
    this.token = token;
    this.#http = createServer();
    this.#sockets = new WebSocketServer({ noServer: true, handleProtocols: () => this.speaks });
    this.#http.on("upgrade", (request: IncomingMessage, socket, head) => {
      const refusal = this.refuseWith;
      if (refusal !== null) {
        const { status, body, headers = {} } = refusal;
        const lines = Object.entries({ ...headers, "content-length": body.length, connection: "close" });
        const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
        socket.end(`HTTP/1.1 ${status} Refused\r\n${head}\r\n${body}`);
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (ws) => {
        const side = new PoolSide(ws, request, this);
        const waiting = this.#waiting.shift();
        if (waiting === undefined) this.#arrived.push(side);
        else waiting(side);
      });
    });
  }

  static async listen(): Promise<PoolDouble> {
    const secretKey = generateSecretKey();
    const { id } = await signerFrom(secretKey);
    const { text } = await (await keyTagger(secretKey, id)).mint("lw");
    const pool = new PoolDouble(id, text);
    pool.#http.listen(0, "127.0.0.1");
    await once(pool.#http, "listening");
    return pool;
  }

  get url(): string {
    const { port } = this.#http.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** The next agent that connects. */
  connection(): Promise<PoolSide> {
    const side = this.#arrived.shift();
    if (side !== undefined) return Promise.resolve(side);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The probe of a starting agent, before it loads a model. */
  async probed(): Promise<void> {
    const side = await this.connection();
    side.challenge();
    await side.closed;
  }

  /** The next agent that connects, after the handshake and its first `ready`. */
  async welcomed(terms: Partial<Extract<PoolFrame, { type: "welcome" }>> = {}): Promise<PoolSide> {
    const side = await this.connection();
    await side.welcome(terms);
    await side.next("ready");
    return side;
  }

  close(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#http.close();
  }
}

/** One agent's socket, on the pool's side. */
export class PoolSide {
  readonly socket: WebSocket;
  readonly authorization: string | undefined;
  readonly closed: Promise<{ code: number }>;
  worker = "";
  publicKey = "";
  /** False: heartbeats go unanswered. */
  answersPing = true;
  readonly #pool: PoolDouble;
  readonly #frames: AgentFrame[] = [];
  #waiting: (() => void) | null = null;
  #closed = false;

  constructor(socket: WebSocket, request: IncomingMessage, pool: PoolDouble) {
    this.socket = socket;
    this.#pool = pool;
    this.authorization = request.headers.authorization;
    socket.on("message", (data) => {
      const text = data.toString();
      if (text === "ping") {
        if (this.answersPing) socket.send("pong");
        return;
      }
      this.#frames.push(agentFrame.parse(JSON.parse(text)));
      this.#wake();
    });
    this.closed = new Promise((resolve) => {
      socket.on("close", (code) => {
        this.#closed = true;
        this.#wake();
        resolve({ code });
      });
    });
  }

  /** Resolves at the agent's next heartbeat. */
  ping(): Promise<void> {
    return new Promise((resolve) => {
      const onMessage = (data: RawData) => {
        if (data.toString() !== "ping") return;
        this.socket.off("message", onMessage);
        resolve();
      };
      this.socket.on("message", onMessage);
    });
  }

  send(frame: PoolFrame): void {
    this.socket.send(JSON.stringify(frame));
  }

  /** The next frame, which must be of this type. */
  async next<T extends AgentFrame["type"]>(type: T): Promise<Frame<T>> {
    const frame = await this.frame();
    if (frame === null || !isOfType(frame, type)) throw new Error(`wanted ${type}, got ${JSON.stringify(frame)}`);
    return frame;
  }

  /** The next frame; null when the socket closed first. */
  async frame(): Promise<AgentFrame | null> {
    while (this.#frames.length === 0 && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    return this.#frames.shift() ?? null;
  }

  /** All frames up to the next one of this type, which is included. */
  async until(type: AgentFrame["type"]): Promise<AgentFrame[]> {
    const frames: AgentFrame[] = [];
    for (;;) {
      const frame = await this.frame();
      if (frame === null) throw new Error(`closed before ${type}: ${JSON.stringify(frames)}`);
      frames.push(frame);
      if (frame.type === type) return frames;
    }
  }

  challenge(): string {
    const nonce = "0f".repeat(32);
    this.send({ type: "challenge", nonce, pool: this.#pool.atomId });
    return nonce;
  }

  /** Sends the challenge, checks the hello as a pool does, and sends the welcome. */
  async welcome(terms: Partial<Extract<PoolFrame, { type: "welcome" }>> = {}): Promise<Hello> {
    const nonce = this.challenge();
    const hello = await this.next("hello");
    const { manifest, manifestSignature, publicKey, signature } = hello;
    const proof = {
      pool: this.#pool.atomId,
      worker: manifest.worker,
      nonce,
      tokenSha256: await sha256Hex(utf8(this.#pool.token)),
      manifestSha256: await sha256Hex(canonicalBytes(manifest)),
    };
    if (!(await verifyManifest(manifest, manifestSignature, publicKey))) throw new Error("bad manifest signature");
    if (!(await verifyWorkerProof(proof, signature, publicKey))) throw new Error("bad proof");
    this.worker = manifest.worker;
    this.publicKey = publicKey;
    this.send({
      type: "welcome",
      worker: manifest.worker,
      heartbeatMs: 10_000,
      leaseMs: 30_000,
      agentFrameBytes: 1024 * 1024,
      ...terms,
    });
    return hello;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.();
  }
}

function isOfType<T extends AgentFrame["type"]>(frame: AgentFrame, type: T): frame is Frame<T> {
  return frame.type === type;
}
