import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { JobFrame, Manifest } from "../../schema/wire/worker-frames.ts";
import { type AgentCase, OUR_JOB, OUR_LEASE, OUR_MODEL } from "./cases.ts";
import type { Answer } from "./http.ts";
import { wrongAnswer, wrongClose } from "./oracle.ts";
import { CONNECTIONS, type Target } from "./target.ts";
import { type Closed, WorkerSocket } from "./worker-socket.ts";

const BYSTANDER_EVERY = 100;
const JOB_TRIES = 10;

/** Fuzzes the worker socket. Each worker has its own key and model, and gets jobs. */
export async function fuzzAgents(cases: AgentCase[], target: Target): Promise<void> {
  let next = 0;
  const batch = crypto.randomUUID();
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, i) => {
      const worker = new FuzzedWorker(target, `${batch}-${i}`, await signerFrom(generateSecretKey()));
      for (let at = next++; at < cases.length; at = next++) {
        const each = cases[at];
        if (each) await worker.take(each);
        if (at % BYSTANDER_EVERY === 0) await target.bystander();
      }
      await worker.end();
    }),
  );
}

/** Errors that a client of the fuzzed worker may get. */
const allowed = (code: ErrorCode) => code !== "http/internal" && code !== "inference/queue-full";

class FuzzedWorker {
  readonly #target: Target;
  readonly #model: string;
  readonly #signer: Signer;
  #socket: WorkerSocket | null = null;
  #job: JobFrame | null = null;
  #asked: Promise<void> | null = null;
  #answered = false;
  #round = 0;

  constructor(target: Target, model: string, signer: Signer) {
    this.#target = target;
    this.#model = model;
    this.#signer = signer;
  }

  /** Each socket has its own token, because one token may not connect so often. */
  async #socketOptions() {
    const { url, timeoutMs } = this.#target;
    return { url, token: await this.#target.invite(), signer: this.#signer, timeoutMs };
  }

  async take(each: AgentCase): Promise<void> {
    try {
      if (each.on === "proof") await this.#prove(each.manifest);
      else if (each.on === "stranger") await this.#beforeHello(each);
      else await this.#whileServing(each);
    } catch (error) {
      this.#find(error instanceof Error ? error.message : String(error), each);
    }
  }

