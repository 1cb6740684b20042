import WebSocket, { type ClientOptions } from "ws";
import { toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytesOrNull } from "../../schema/crypto/canonical.ts";
import type { Signer } from "../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { signManifest, signWorkerProof } from "../../schema/crypto/worker-proof.ts";
import { WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import { type JobFrame, type Manifest, type PoolFrame, poolFrame } from "../../schema/wire/worker-frames.ts";
import { OFFERED_SUBPROTOCOLS } from "../../schema/wire/worker-protocol.ts";
import { CLOSING } from "../../worker-agent/session/worker-socket.ts";

export interface Closed {
  code: number;
  reason: string;
}

/** A well-formed but false signature: the pool marks the record as unverified. */
const NO_SIGNATURE = `${"A".repeat(86)}==`;
const NO_JOB = "00000000-0000-4000-8000-000000000000";

export interface WorkerSocketOptions {
  url: string;
  token: string;
  signer: Signer;
  /** The longest time for the pool to answer. */
  timeoutMs: number;
}

/** The agent's side of the real protocol, frame by frame. Frames of the pool are checked against their schema. */
export class WorkerSocket {
  readonly closed: Promise<Closed>;
  readonly signer: Signer;
  readonly socket: WebSocket;
  isClosed: Closed | null = null;
  /** Jobs on this socket, for `ready`. */
  received = 0;
  onJob: (job: JobFrame) => void = () => {};
  onCancel: (jobId: string, lease: number) => void = () => {};
  /** The first frame of the pool that does not match its schema. */
  misspoken: string | null = null;
  readonly #waiting = new Map<string, (closed: Closed | null) => void>();
  #challenge: Extract<PoolFrame, { type: "challenge" }> | null = null;
  readonly #token: string;
  readonly #timeoutMs: number;
  #synced = 0;

  private constructor(socket: WebSocket, { signer, token, timeoutMs }: WorkerSocketOptions) {
    this.socket = socket;
    this.signer = signer;
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        this.isClosed = { code, reason: reason.toString() };
        resolve(this.isClosed);
        for (const settle of this.#waiting.values()) settle(this.isClosed);
        this.#waiting.clear();
      });
    });
    socket.on("error", () => {});
    socket.on("message", (data) => {
      const text = String(data);
      if (text !== "pong") this.#hear(text);
    });
  }

  static async open(options: WorkerSocketOptions): Promise<WorkerSocket> {
    // As in the agent: the pool's close code counts, not the time of the disconnect. The library's types lack this.
    const client: ClientOptions & { closeTimeout: number } = {
      headers: { authorization: `Bearer ${options.token}` },
      handshakeTimeout: options.timeoutMs,
      closeTimeout: CLOSING.idleMs,
    };
    const url = `${options.url.replace(/^http/, "ws")}/v1/workers/connect`;
    const socket = new WebSocket(url, [...OFFERED_SUBPROTOCOLS], client);
    const opened = new WorkerSocket(socket, options);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return opened;
  }

  /** Connects, proves the key, and makes this offer. */
  static async serving(
    options: WorkerSocketOptions,
    models: Pick<Manifest["models"][number], "name" | "slots" | "kinds">[],
  ): Promise<WorkerSocket> {
    const worker = await WorkerSocket.open(options);
    const closed = await worker.hello({
      v: 1,
      type: "manifest",
      worker: worker.signer.id,
      engine: "llama",
      models: models.map((model) => ({ ...model, sha256: null, contextTokens: 4_096 })),
      agentVersion: "0.0.0",
    });
    if (closed) throw new Error(`not welcome: ${closed.code} ${closed.reason}`);
    return worker;
  }

  /** Sends a proof for this manifest. Null after the welcome, or the pool's close. */
  async hello(manifest: Manifest): Promise<Closed | null> {
    const early = await this.#heard("challenge");
    const challenge = this.#challenge;
    if (early || !challenge) return early;
    // A lone surrogate cannot be signed, so the frame has the signature of something else.
    const canonical = canonicalBytesOrNull(manifest);
    const proof = {
      pool: challenge.pool,
      worker: this.signer.id,
      nonce: challenge.nonce,
      tokenSha256: await sha256Hex(utf8(this.#token)),
      manifestSha256: await sha256Hex(canonical ?? utf8("")),
    };
    this.send({
      type: "hello",
      protocol: WORKER_PROTOCOL.version,
      agentVersion: manifest.agentVersion,
      publicKey: toHex(this.signer.publicKey),
      manifest,
      manifestSignature: canonical ? await signManifest(this.signer, manifest) : NO_SIGNATURE,
      signature: await signWorkerProof(this.signer, proof),
    });
    return this.#heard("welcome");
  }

  ready(model: string, free: number): void {
    this.send({ type: "ready", received: this.received, slots: [{ model, free }] });
  }

  send(frame: object): void {
    this.socket.send(JSON.stringify(frame));
  }

  /** Null when the pool has handled everything sent before, or the pool's close. */
  sync(): Promise<Closed | null> {
    if (this.isClosed) return Promise.resolve(this.isClosed);
    this.#synced += 1;
    // Frames are handled in order, and the pool answers a frame about an unknown job.
    this.send({ type: "progress", jobId: NO_JOB, lease: this.#synced });
    return this.#heard(`rejected ${NO_JOB} ${this.#synced}`);
  }

  /** `done` for a job, with a false signature. */
  finish(job: JobFrame, text: string, extra: object = {}): void {
    const usage = { promptTokens: 1, completionTokens: text === "" ? 0 : 1 };
    this.send({
      type: "done",
      jobId: job.jobId,
      lease: job.lease,
      finishReason: "stop",
      usage,
      metering: {
        v: 1,
        type: "metering",
        job_id: job.jobId,
        pool: "0".repeat(64),
        worker: this.signer.id,
        model: job.model,
        model_sha256: null,
        prompt_tokens: usage.promptTokens,
        completion_tokens: usage.completionTokens,
        started_ms: 1,
        ended_ms: 2,
        finish_reason: "stop",
        request_sha256: "0".repeat(64),
        response_sha256: "0".repeat(64),
      },
      meteringSignature: NO_SIGNATURE,
      ...(!job.request.stream && job.kind !== "embedding" && { text }),
      ...extra,
    });
  }

  /** Finishes a job immediately with `text`. */
  answer(job: JobFrame, text: string): void {
    const { jobId, lease } = job;
    if (job.kind === "embedding") {
      const vector = Buffer.from(new Float32Array(job.request.dimensions ?? 2).fill(0.5).buffer).toString("base64");
      for (const index of job.request.input.keys()) this.send({ type: "vector", jobId, lease, index, vector });
    } else if (job.request.stream) {
      this.send({ type: "delta", jobId, lease, seq: 0, text, tokens: 1 });
    }
    this.finish(job, text);
  }

  /** Breaks the connection without a close frame. */
  vanish(): void {
    this.socket.terminate();
  }

  async close(): Promise<void> {
    this.socket.close(1000);
    await this.closed;
  }

  /** Null when the pool has sent a frame with `key`, or the pool's close. */
  #heard(key: string): Promise<Closed | null> {
    if (key === "challenge" && this.#challenge) return Promise.resolve(null);
    if (this.isClosed) return Promise.resolve(this.isClosed);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the pool left ${key} unanswered`)), this.#timeoutMs);
      this.#waiting.set(key, (closed) => {
        clearTimeout(late);
        resolve(closed);
      });
    });
  }

  #hear(text: string): void {
    const parsed = poolFrame.safeParse(JSON.parse(text));
    if (!parsed.success) {
      this.misspoken ??= text.slice(0, 2_000);
      return;
    }
    const frame = parsed.data;
    const key = frame.type === "rejected" ? `rejected ${frame.jobId} ${frame.lease}` : frame.type;
    if (frame.type === "job") {
      this.received += 1;
      this.onJob(frame);
    }
    if (frame.type === "cancel" || frame.type === "rejected") this.onCancel(frame.jobId, frame.lease);
    if (frame.type === "challenge") this.#challenge = frame;
    const settle = this.#waiting.get(key);
    this.#waiting.delete(key);
    settle?.(null);
  }
}
