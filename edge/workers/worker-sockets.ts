import { toHex } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import type { WorkerRow, WorkerTokenRow } from "../../schema/db/workers.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { CLOSE, LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import {
  type AgentFrame,
  agentFrame,
  type Hello,
  outdatedHello,
  type PoolFrame,
} from "../../schema/wire/worker-frames.ts";
import { minorOf } from "../../schema/wire/worker-protocol.ts";
import { errorResponse } from "../http/errors.ts";
import { hasMoreValuesThan } from "../http/json-values.ts";
import { CONNECT_HEADERS } from "./connect-request.ts";
import { binding, type EnrolmentRefusal, enrolment } from "./enrolment-rules.ts";
import { checkHello } from "./handshake.ts";
import { HandshakeRates } from "./handshake-rate-tracker.ts";
import type { ServingWorker } from "./serving-worker.ts";
import type { WorkerTokens } from "./worker-tokens.ts";

/** Persisted contract: the attachment of a socket, which survives hibernation of its object (16 KiB at most). */
type Attachment =
  | {
      phase: "challenged";
      connection: string;
      tokenId: string;
      tokenSha256: string;
      nonce: string;
      sinceMs: number;
      minor: number;
    }
  | ({ phase: "serving"; credit: Credit } & ServingWorker);

/**
 * Reads the attachment. An earlier release stored `isExtended` (the worker knows the frames of v1.1) instead of the
 * minor version.
 */
function readAttachment(socket: WebSocket): Attachment | null {
  const attached = socket.deserializeAttachment() as (Attachment & { isExtended?: boolean }) | null;
  return attached && { ...attached, minor: attached.minor ?? (attached.isExtended ? 1 : 0) };
}

/** The pull credit of a worker: jobs sent on this socket, and the credit of each model in the order of `models`. */
export interface Credit {
  sent: number;
  credits: number[];
  draining: boolean;
}

export type JobFrameOfAgent = Exclude<AgentFrame, { type: "hello" }>;

/** Called when something happens to a socket. `bind` commits the token and the worker's record before it returns. */
export interface WorkerSocketEvents {
  bind(token: WorkerTokenRow, worker: WorkerRow, modelNames: string[]): void;
  connected(worker: ServingWorker): void;
  frame(connection: string, frame: JobFrameOfAgent): void;
  disconnected(connection: string): void;
}

const SWEEP_MS = 1_000;

/**
 * The pool's side of the worker sockets of one lane: challenge and proof, liveness, refusal
 * (docs/spec/workers.md#socket-protocol). It handles frames and tokens, but not jobs. A bad token is refused by an HTTP
 * status, before a socket opens: the runtime keeps an opened socket until its worker answers the close, and a worker
 * may never do that.
 */
export class WorkerSockets {
  readonly #ctx: DurableObjectState;
  readonly #tokens: WorkerTokens;
  readonly #events: WorkerSocketEvents;
  readonly #pool: () => Promise<string>;
  readonly #sockets = new Map<string, WebSocket>();
  readonly #attachments = new Map<string, Attachment>();
  readonly #heardMs = new Map<string, number>();
  readonly #helloTimers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #handshakes = new HandshakeRates();
  #sweptMs = 0;
  /** How many sockets were closed because of a frame. */
  refused = 0;

