import { env, exports } from "cloudflare:workers";
import type { AppendAnswer, AppendedEvent } from "../../edge/events/event-log-rpc.ts";
import type { StoredDraft } from "../../edge/record/stored-draft.ts";
import { concat, toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { signManifest, signMetering, signWorkerProof } from "../../schema/crypto/worker-proof.ts";
import { WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import type {
  AgentFrame,
  FinishReason,
  JobFrame,
  JobKind,
  Manifest,
  Metering,
  PoolFrame,
  Usage,
} from "../../schema/wire/worker-frames.ts";

const POOL = "https://pool.example";

export const pool = (exports as unknown as { default: Fetcher }).default;

export function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return pool.fetch(new Request(`${POOL}${path}`, init));
}

/** The admin API's JSON; `want` is the status that the test expects. */
export async function admin<T>(
  method: string,
  path: string,
  body?: unknown,
  want = method === "POST" ? 201 : 200,
): Promise<T> {
  const response = await ask(`/admin/api${path}`, {
    method,
    headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  if (response.status !== want) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

export interface ClientKey {
  id: string;
  key: string;
}

export const createKey = (limits: object = {}): Promise<ClientKey> =>
  admin("POST", "/keys", { label: "test", ...limits });

export const invite = (options: object = {}): Promise<{ id: string; token: string; expires_at: string }> =>
  admin("POST", "/workers/tokens", options);

export function chat(key: ClientKey, body: object = {}, init: RequestInit = {}): Promise<Response> {
  return ask("/v1/chat/completions", {
    method: "POST",
    headers: { authorization: `Bearer ${key.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "test-model", messages: [{ role: "user", content: "hi" }], ...body }),
    ...init,
  });
}

/** Events that the log appends as its own. */
export async function appendTo(
  log: { append(drafts: StoredDraft[]): Promise<AppendAnswer> },
  drafts: StoredDraft[],
): Promise<AppendedEvent[]> {
  const answer = await log.append(drafts);
  if (!answer.ok) throw new Error(answer.code);
  return answer.appended;
}

/**
 * An agent's side of the real protocol on a real socket. A test sends and reads single frames, so that it decides their
 * order.
 */
export class ScriptedAgent {
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #socket: WebSocket;
  readonly #frames: PoolFrame[] = [];
  #wake: (() => void) | null = null;
  received = 0;
  workerId = "";
  pool = "";

  readonly signer: Signer;

  private constructor(socket: WebSocket, signer: Signer) {
    this.#socket = socket;
    this.signer = signer;
    this.closed = new Promise((resolve) => {
      socket.addEventListener("close", (event) => resolve({ code: event.code, reason: event.reason }));
    });
    socket.addEventListener("message", (event) => {
      if (event.data === "pong") return;
      this.#frames.push(JSON.parse(String(event.data)));
      this.#wake?.();
    });
    socket.accept();
  }

  static async open(token: string, signer?: Signer, speaks = "ligand.worker.v1"): Promise<ScriptedAgent> {
    const response = await ask("/v1/workers/connect", {
      headers: {
        upgrade: "websocket",
        authorization: `Bearer ${token}`,
        "sec-websocket-protocol": speaks,
      },
    });
    if (!response.webSocket) throw new Error(`not upgraded: ${response.status}`);
    return new ScriptedAgent(response.webSocket, signer ?? (await signerFrom(generateSecretKey())));
  }

  /** Connects, proves its key and gets `welcome`; offers `free` slots of `model` immediately. */
  static async serving(token: string, { free, signer, speaks, ...offer }: AgentOptions = {}) {
    const agent = await ScriptedAgent.open(token, signer, speaks);
    await agent.hello(token, offer);
    const welcome = await agent.next("welcome");
    agent.workerId = welcome.worker;
    agent.ready(free ?? offer.slots ?? 4, offer.model);
    return agent;
  }

  async hello(
    token: string,
    {
      slots = 4,
      model = "test-model",
      kinds = ["chat", "completion"],
      engine = "llama",
      nonce,
      change = (hello) => hello,
    }: HelloOptions = {},
  ): Promise<void> {
    const challenge = await this.next("challenge");
    this.pool = challenge.pool;
    const manifest: Manifest = {
      v: 1,
      type: "manifest",
      worker: this.signer.id,
      engine,
      models: [{ name: model, sha256: null, slots, contextTokens: 1024, kinds }],
      agentVersion: "0.0.0",
    };
    const proof = {
      pool: challenge.pool,
      worker: this.signer.id,
      nonce: nonce ?? challenge.nonce,
      tokenSha256: await sha256Hex(utf8(token)),
      manifestSha256: await sha256Hex(canonicalBytes(manifest)),
    };
    this.send(
      change({
        type: "hello",
        protocol: WORKER_PROTOCOL.version,
        agentVersion: "0.0.0",
        publicKey: toHex(this.signer.publicKey),
        manifest,
        manifestSignature: await signManifest(this.signer, manifest),
        signature: await signWorkerProof(this.signer, proof),
      }),
    );
  }

  ready(free: number, model = "test-model"): void {
    this.send({ type: "ready", received: this.received, slots: [{ model, free }] });
  }

  send(frame: AgentFrame | object): void {
    this.#socket.send(JSON.stringify(frame));
  }

  sendText(text: string | ArrayBuffer): void {
    this.#socket.send(text);
  }

  close(): void {
    this.#socket.close(1000, "bye");
  }

  /** The next frame, which must be of this type. */
  async next<Type extends PoolFrame["type"]>(type: Type): Promise<Extract<PoolFrame, { type: Type }>> {
    while (this.#frames.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const frame = this.#frames.shift();
    if (frame?.type !== type) throw new Error(`expected ${type}, got ${JSON.stringify(frame)}`);
    if (frame.type === "job") this.received += 1;
    return frame as Extract<PoolFrame, { type: Type }>;
  }

  delta(job: JobFrame, seq: number, text: string): void {
    this.send({ type: "delta", jobId: job.jobId, lease: job.lease, seq, text, tokens: 1 });
  }

  /** Finishes a job with an honest record, or with the record that `change` makes and the key that `signer` gives. */
  async done(
    job: JobFrame,
    text: string,
    change: (record: Metering) => Metering = (record) => record,
    signer: Signer = this.signer,
  ): Promise<void> {
    const completionTokens = Math.max(1, Math.min(text.length, 5));
    const end = { output: utf8(text), usage: { promptTokens: 3, completionTokens }, change, signer };
    await this.finish(job, { ...end, whole: job.request.stream ? {} : { text } });
  }

  /** Finishes embeddings whose vectors were sent. */
  async embedded(job: JobFrame, vectors: Uint8Array[], promptTokens: number): Promise<void> {
    await this.finish(job, { output: concat(...vectors), usage: { promptTokens, completionTokens: 0 } });
  }

  /** `done`, with a record over the bytes that were sent. */
  async finish(
    job: JobFrame,
    {
      output,
      usage,
      finishReason = "stop",
      whole = {},
      change = (record) => record,
      signer = this.signer,
    }: {
      output: Uint8Array;
      usage: Usage;
      finishReason?: FinishReason;
      whole?: object;
      change?: (record: Metering) => Metering;
      signer?: Signer;
    },
  ): Promise<void> {
    const metering = change({
      v: 1,
      type: "metering",
      job_id: job.jobId,
      pool: this.pool,
      worker: this.signer.id,
      model: job.model,
      model_sha256: null,
      prompt_tokens: usage.promptTokens,
      completion_tokens: usage.completionTokens,
      started_ms: 1,
      ended_ms: 2,
      finish_reason: finishReason,
      request_sha256: await sha256Hex(canonicalBytes(job.request)),
      response_sha256: await sha256Hex(output),
    });
    this.send({
      type: "done",
      jobId: job.jobId,
      lease: job.lease,
      finishReason,
      usage: { ...usage, promptTokens: metering.prompt_tokens, completionTokens: metering.completion_tokens },
      metering,
      meteringSignature: await signMetering(signer, metering),
      ...whole,
    });
  }
}

interface HelloOptions {
  slots?: number;
  model?: string;
  kinds?: JobKind[];
  engine?: Manifest["engine"];
  /** Another nonce than the one of this socket. */
  nonce?: string;
  change?: (hello: AgentFrame) => AgentFrame;
}

interface AgentOptions extends Pick<HelloOptions, "slots" | "model" | "kinds" | "engine"> {
  free?: number;
  signer?: Signer;
  /** The newest credit, for frames that came later. */
  speaks?: string;
}

/** The `data:` lines of a server-sent event stream, and its comments. */
export async function events(response: Response): Promise<{ data: string[]; comments: string[] }> {
  const lines = (await response.text()).split("\n");
  return {
    data: lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)),
    comments: lines.filter((line) => line.startsWith(": ")).map((line) => line.slice(2)),
  };
}

/** Repeats the probe until it returns a value. The test's timeout is the limit. */
export async function eventually<T>(probe: () => Promise<T | null | undefined | false>): Promise<T> {
  for (;;) {
    const found = await probe();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