  /** Finishes the last job correctly. A started answer ends with its socket. */
  async end(): Promise<void> {
    while (this.#asked && !this.#answered) {
      const socket = await this.#serving();
      if (!(await this.#hasJob(socket)) || this.#answered) continue;
      if (this.#job) socket.answer(this.#job, "goodbye");
      this.#job = null;
      await Promise.race([this.#asked, socket.sync()]);
    }
    await this.#socket?.close();
  }

  /** An invalid proof closes the socket. */
  async #beforeHello(each: Extract<AgentCase, { message: Buffer }>): Promise<void> {
    const socket = await WorkerSocket.open(await this.#socketOptions());
    socket.socket.send(this.#filledIn(each.message, null), { binary: each.binary });
    const closed = await socket.sync();
    this.#judge(closed ?? { code: 0, reason: "taken for a worker" }, `stranger ${each.how}`, each);
  }

  async #prove(text: string): Promise<void> {
    const manifest = parseManifest(text, this.#signer.id);
    if (manifest === null) return this.#target.count("proof: cannot be signed");
    // A second proof of the same worker replaces its old socket.
    const socket = await WorkerSocket.open(await this.#socketOptions());
    const closed = await socket.hello(manifest);
    if (closed) return this.#judge(closed, "proof", { on: "proof", how: "near", manifest: text });
    this.#target.count("proof: welcome");
    await socket.close();
  }

  async #whileServing(each: Extract<AgentCase, { message: Buffer }>): Promise<void> {
    let socket = await this.#serving();
    for (let tries = 1; !(await this.#hasJob(socket)); tries++) {
      if (tries > JOB_TRIES) throw new Error("no job came");
      socket = await this.#serving();
    }
    socket.socket.send(this.#filledIn(each.message, this.#job), { binary: each.binary });
    const closed = await socket.sync();
    if (socket.misspoken !== null) this.#find(`the pool sent ${socket.misspoken}`, each);
    if (closed) this.#judge(closed, `worker ${each.how}`, each);
    else this.#target.count(`worker ${each.how}: taken`);
  }

  #filledIn(message: Buffer, job: JobFrame | null): Buffer {
    const text = message
      .toString("latin1")
      .replaceAll(OUR_JOB, JSON.stringify(job?.jobId ?? crypto.randomUUID()))
      .replaceAll(OUR_LEASE, String(job?.lease ?? 1))
      .replaceAll(OUR_MODEL, JSON.stringify(this.#model));
    return Buffer.from(text, "latin1");
  }

  async #serving(): Promise<WorkerSocket> {
    if (this.#socket && !this.#socket.isClosed) return this.#socket;
    this.#job = null;
    const socket = await WorkerSocket.serving(await this.#socketOptions(), [
      { name: this.#model, slots: 1, kinds: ["chat", "completion", "embedding"] },
    ]);
    socket.onJob = (job) => {
      this.#job = job;
      this.#wake();
    };
    socket.onCancel = (jobId, lease) => {
      if (this.#job?.jobId === jobId && this.#job.lease === lease) this.#job = null;
    };
    this.#socket = socket;
    return socket;
  }

  #wake: () => void = () => {};

  /** Requests a job for this worker, unless it has one. False if this socket gets none. */
  async #hasJob(socket: WorkerSocket): Promise<boolean> {
    if (this.#answered) {
      this.#asked = null;
      this.#job = null;
    }
    socket.ready(this.#model, 1);
    if (await socket.sync()) return false;
    if (!this.#job && !this.#asked) {
      const arrived = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#asked = this.#ask();
      await Promise.race([arrived, this.#asked, socket.closed]);
    }
    if (this.#job && !socket.isClosed) return true;
    // If the job does not come or is refused, this socket is draining. Use the next one.
    if (!socket.isClosed) await socket.close();
    return false;
  }

  async #ask(): Promise<void> {
    this.#answered = false;
    const { path, body } = QUESTIONS[this.#round++ % QUESTIONS.length] ?? QUESTIONS[0];
    const text = Buffer.from(JSON.stringify({ model: this.#model, ...body }));
    const answer = await this.#target.http.ask("POST", path, this.#target.key, text).catch((error: unknown) => {
      this.#target.find({ part: "agent", what: `its client: ${String(error)}`, sent: path });
      return null;
    });
    this.#answered = true;
    if (answer) this.#judgeAnswer(answer, path);
  }

  #judgeAnswer(answer: Answer, path: string): void {
    this.#target.count(`its client: ${answer.status} ${answer.headers["x-ligand-code"] ?? ""}`.trim());
    const wrong = wrongAnswer(answer, allowed);
    if (wrong !== null)
      this.#target.find({
        part: "agent",
        what: `its client got ${wrong}`,
        sent: `${path} ${answer.body.slice(0, 500)}`,
      });
  }

  #judge(closed: Closed, what: string, each: AgentCase): void {
    this.#target.count(`${what}: closed ${closed.code} ${closed.reason}`);
    const wrong = wrongClose(closed);
    if (wrong !== null) this.#find(wrong, each);
  }

  #find(what: string, each: AgentCase): void {
    const sent = each.on === "proof" ? each.manifest : each.message.toString("latin1");
    this.#target.find({ part: "agent", what: `${each.on}: ${what}`, sent: sent.slice(0, 1_500) });
  }
}

const CHAT = { path: "/v1/chat/completions" } as const;
const messages = [{ role: "user", content: "hello" }];
const tools = [{ type: "function", function: { name: "a" } }];
const QUESTIONS = [
  { ...CHAT, body: { messages, stream: true } },
  { ...CHAT, body: { messages } },
  { path: "/v1/embeddings", body: { input: ["a", "b"] } },
  { path: "/v1/completions", body: { prompt: "a", stream: true, stream_options: { include_usage: true } } },
  { ...CHAT, body: { messages, tools, stream: true } },
  { ...CHAT, body: { messages, tools } },
] as const;

/** Encodes a frame as a worker with this key would; null if no worker could sign it. */
function parseManifest(text: string, worker: string): Manifest | null {
  try {
    const value: unknown = JSON.parse(text);
    // Too deeply nested for this side to encode again. Other cases send such text as it is.
    JSON.stringify(value);
    return typeof value === "object" && value !== null ? ({ ...value, worker } as Manifest) : null;
  } catch {
    return null;
  }
}