  constructor(ctx: DurableObjectState, tokens: WorkerTokens, pool: () => Promise<string>, events: WorkerSocketEvents) {
    this.#ctx = ctx;
    this.#tokens = tokens;
    this.#pool = pool;
    this.#events = events;
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** After hibernation: the workers whose sockets are still open, with their remembered credit. */
  wake(): { worker: ServingWorker; credit: Credit }[] {
    const found: { worker: ServingWorker; credit: Credit }[] = [];
    for (const socket of this.#ctx.getWebSockets()) {
      const attached = readAttachment(socket);
      if (!attached) continue;
      this.#sockets.set(attached.connection, socket);
      this.#attachments.set(attached.connection, attached);
      if (attached.phase === "serving") found.push({ worker: attached, credit: attached.credit });
    }
    return found;
  }

  serving(): ServingWorker[] {
    return [...this.#attachments.values()].flatMap((attached) => (attached.phase === "serving" ? [attached] : []));
  }

  find(connection: string | null): ServingWorker | undefined {
    const attached = connection === null ? undefined : this.#attachments.get(connection);
    return attached?.phase === "serving" ? attached : undefined;
  }

  /** Writes the credit into the attachment. It stays in the runtime's memory and needs no storage. */
  remember(connection: string, credit: Credit): void {
    const attached = this.#attachments.get(connection);
    if (attached?.phase === "serving") this.#attach({ ...attached, credit });
  }

  // ---- a socket's life

  async connect(request: Request): Promise<Response> {
    const header = (name: string) => request.headers.get(name) ?? "";
    const nowMs = Date.now();
    const tokenId = header(CONNECT_HEADERS.tokenId);
    // Check this first, because it needs only memory: a token that connects again and again then costs almost nothing.
    const waitMs = this.#handshakes.take(tokenId, nowMs);
    if (waitMs > 0) {
      return errorResponse("workers/connects-too-often", { retryAfterSeconds: Math.ceil(waitMs / 1_000) });
    }
    const enrolled = enrolment(this.#tokens.find(tokenId), header(CONNECT_HEADERS.secretSha256), nowMs);
    if (!enrolled.ok) return errorResponse(enrolled.code);
    this.sweep(nowMs);
    // The runtime's list also has closed sockets whose worker has not answered the close.
    if (this.#ctx.getWebSockets(tokenId).length >= LIMITS.socketsPerToken) {
      return errorResponse("workers/too-many-sockets", { retryAfterSeconds: LIMITS.socketsRetrySeconds });
    }
    if (this.#sockets.size >= LIMITS.socketsPerLane) return errorResponse("workers/too-many");

    const pool = await this.#pool();
    const { 0: theirs, 1: socket } = new WebSocketPair();
    const connection = crypto.randomUUID();
    const nonce = toHex(crypto.getRandomValues(new Uint8Array(32)));
    this.#ctx.acceptWebSocket(socket, [tokenId]);
    this.#sockets.set(connection, socket);
    const tokenSha256 = header(CONNECT_HEADERS.tokenSha256);
    const spoken = header("sec-websocket-protocol");
    const minor = minorOf(spoken);
    this.#attach({ phase: "challenged", connection, tokenId, tokenSha256, nonce, sinceMs: nowMs, minor });
    this.#limitChallenges(tokenId);
    this.send(connection, { type: "challenge", nonce, pool });
    // The pool sends its close frame in time. workerd may close the connection later: if the first frame of a
    // hibernatable socket is its answer to that close frame, workerd closes it only when the object hibernates.
    const late = () => this.close(connection, CLOSE.policyViolation, "no hello in time");
    this.#helloTimers.set(connection, setTimeout(late, LIMITS.helloMs));
    return new Response(null, { status: 101, webSocket: theirs, headers: { "sec-websocket-protocol": spoken } });
  }

  /** Handles a message on a socket. Whatever it contains, the worst result is that this socket closes. */
  async message(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const connection = this.#connectionOf(socket);
    const attached = connection === undefined ? undefined : this.#attachments.get(connection);
    if (connection === undefined || !attached) return;
    this.#heardMs.set(connection, Date.now());
    try {
      if (typeof message !== "string") return this.refuse(connection, CLOSE.policyViolation, "frames are text");
      if (isLongerThan(message, LIMITS.agentFrameBytes))
        return this.refuse(connection, CLOSE.tooBig, "frame too large");
      if (hasMoreValuesThan(LIMITS.agentFrameValues, message))
        return this.refuse(connection, CLOSE.tooBig, "frame with too many values");
      const value = parseJson(message);
      if (attached.phase === "challenged" && outdatedHello.safeParse(value).success) {
        const reason = `this pool speaks protocol ${WORKER_PROTOCOL.version}`;
        return this.refuse(connection, CLOSE.protocolTooOld, reason);
      }
      const parsed = agentFrame.safeParse(value);
      if (!parsed.success) return this.refuse(connection, CLOSE.policyViolation, "frame not understood");
      if (parsed.data.type === "hello") return await this.#hello(attached, parsed.data);
      this.#events.frame(connection, parsed.data);
    } catch (error) {
      const name = error instanceof Error ? error.name : "unknown";
      console.error(
        JSON.stringify({ event: "worker-frame-failed", name, stack: error instanceof Error ? error.stack : "" }),
      );
      this.close(connection, CLOSE.internal, "the pool failed on this frame");
    }
  }

  lost(socket: WebSocket): void {
    const connection = this.#connectionOf(socket);
    if (connection !== undefined) this.#forget(connection);
  }

  send(connection: string, frame: PoolFrame): void {
    this.sendText(connection, JSON.stringify(frame));
  }

  sendText(connection: string, text: string): void {
    try {
      this.#sockets.get(connection)?.send(text);
    } catch {
      // The socket is dead. Its close event follows, and the lane retries its jobs then.
    }
  }

  /** Closes a socket because of a frame that the worker sent. */
  refuse(connection: string, code: number, reason: string): void {
    this.refused += 1;
    this.close(connection, code, reason);
  }

  close(connection: string, code: number, reason: string): void {
    const socket = this.#sockets.get(connection);
    this.#forget(connection);
    try {
      socket?.close(code, reason);
    } catch {
      // It is closed already.
    }
  }

  closeToken(tokenId: string, code: number, reason: string): void {
    for (const attached of [...this.#attachments.values()]) {
      if (attached.tokenId === tokenId) this.close(attached.connection, code, reason);
    }
  }

  closeExpired(nowMs: number): void {
    for (const worker of this.serving()) {
      if (worker.tokenExpiresAtMs <= nowMs) this.close(worker.connection, CLOSE.tokenExpired, "token expired");
    }
  }

  /**
   * Closes sockets that are silent for `LIMITS.deadAfterMs`. The runtime answers pings without waking the object, and
   * keeps the time of the last ping.
   */
  sweep(nowMs: number): void {
    if (Math.abs(nowMs - this.#sweptMs) < SWEEP_MS) return;
    this.#sweptMs = nowMs;
    for (const [connection, socket] of [...this.#sockets]) {
      const attached = this.#attachments.get(connection);
      const sinceMs = attached?.phase === "serving" ? attached.connectedAtMs : (attached?.sinceMs ?? 0);
      const pingMs = this.#ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
      const heardMs = Math.max(sinceMs, pingMs, this.#heardMs.get(connection) ?? 0);
      if (nowMs - heardMs > LIMITS.deadAfterMs) this.close(connection, CLOSE.restarting, "silent for too long");
    }
  }

  async #hello(attached: Attachment, hello: Hello): Promise<void> {
    const { connection } = attached;
    if (attached.phase !== "challenged") return this.refuse(connection, CLOSE.policyViolation, "a second hello");
    const { nonce, tokenSha256, tokenId, minor } = attached;
    const checked = await checkHello(hello, { pool: await this.#pool(), nonce, tokenSha256 });
    if (!checked.ok) return this.refuse(connection, checked.close, checked.reason);

    // Check again: during the await, the token may have been revoked or the socket closed.
    if (this.#attachments.get(connection)?.phase !== "challenged") return;
    const nowMs = Date.now();
    const token = this.#tokens.find(tokenId);
    const enrolled = enrolment(token, token?.secretSha256 ?? "", nowMs);
    const bound = enrolled.ok ? binding(enrolled.token, checked.workerId) : enrolled;
    if (!bound.ok) return this.close(connection, closeOf(bound.code), bound.reason);
    const worker: ServingWorker = {
      connection,
      workerId: checked.workerId,
      publicKey: hello.publicKey,
      tokenId,
      tokenExpiresAtMs: bound.token.expiresAtMs,
      agentVersion: hello.agentVersion,
      engine: hello.manifest.engine,
      connectedAtMs: nowMs,
      minor,
      models: hello.manifest.models.map(({ name, slots, kinds, contextTokens }) => ({
        name,
        slots,
        kinds,
        contextTokens,
      })),
    };
    if (!this.#fits(worker)) return this.refuse(connection, CLOSE.policyViolation, "too many or too long model names");
    this.#stopWaitingForHello(connection);
    this.#events.bind(
      bound.token,
      workerRow(worker, hello),
      worker.models.map((model) => model.name),
    );
    this.#events.connected(worker);
    this.send(connection, {
      type: "welcome",
      worker: worker.workerId,
      heartbeatMs: LIMITS.heartbeatMs,
      leaseMs: LIMITS.leaseMs,
      agentFrameBytes: LIMITS.agentFrameBytes,
    });
  }

  /**
   * Stores the worker in the attachment of its socket. False: it exceeds 16 KiB, so the lane would lose the worker at
   * hibernation.
   */
  #fits(worker: ServingWorker): boolean {
    const credit = { sent: 0, credits: worker.models.map(() => 0), draining: false };
    try {
      this.#attach({ phase: "serving", credit, ...worker });
      return true;
    } catch {
      return false;
    }
  }

  /** Bounds the sockets of a token that have not proved a key. The oldest are closed first. */
  #limitChallenges(tokenId: string): void {
    const waiting = [...this.#attachments.values()].filter(
      (attached) => attached.phase === "challenged" && attached.tokenId === tokenId,
    );
    for (const oldest of waiting.slice(0, Math.max(0, waiting.length - LIMITS.halfOpenSocketsPerToken))) {
      this.close(oldest.connection, CLOSE.policyViolation, "too many connections with this token");
    }
  }

  #attach(attached: Attachment): void {
    this.#sockets.get(attached.connection)?.serializeAttachment(attached);
    this.#attachments.set(attached.connection, attached);
    const socket = this.#sockets.get(attached.connection);
    if (socket) CONNECTIONS.set(socket, attached.connection);
  }

  #connectionOf(socket: WebSocket): string | undefined {
    const known = CONNECTIONS.get(socket) ?? (socket.deserializeAttachment() as Attachment | null)?.connection;
    return known !== undefined && this.#sockets.get(known) === socket ? known : undefined;
  }

  #forget(connection: string): void {
    if (!this.#sockets.delete(connection)) return;
    this.#attachments.delete(connection);
    this.#heardMs.delete(connection);
    this.#stopWaitingForHello(connection);
    this.#events.disconnected(connection);
  }

  /** Stops the timer, because a running timer would keep an idle object from hibernating. */
  #stopWaitingForHello(connection: string): void {
    clearTimeout(this.#helloTimers.get(connection));
    this.#helloTimers.delete(connection);
  }
}

/** The connection of each socket, so that a frame does not need to read the attachment. */
const CONNECTIONS = new WeakMap<WebSocket, string>();

function workerRow(worker: ServingWorker, hello: Hello): WorkerRow {
  return {
    id: worker.workerId,
    publicKey: worker.publicKey,
    tokenId: worker.tokenId,
    agentVersion: worker.agentVersion,
    manifest: new TextDecoder().decode(canonicalBytes(hello.manifest)),
    manifestSignature: hello.manifestSignature,
    lastConnectedAtMs: worker.connectedAtMs,
  };
}

/** The close code of a refusal on a socket that is open already. */
function closeOf(code: EnrolmentRefusal): number {
  return code === "workers/token-expired" ? CLOSE.tokenExpired : CLOSE.tokenRefused;
}

/** Whether the text is longer than `bytes` in UTF-8. Encodes the text only if its length does not decide. */
function isLongerThan(text: string, bytes: number): boolean {
  if (text.length > bytes) return true;
  return text.length * 3 > bytes && new TextEncoder().encode(text).length > bytes;
}
