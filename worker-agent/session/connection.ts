import type { IncomingMessage } from "node:http";
import WebSocket, { type RawData } from "ws";
import { toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import type { Signer } from "../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { signManifest, signMetering, signWorkerProof } from "../../schema/crypto/worker-proof.ts";
import { CLOSE, LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import type { AgentFrame, JobFrame } from "../../schema/wire/worker-frames.ts";
import { minorOf } from "../../schema/wire/worker-protocol.ts";
import type { Engine } from "../engine/engine.ts";
import type { AgentEvent } from "../events.ts";
import { networkReason } from "../network-error.ts";
import { manifestOf } from "../profile/manifest.ts";
import { AGENT_VERSION } from "../version.ts";
import type { Counters } from "./counters.ts";
import { frameForPool } from "./frame-for-pool.ts";
import { type JobRunner, progressIntervalMs, runJob } from "./job-runner.ts";
import { PoolCredit } from "./pool-credit.ts";
import { parsePoolFrame } from "./pool-frame.ts";
import { readRefusal, STOPPED, type StopCode, stopOfClose } from "./refusal.ts";
import {
  newSession,
  type Session,
  type SessionAction,
  type SessionEvent,
  type SessionTerms,
  step,
} from "./session-machine.ts";
import { CLOSING, openWorkerSocket } from "./worker-socket.ts";

export interface ConnectionOptions {
  /** `wss://…/v1/workers/connect`. */
  readonly url: string;
  readonly token: string;
  /** The atom id in the token. */
  readonly pool: string;
  readonly signer: Signer;
  readonly engine: Engine;
  readonly counters: Counters;
  /** Aborted to drain the agent. */
  readonly drain: AbortSignal;
  readonly drainMs: number;
  readonly onEvent: (event: AgentEvent) => void;
  readonly nowMs: () => number;
}

export type ConnectionEnd =
  | { readonly type: "drained"; readonly unfinished: number }
  | {
      readonly type: "stopped";
      readonly code: StopCode;
      readonly message: string;
    }
  /** The agent may connect again. `openMs`: how long the session was open, or 0 if it never was. */
  | { readonly type: "lost"; readonly reason: string; readonly openMs: number; readonly retryAfterMs: number };

/** While more bytes than this are unsent, engines are not asked for more output. */
const UNSENT_BYTES = 1024 * 1024;

/**
 * Runs one WebSocket: the shell around the session machine. Resolves when the socket is closed and all its jobs have
 * stopped computing, so that their slots are free: leases do not outlive their socket.
 */
export function connect(options: ConnectionOptions): Promise<ConnectionEnd> {
  return new Connection(options).end;
}

class Connection {
  readonly end: Promise<ConnectionEnd>;
  readonly #options: ConnectionOptions;
  readonly #terms: SessionTerms;
  readonly #socket: WebSocket;
  readonly #runs = new Map<string, { abort: AbortController; finished: Promise<void> }>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #session: Session = newSession;
  #runner: JobRunner | null = null;
  #openedMs: number | null = null;
  #lastFrameMs: number;
  #error: string | null = null;
  #ended = false;
  #resolve: (end: ConnectionEnd) => void = () => {};
  readonly #credit = new PoolCredit();
  #pendingReady: Extract<SessionAction, { type: "ready" }> | null = null;
  #waitingForBuffer: (() => void)[] = [];

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#terms = { pool: options.pool, worker: options.signer.id, models: options.engine.models() };
    this.#lastFrameMs = options.nowMs();
    this.end = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const { url, token } = options;
    this.#socket = openWorkerSocket({ url, token, frameBytes: LIMITS.poolFrameBytes, handshakeMs: LIMITS.helloMs });
    this.#socket.on("open", () => this.#onOpen());
    this.#socket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    this.#socket.on("unexpected-response", (_request, response) => void this.#onRefusal(response));
    this.#socket.on("error", (error) => {
      this.#error ??= networkReason(error);
    });
    this.#socket.on("close", (code, reason) => this.#onClose(code, reason.toString()));
    options.drain.addEventListener("abort", this.#onDrain, { once: true });
    if (options.drain.aborted) this.#onDrain();
  }

  #onOpen(): void {
    this.#lastFrameMs = this.#options.nowMs();
    const timer = setTimeout(() => {
      if (this.#session.phase !== "open") this.#lose("the pool did not answer this worker's hello in time");
    }, LIMITS.helloMs);
    this.#timers.add(timer);
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    this.#lastFrameMs = this.#options.nowMs();
    const text = isBinary ? null : data.toString();
    if (text === "pong" || this.#ended) return;
    const frame = text === null ? null : parsePoolFrame(text);
    if (frame === null) {
      this.#lose("the pool sent a frame that this agent does not know; update the agent", CLOSE.policyViolation);
    } else this.#handle({ type: "frame", frame });
  }

  readonly #onDrain = (): void => {
    const timer = setTimeout(
      () => this.#finish({ type: "drained", unfinished: this.#runs.size }),
      this.#options.drainMs,
    );
    this.#timers.add(timer);
    this.#options.onEvent({ type: "draining", leased: this.#runs.size });
    this.#handle({ type: "drain" });
  };

  async #onRefusal(response: IncomingMessage): Promise<void> {
    const { stop, status, message, retryAfterMs } = await readRefusal(response, this.#options.pool);
    if (stop !== null) this.#stop(stop);
    else {
      const detail = message === null ? "" : `: ${message}`;
      this.#lose(`the pool answered ${status}${detail}`, CLOSE.normal, retryAfterMs);
    }
  }

  #onClose(code: number, reason: string): void {
    const stop = stopOfClose(code);
    if (stop !== null) this.#stop(stop);
    else if (code === CLOSE.restarting) this.#lose("the pool is restarting");
    else this.#lose(this.#error ?? `the socket was closed (${code}${reason === "" ? "" : `, ${reason}`})`);
  }

  #handle(event: SessionEvent): void {
    const next = step(this.#session, event, this.#terms);
    if (next.ok) {
      this.#session = next.session;
      for (const action of next.actions) this.#perform(action);
    } else if (next.code === "session/wrong-pool") this.#stop("wrong-pool");
    else this.#lose(`the pool broke the protocol (${next.code})`, CLOSE.policyViolation);
  }

  #perform(action: SessionAction): void {
    switch (action.type) {
      case "prove":
        this.#prove(action.nonce).catch((error: unknown) =>
          this.#lose(`the hello could not be signed: ${String(error)}`),
        );
        return;
      case "welcomed":
        this.#onWelcome(action);
        return;
      case "ready":
        this.#reportFreeSlots(action);
        return;
      case "start":
        this.#start(action.job);
        return;
      case "abort":
        this.#runs.get(runKey(action))?.abort.abort();
        return;
      case "refuse": {
        const { jobId, lease } = action.job;
        this.#options.counters.count("jobsFailed");
        const { code, message, retryable } = action;
        this.#options.onEvent({ type: "job-refused", jobId, model: action.job.model, code, message });
        this.#send({ type: "failed", jobId, lease, code, message, retryable });
        return;
      }
      case "elsewhere":
        this.#options.onEvent({ type: "jobs-elsewhere", jobs: action.jobs });
        return;
      case "announce-drain":
        this.#send({ type: "drain" });
        return;
      case "drained":
        this.#finish({ type: "drained", unfinished: 0 });
        return;
      default:
        action satisfies never;
    }
  }

  async #prove(nonce: string): Promise<void> {
    const { signer, engine, pool, token } = this.#options;
    const manifest = manifestOf(signer.id, engine);
    const manifestSha256 = await sha256Hex(canonicalBytes(manifest));
    const tokenSha256 = await sha256Hex(utf8(token));
    const proof = { pool, worker: signer.id, nonce, tokenSha256, manifestSha256 };
    this.#send({
      type: "hello",
      protocol: WORKER_PROTOCOL.version,
      agentVersion: AGENT_VERSION,
      publicKey: toHex(signer.publicKey),
      manifest,
      manifestSignature: await signManifest(signer, manifest),
      signature: await signWorkerProof(signer, proof),
    });
  }

  #onWelcome({ heartbeatMs, leaseMs, frameBytes }: Extract<SessionAction, { type: "welcomed" }>): void {
    const { engine, pool, signer, nowMs, counters, onEvent } = this.#options;
    this.#openedMs = nowMs();
    this.#runner = {
      engine,
      pool,
      worker: signer.id,
      minor: minorOf(this.#socket.protocol),
      nowMs,
      signMetering: (metering) => signMetering(signer, metering),
      send: (frame) => this.#send(frame),
      room: (signal) => this.#room(signal),
      progressMs: progressIntervalMs(leaseMs),
      frameBytes: Math.min(frameBytes, LIMITS.agentFrameBytes),
    };
    // The pool's runtime answers without waking the lane. Three unanswered pings mean a dead connection (docs/spec/workers.md#socket-protocol).
    const everyMs = Math.min(heartbeatMs, LIMITS.heartbeatMs);
    const deadAfterMs = everyMs * (LIMITS.deadAfterMs / LIMITS.heartbeatMs);
    const timer = setInterval(() => {
      if (nowMs() - this.#lastFrameMs >= deadAfterMs) this.#lose("the pool stopped answering");
      else this.#socket.send("ping");
    }, everyMs);
    this.#timers.add(timer);
    counters.count("connections");
    const tellsElsewhere = minorOf(this.#socket.protocol) >= 1;
    onEvent({ type: "connected", pool, worker: signer.id, ...(tellsElsewhere && { tellsElsewhere }) });
  }

  #start(job: JobFrame): void {
    const { counters, onEvent, nowMs } = this.#options;
    if (this.#runner === null) return;
    const abort = new AbortController();
    const key = runKey(job);
    const named = { jobId: job.jobId, model: job.model };
    const startedMs = nowMs();
    this.#credit.jobReceived(job.model);
    counters.count("jobsStarted");
    onEvent({ type: "job-started", ...named });
    const finished = runJob(job, this.#runner, abort.signal)
      .then((end) => {
        const ms = nowMs() - startedMs;
        if (end.type === "done") {
          counters.count("jobsDone");
          onEvent({ type: "job-done", ...named, ms, ...end.usage });
        } else if (end.type === "failed") {
          counters.count("jobsFailed");
          onEvent({ type: "job-failed", ...named, ms, code: end.code, reason: end.message });
        } else {
          counters.count("jobsCancelled");
          onEvent({ type: "job-cancelled", ...named, ms });
        }
      })
      .catch((error: unknown) => {
        // This is a bug, not an expected outcome. Report it to the pool, and continue the other jobs.
        counters.count("jobsFailed");
        onEvent({
          type: "warning",
          message: `Internal error of the agent in a job: ${String(error)}. Please report it.`,
        });
        const { jobId, lease } = job;
        const failure = { code: "inference/engine-failed", message: "The agent failed on this request." } as const;
        const ms = nowMs() - startedMs;
        onEvent({ type: "job-failed", ...named, ms, code: failure.code, reason: failure.message });
        if (!abort.signal.aborted) this.#send({ type: "failed", jobId, lease, ...failure, retryable: true });
      })
      .finally(() => {
        this.#runs.delete(key);
        if (!this.#ended) this.#handle({ type: "ended", jobId: job.jobId, lease: job.lease });
      });
    this.#runs.set(key, { abort, finished });
  }

  #send(frame: AgentFrame): void {
    if (this.#socket.readyState !== WebSocket.OPEN || this.#ended) return;
    this.#socket.send(JSON.stringify(frameForPool(minorOf(this.#socket.protocol), frame)), () => {
      if (this.#socket.bufferedAmount <= UNSENT_BYTES) this.#wakeWaiting();
    });
  }

  #room(signal: AbortSignal): Promise<void> | undefined {
    if (signal.aborted || this.#socket.bufferedAmount <= UNSENT_BYTES) return undefined;
    return new Promise((resolve) => {
      this.#waitingForBuffer.push(resolve);
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  #wakeWaiting(): void {
    const waiting = this.#waitingForBuffer;
    this.#waitingForBuffer = [];
    for (const wake of waiting) wake();
  }

  /** Sends `ready` at once if the pool may be short of credit; otherwise a little later, together with others. */
  #reportFreeSlots(ready: Extract<SessionAction, { type: "ready" }>): void {
    const isScheduled = this.#pendingReady !== null;
    this.#pendingReady = ready;
    if (!this.#credit.isPlenty(ready.slots)) {
      this.#sendPendingReady();
      return;
    }
    if (isScheduled) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#sendPendingReady();
    }, LIMITS.readyGroupMs);
    this.#timers.add(timer);
  }

  #sendPendingReady(): void {
    const ready = this.#pendingReady;
    if (ready === null) return;
    this.#pendingReady = null;
    this.#credit.announced(ready.slots);
    this.#send(ready);
  }

  #stop(code: StopCode): void {
    this.#finish({ type: "stopped", code, message: STOPPED[code] });
  }

  #lose(reason: string, closeCode: number = CLOSE.normal, retryAfterMs = 0): void {
    const openMs = this.#openedMs === null ? 0 : this.#options.nowMs() - this.#openedMs;
    this.#finish({ type: "lost", reason, openMs, retryAfterMs }, closeCode);
  }

  #finish(end: ConnectionEnd, closeCode: number = CLOSE.normal): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.drain.removeEventListener("abort", this.#onDrain);
    for (const timer of this.#timers) clearTimeout(timer);
    for (const { abort } of this.#runs.values()) abort.abort();
    this.#wakeWaiting();
    const stopped = [...this.#runs.values()].map(({ finished }) => finished);
    void Promise.all([this.#closeSocket(closeCode), ...stopped]).then(() => this.#resolve(end));
  }

  #closeSocket(code: number): Promise<void> {
    const socket = this.#socket;
    if (socket.readyState === WebSocket.CLOSED) return Promise.resolve();
    return new Promise((resolve) => {
      const limitMs = socket.bufferedAmount > 0 ? CLOSING.unsentMs : CLOSING.idleMs;
      const timer = setTimeout(() => socket.terminate(), limitMs);
      socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      if (socket.readyState === WebSocket.CONNECTING) socket.terminate();
      else socket.close(code);
    });
  }
}

const runKey = ({ jobId, lease }: { jobId: string; lease: number }) => `${jobId}/${lease}`;
