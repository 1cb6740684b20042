import { DurableObject } from "cloudflare:workers";
import { createHash, type Hash } from "node:crypto";
import { concat, utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import { verifyMetering } from "../../schema/crypto/worker-proof.ts";
import type { MeteringRow } from "../../schema/db/metering.ts";
import type { RecordRow } from "../../schema/db/record-tables.ts";
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import type { JobKind } from "../../schema/wire/worker-frames.ts";
import type { Env } from "../env.ts";
import type { ErrorDetails } from "../http/error-body.ts";
import { errorResponse } from "../http/errors.ts";
import { poolKeys } from "../http/pool-keys.ts";
import { within } from "../http/within.ts";
import { type HeldRecords, Outbox } from "../record/outbox.ts";
import { sameRow } from "../record/same-row.ts";
import { type ConnectedWorker, LANE_CONNECT_URL } from "../workers/lane-link.ts";
import { TokenLedger } from "../workers/token-ledger.ts";
import { WorkerRecords } from "../workers/worker-record.ts";
import { WorkerSockets } from "../workers/worker-sockets.ts";
import type { AnswerHead } from "./answer-format.ts";
import { answerFormat } from "./answer-formats.ts";
import { type Answer, type Served, StreamedAnswer, WholeAnswer } from "./answers.ts";
import { autoModel } from "./auto-model.ts";
import { Elsewhere } from "./elsewhere.ts";
import { EndedJobs } from "./ended-jobs.ts";
import { type FoundJob, type JobName, LANE_JOBS_URL, type LaneJob, type LaneOverview } from "./lane-api.ts";
import {
  cancel,
  creditOf,
  type Effect,
  heldForJobs,
  isMetBy,
  type Job,
  type JobEnd,
  jobsNamed,
  type LaneState,
  modelLoads,
  newLane,
  placeInQueue,
  type Submission,
  submit,
  tick,
  workerConnected,
  workerFrame,
  workerGone,
  workerRestored,
} from "./lane-machine.ts";
import {
  type LaneMetrics,
  newPace,
  observeEnd,
  observeRefusals,
  observeText,
  observeUnserved,
  type Pace,
  restoreMetrics,
} from "./lane-metrics.ts";
import { type LaneSettings, laneSettings } from "./lane-settings.ts";
import { boundCount, boundUsage, recordMatches } from "./metering-rules.ts";
import { PresenceLog } from "./presence-log.ts";
import { WorkerKeys } from "./worker-keys.ts";
import { requestFor } from "./worker-request.ts";

/** A job's client side: the answer it goes into, and the running hash of what was streamed. */
interface Live {
  readonly answer: Answer;
  responseHash: Hash | null;
  readonly pace: Pace;
}

type IncomingJob = Omit<LaneJob, "headers"> & { requestBytes: number };

const UTF8 = new TextDecoder();

const UNSERVED: readonly ErrorCode[] = ["inference/model-not-found", "inference/no-worker"];

/** How often time passes for the jobs of a lane; nothing ticks while there are none, so that an idle lane hibernates. */
const TICK_MS = 100;

/**
 * One dispatcher (SPEC 1, 5.2): the queue of jobs, and the workers that serve it. The rules are in `lane-machine.ts`,
 * the sockets in `worker-sockets.ts`; this shell owns the clients' answers, time, and the records.
 */
export class Lane extends DurableObject<Env> {
  readonly #outbox: Outbox;
  readonly #tokens: TokenLedger;
  readonly #sockets: WorkerSockets;
  readonly #presence: PresenceLog;
  readonly #settings: LaneSettings;
  readonly #state: LaneState;
  readonly #live = new Map<string, Live>();
  /** Answers that have ended and are still being read. */
  readonly #closing = new Set<Answer>();
  readonly #endedJobs = new EndedJobs();
  readonly #workerKeys = new WorkerKeys();
  readonly #workerRecords = new WorkerRecords();
  readonly #elsewhere = new Elsewhere();
  #elsewhereTimer: ReturnType<typeof setTimeout> | null = null;
  readonly #metrics: LaneMetrics;
  #metricsTimer: ReturnType<typeof setTimeout> | null = null;
  readonly #unwritten: MeteringRow[] = [];
  #writeTimer: ReturnType<typeof setTimeout> | null = null;
  #flushTimer: ReturnType<typeof setTimeout> | null = null;
  readonly #unsettled = new Map<string, number>();
  #settleTimer: ReturnType<typeof setTimeout> | null = null;
  #ticker: ReturnType<typeof setInterval> | null = null;
  #renewedMs = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#outbox = new Outbox(ctx.storage, env.DB);
    this.#tokens = new TokenLedger(ctx.storage.sql);
    this.#presence = new PresenceLog(ctx, env);
    this.#metrics = restoreMetrics(ctx.storage.kv.get<LaneMetrics>("metrics"));
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS known_models (name TEXT PRIMARY KEY) WITHOUT ROWID");
    const known = ctx.storage.sql.exec<{ name: string }>("SELECT name FROM known_models").toArray();
    this.#settings = laneSettings(env);
    this.#state = newLane(known.map((row) => row.name));
    this.#sockets = new WorkerSockets(ctx, this.#tokens, () => this.#atomId(), {
      bind: (token, worker, modelNames) =>
        ctx.storage.transactionSync(() => {
          if (this.#tokens.find(token.id)?.workerId !== token.workerId) this.#saveToken(token);
          if (this.#workerRecords.isNews(worker)) this.#outbox.put("workers", worker);
          this.#keepModelNames(modelNames);
        }),
      serving: (worker) => {
        this.#apply(workerConnected(this.#state, worker, Date.now()));
        if (worker.minor >= 1) this.#elsewhere.came(worker);
        this.#presence.came(worker);
        this.#presence.tell(Date.now());
        ctx.waitUntil(this.#flush().then(() => this.#arm()));
      },
      frame: (connection, frame) => {
        this.#apply(workerFrame(this.#state, connection, frame, Date.now()));
        if (frame.type === "ready" || frame.type === "drain") this.#rememberCredit(connection);
      },
      gone: (connection) => {
        this.#apply(workerGone(this.#state, connection, Date.now()));
        this.#elsewhere.went(connection);
        this.#presence.went(connection);
        this.#tellPresence();
      },
    });
    for (const { worker, credit } of this.#sockets.wake()) {
      workerRestored(this.#state, worker, credit);
      if (worker.minor >= 1) this.#elsewhere.came(worker);
      this.#presence.came(worker);
    }
    // Of workers whose sockets a crash took with it.
    this.#tellPresence();
    // What a crash left behind between an object's commit and D1.
    if (this.#outbox.pending() > 0) this.#flushSoon();
  }

  override async fetch(request: Request): Promise<Response> {
    switch (request.url) {
      case LANE_JOBS_URL:
        return this.#serve(request);
      case LANE_CONNECT_URL:
        return this.#sockets.connect(request);
      default:
        return errorResponse("http/not-found");
    }
  }

  // ---- clients

  async #serve(request: Request): Promise<Response> {
    const { signal } = request;
    const bytes = await request.arrayBuffer();
    // None from a Worker of the version before, which is still there while a deployment rolls out.
    const { headers = {}, ...job } = JSON.parse(UTF8.decode(bytes)) as LaneJob;
    const response = await this.#answer({ ...job, requestBytes: bytes.byteLength }, signal);
    for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
    return response;
  }

  #answer(incoming: IncomingJob, signal: AbortSignal): Response | Promise<Response> {
    let left = signal.aborted;
    let leave = () => {
      left = true;
    };
    // Measured with workerd on one machine, nothing written yet: a reset connection aborts within 3 ms, a closed one (FIN)
    // never, since HTTP/1.1 clients may close their half and still read. A whole answer then finds out after its hold.
    signal.addEventListener("abort", () => leave());
    const nowMs = Date.now();
    this.#sockets.sweep(nowMs);
    const model = incoming.model === "auto" ? this.#autoModel(incoming) : incoming.model;
    const submission: Submission & ErrorDetails =
      model === null ? this.#nobodyFor(incoming.kind) : submit(this.#state, { ...incoming, model }, nowMs);
    const known = model !== null && this.#state.knownModels.has(model) ? model : null;
    this.#elsewhere.asked(known);
    this.#tellElsewhereSoon();
    if (!submission.ok) {
      this.#settle(incoming.keyId, incoming.id, 0, incoming.request.stream);
      this.countRefusals(new Map([[submission.code, 1]]), known);
      if (UNSERVED.includes(submission.code)) observeUnserved(this.#metrics, known);
      const { errorBody } = answerFormat(answerHead(incoming, incoming.model, nowMs));
      return errorResponse(submission.code, submission, errorBody(submission.code, submission));
    }
    const { job } = submission;
    const head = answerHead(incoming, job.model, nowMs);
    const gone = (code: ErrorCode) => this.#apply(cancel(this.#state, job.id, code));
    const answer = job.request.stream
      ? new StreamedAnswer(head, nowMs, gone)
      : new WholeAnswer(head, nowMs, this.#settings.statusHoldMs, gone);
    this.#live.set(job.id, { answer, responseHash: null, pace: newPace() });
    this.#apply(submission.effects);
    leave = () => gone("inference/cancelled");
    if (left) leave();
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
    return answer.response;
  }

  #autoModel({ kind, request }: IncomingJob): string | null {
    const { embeddingModel } = this.#settings;
    const canDo = (model: string) => isMetBy(this.#state, model, request);
    return autoModel(kind, modelLoads(this.#state), embeddingModel, canDo);
  }

  /** The client named no model, and no worker serves one for it. */
  #nobodyFor(kind: JobKind): { ok: false; code: "inference/no-worker"; message: string } {
    const { embeddingModel } = this.#settings;
    const message =
      kind === "embedding" && embeddingModel !== null
        ? `No worker serves ${embeddingModel} now, which auto means for embeddings at this pool.`
        : "No worker that does this kind of request is connected now.";
    return { ok: false, code: "inference/no-worker", message };
  }

  #tellElsewhereSoon(): void {
    if (!this.#elsewhere.hasListeners) return;
    this.#elsewhereTimer ??= setTimeout(() => {
      this.#elsewhereTimer = null;
      for (const { connection, jobs } of this.#elsewhere.news()) {
        this.#sockets.send(connection, { type: "elsewhere", jobs });
      }
    }, LIMITS.elsewhereMs);
  }

  /** Ends what this key calls so and still runs. How it, or the last of several, stands then; null for none. */
  cancelJobs(name: JobName, keyId: string): FoundJob | null {
    for (const id of jobsNamed(this.#state, name, keyId)) this.#apply(cancel(this.#state, id, "inference/cancelled"));
    return this.#endedJobs.find(name, keyId);
  }

  // ---- workers

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    return this.#sockets.message(socket, message);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#sockets.lost(socket);
    // RFC 6455 section 5.5.1: the closing handshake has two sides. The code is ours; theirs may not be repeatable.
    socket.close(CLOSE.normal);
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.lost(socket);
  }

  /** So that a lane which hibernates and wakes goes on from exactly what it last knew. */
  #rememberCredit(connection: string): void {
    const credit = creditOf(this.#state, connection);
    if (credit) this.#sockets.remember(connection, credit);
  }

  /** Inside a transaction. A lane that has met very many names tells a 404 where a 503 would be better, and no more. */
  #keepModelNames(names: string[]): void {
    const room = LIMITS.knownModelsPerLane - this.#state.knownModels.size;
    const fresh = names.filter((name) => !this.#state.knownModels.has(name)).slice(0, Math.max(0, room));
    for (const name of fresh) {
      this.#state.knownModels.add(name);
      this.ctx.storage.sql.exec("INSERT OR IGNORE INTO known_models (name) VALUES (?)", name);
    }
  }

  // ---- operators

  /** A new invite. The caller has minted the token and shows it once. */
  async invite(token: WorkerTokenRow): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#saveToken(token));
    await this.#flush();
  }

  /** Tokens of an export. Those that are here stay as they are; false when one of them is not as it was exported. */
  async restoreTokens(tokens: WorkerTokenRow[]): Promise<boolean> {
    if (tokens.some((token) => !sameRow(this.#tokens.find(token.id) ?? token, token))) return false;
    this.ctx.storage.transactionSync(() => {
      for (const token of tokens) this.#saveToken(token);
    });
    await this.#flush();
    return true;
  }

  /** Rows of an export that nobody decides by. */
  async restoreRecords(table: "workers" | "metering", rows: object[]): Promise<void> {
    this.ctx.storage.transactionSync(() => {
      for (const row of rows) this.#outbox.put(table, row as RecordRow<typeof table>);
    });
    await this.#flush();
  }

  /** Resolves once D1 has what happened until now, as far as it can be reached. */
  async flushRecords(): Promise<void> {
    this.#writeRecords();
    await this.#flush();
  }

  /**
   * Closes the worker's socket at once and refuses its return. The time is that of the first revocation; `recorded`:
   * whether D1 has it already. Null for no such token.
   */
  async revokeToken(id: string, by: string): Promise<{ revokedAtMs: number; recorded: boolean } | null> {
    const token = this.#tokens.find(id);
    if (!token) return null;
    const revokedAtMs = token.revokedAtMs ?? Date.now();
    if (token.revokedAtMs === null) {
      this.ctx.storage.transactionSync(() => this.#saveToken({ ...token, revokedBy: by, revokedAtMs }));
    }
    this.#sockets.closeToken(id, CLOSE.tokenRefused, "token revoked");
    const flushing = this.#flush();
    this.ctx.waitUntil(flushing);
    return { revokedAtMs, recorded: (await within(LIMITS.recordWaitMs, flushing)) ?? false };
  }

  connectedWorkers(): ConnectedWorker[] {
    this.#sockets.sweep(Date.now());
    return this.#sockets.serving().flatMap(({ connection, workerId, tokenId, agentVersion, connectedAtMs }) => {
      const worker = this.#state.workers.get(connection);
      if (!worker) return [];
      const models = [...worker.models].map(([name, model]) => ({
        name,
        slots: model.slots,
        free: model.credit,
        active: [...worker.jobs].filter((id) => this.#state.jobs.get(id)?.model === name).length,
      }));
      return [{ workerId, tokenId, agentVersion, connectedAtMs, models }];
    });
  }

  overview(): LaneOverview {
    this.#sockets.sweep(Date.now());
    return { workers: this.#state.workers.size, models: modelLoads(this.#state) };
  }

  metrics(): { measured: LaneMetrics; framesRefused: number; outboxRows: number } {
    return { measured: this.#metrics, framesRefused: this.#sockets.refused, outboxRows: this.#outbox.pending() };
  }

  /** What is held for jobs and answers: all of it is 0 when nothing waits, runs, is read, or was just ended. */
  holds(): Record<string, number> {
    return {
      ...heldForJobs(this.#state),
      answers: this.#live.size,
      answers_being_read: this.#closing.size,
      records_unwritten: this.#unwritten.length,
      keys_unsettled: this.#unsettled.size,
    };
  }

  heldRecords(): HeldRecords {
    return this.#outbox.held();
  }

  /** Requests that came to no job, such as those that the stateless Worker refused. */
  countRefusals(refusals: ReadonlyMap<ErrorCode, number>, model: string | null = null): void {
    for (const [code, n] of refusals) observeRefusals(this.#metrics, model, code, n);
    this.#saveMetricsSoon();
  }

  #saveToken(token: WorkerTokenRow): void {
    this.#tokens.save(token);
    this.#outbox.put("worker_tokens", token);
  }

  // ---- time

  override async alarm(): Promise<void> {
    this.#sockets.closeExpired(Date.now());
    this.#presence.tell(Date.now());
    await this.#outbox.flush();
    await this.#arm();
  }

  /** What the event log may not be told yet, the alarm tells. */
  #tellPresence(): void {
    this.#presence.tell(Date.now());
    if (this.#presence.dueAtMs(Date.now()) !== null) this.ctx.waitUntil(this.#arm());
  }

  /** The object has one alarm: the next token to expire, the next worker to tell of, or the next try of the outbox. */
  async #arm(): Promise<void> {
    const due = this.#sockets.serving().map((worker) => worker.tokenExpiresAtMs);
    const outboxDueMs = this.#outbox.dueAtMs(Date.now());
    if (outboxDueMs !== null) due.push(outboxDueMs);
    const presenceDueMs = this.#presence.dueAtMs(Date.now());
    if (presenceDueMs !== null) due.push(presenceDueMs);
    if (due.length === 0) return;
    const nextMs = due.reduce((first, next) => Math.min(first, next));
    if ((await this.ctx.storage.getAlarm()) !== nextMs) await this.ctx.storage.setAlarm(nextMs);
  }

  /** Whether D1 has it all; if not, the alarm tries again. */
  async #flush(): Promise<boolean> {
    const flushed = await this.#outbox.flush();
    if (!flushed) await this.#arm();
    return flushed;
  }

  #flushSoon(): void {
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = null;
      this.ctx.waitUntil(this.#flush());
    }, LIMITS.recordFlushMs);
  }

  #tick(): void {
    const nowMs = Date.now();
    this.#sockets.sweep(nowMs);
    this.#apply(tick(this.#state, nowMs));
    for (const [id, { answer }] of this.#live) {
      answer.idle(nowMs, () => placeInQueue(this.#state, id));
    }
    for (const answer of this.#closing) {
      answer.idle(nowMs, () => null);
      if (answer.closed) this.#closing.delete(answer);
    }
    // By distance: a wall clock that steps back must not put renewals off.
    if (Math.abs(nowMs - this.#renewedMs) >= LIMITS.streamSlotRenewMs) this.#renewSlots(nowMs);
    if (this.#live.size > 0 || this.#closing.size > 0 || !this.#ticker) return;
    clearInterval(this.#ticker);
    this.#ticker = null;
  }

  #renewSlots(nowMs: number): void {
    this.#renewedMs = nowMs;
    const slots = new Map<string, string[]>();
    for (const job of this.#state.jobs.values()) {
      if (!job.request.stream) continue;
      const ofKey = slots.get(job.keyId);
      if (ofKey) ofKey.push(job.id);
      else slots.set(job.keyId, [job.id]);
    }
    for (const [keyId, ids] of slots) this.ctx.waitUntil(quietly(this.env.ACCOUNT.getByName(keyId).renew(ids)));
  }

  // ---- effects

  #apply(effects: Effect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case "send-job":
          this.#sendJob(effect.connection, effect.job);
          break;
        case "send":
          this.#sockets.send(effect.connection, effect.frame);
          break;
        case "accepted":
          this.#live.get(effect.job.id)?.answer.accepted(servedBy(effect.job));
          break;
        case "text": {
          const live = this.#live.get(effect.job.id);
          if (!live) break;
          observeText(this.#metrics, effect.job, live.pace, Date.now());
          live.responseHash ??= createHash("sha256");
          if (effect.toolCall?.name !== undefined) live.responseHash.update(effect.toolCall.name);
          live.responseHash.update(effect.text);
          live.answer.text(servedBy(effect.job), effect.text, effect.toolCall);
          break;
        }
        case "end":
          this.#end(effect.job, effect.end);
          break;
        case "close":
          if (effect.violation) this.#sockets.refuse(effect.connection, effect.code, effect.reason);
          else this.#sockets.close(effect.connection, effect.code, effect.reason);
          break;
        default:
          effect satisfies never;
      }
    }
  }

  #sendJob(connection: string, job: Job): void {
    if (job.attempts > 1) this.#metrics.requeued += 1;
    const { id: jobId, lease, model, kind, deadlineMs } = job;
    const request = requestFor(job.minor, job.request);
    this.#sockets.sendText(connection, JSON.stringify({ type: "job", jobId, lease, model, kind, deadlineMs, request }));
    this.#rememberCredit(connection);
  }

  #end(job: Job, end: JobEnd): void {
    const live = this.#live.get(job.id);
    this.#live.delete(job.id);
    this.#endedJobs.remember(job.id, { keyId: job.keyId, requestId: job.requestId, state: end.outcome });
    const claimed = end.outcome === "done" ? end.usage : { promptTokens: 0, completionTokens: job.relayedTokens };
    const { usage, clamped } = boundUsage(claimed, job);
    observeEnd(this.#metrics, job, end.outcome === "done" ? end : { code: end.code }, usage, Date.now());
    this.#saveMetricsSoon();
    // A stream's slot is asked to be free before the client can know that its stream has ended.
    this.#settle(job.keyId, job.id, usage.promptTokens + usage.completionTokens, job.request.stream);
    if (end.outcome === "done") {
      const { finishReason, text, toolCalls, stopSequence, countedTokens: counted } = end;
      // A count is an answer, and costs no tokens: only the client sees it as the prompt's usage.
      const shown = counted === undefined ? usage : { promptTokens: boundCount(counted, job), completionTokens: 0 };
      const { vectors } = job.said;
      live?.answer.done(servedBy(job), { finishReason, usage: shown, text, toolCalls, stopSequence, vectors });
    } else {
      live?.answer.failed(end.code, end);
    }
    if (live && !live.answer.closed) this.#closing.add(live.answer);

    const { promptTokens, completionTokens } = usage;
    const row = { ...meteringBase(job, Date.now()), promptTokens, completionTokens, flags: clamped ? "clamped" : "" };
    if (end.outcome !== "done") {
      this.#record({ ...row, outcome: end.outcome, code: end.code });
      return;
    }
    const publicKey = this.#sockets.find(job.connection)?.publicKey ?? "";
    const signed = canonicalBytes(end.metering);
    this.ctx.waitUntil(
      this.#audit(job, end, { signed, publicKey, streamed: live?.responseHash ?? null }).then((flags) =>
        this.#record({
          ...row,
          outcome: "done",
          claimedPromptTokens: end.usage.promptTokens,
          claimedCompletionTokens: end.usage.completionTokens,
          flags: (clamped ? ["clamped", ...flags] : flags).join(","),
          record: UTF8.decode(signed),
          signature: end.signature,
        }),
      ),
    );
  }

  /** After the answer is out: does the signed record hold? Its reasons for doubt, none when it does. */
  async #audit(
    job: Job,
    end: Extract<JobEnd, { outcome: "done" }>,
    { signed, publicKey, streamed }: { signed: Uint8Array; publicKey: string; streamed: Hash | null },
  ): Promise<string[]> {
    const pool = await this.#atomId();
    const requestSha256 = sha256(canonicalBytes(requestFor(job.minor, job.request))).digest("hex");
    const responseSha256 = (streamed ?? sha256(wholeBytes(job, end))).digest("hex");
    const { usage, finishReason } = end;
    const { id, workerId, model } = job;
    const said = { id, pool, workerId, model, usage, finishReason, requestSha256, responseSha256 };
    const key = await this.#workerKeys.of(publicKey);
    const holds = key !== null && (await verifyMetering(end.metering, signed, end.signature, key));
    return [...(recordMatches(end.metering, said) ? [] : ["mismatch"]), ...(holds ? [] : ["bad-signature"])];
  }

  // ---- records

  /** Rows of jobs that end close together share one write, and one trip to D1 (SPEC 1, rules 4 and 6). */
  #record(row: MeteringRow): void {
    this.#unwritten.push(row);
    this.#writeTimer ??= setTimeout(() => {
      this.#writeTimer = null;
      this.#writeRecords();
      this.#flushSoon();
    }, LIMITS.recordGroupMs);
  }

  #writeRecords(): void {
    const rows = this.#unwritten.splice(0);
    this.ctx.storage.transactionSync(() => {
      for (const unwritten of rows) this.#outbox.put("metering", unwritten);
    });
  }

  /** Counts outlive hibernation; they reach the disk after the answer, once a second at most. */
  #saveMetricsSoon(): void {
    this.#metricsTimer ??= setTimeout(() => {
      this.#metricsTimer = null;
      this.ctx.storage.kv.put("metrics", this.#metrics);
    }, LIMITS.metricsSaveMs);
  }

  #settle(keyId: string, slot: string, tokens: number, stream: boolean): void {
    this.#unsettled.set(keyId, (this.#unsettled.get(keyId) ?? 0) + tokens);
    if (stream) {
      const owed = this.#unsettled.get(keyId) ?? 0;
      this.#unsettled.delete(keyId);
      this.ctx.waitUntil(quietly(this.env.ACCOUNT.getByName(keyId).settle({ slot, tokens: owed })));
      return;
    }
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = null;
      const owing = [...this.#unsettled];
      this.#unsettled.clear();
      for (const [key, owed] of owing) {
        this.ctx.waitUntil(quietly(this.env.ACCOUNT.getByName(key).settle({ slot: null, tokens: owed })));
      }
    }, LIMITS.settleGroupMs);
  }

  async #atomId(): Promise<string> {
    return (await poolKeys(this.env)).atomId;
  }
}

/** Node's own: one call, where WebCrypto's digest is a promise for every few bytes. */
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes);

function answerHead(incoming: IncomingJob, model: string, nowMs: number): AnswerHead {
  const { id: jobId, requestId, kind, format = kind, includeUsage, encodingFormat, echo } = incoming;
  const createdSeconds = Math.floor(nowMs / 1_000);
  return { jobId, requestId, format, model, createdSeconds, includeUsage, encodingFormat, echo };
}

function servedBy(job: Job): Served {
  return { workerId: job.workerId ?? "", queuedMs: job.queuedMs, deterministic: job.engine !== "upstream" };
}

/** What `response_sha256` is over, of an answer in one piece. */
function wholeBytes(job: Job, { text = "", toolCalls = [] }: Extract<JobEnd, { outcome: "done" }>): Uint8Array {
  if (job.kind === "embedding") return concat(...job.said.vectors);
  return utf8(text + toolCalls.map((call) => call.name + call.arguments).join(""));
}

function meteringBase(
  job: Job,
  endedAtMs: number,
): Omit<MeteringRow, "outcome" | "promptTokens" | "completionTokens" | "flags"> {
  return {
    jobId: job.id,
    keyId: job.keyId,
    workerId: job.workerId,
    model: job.model,
    kind: job.kind,
    code: null,
    claimedPromptTokens: null,
    claimedCompletionTokens: null,
    attempts: job.attempts,
    queuedMs: job.queuedMs,
    acceptedAtMs: job.acceptedMs,
    endedAtMs,
    record: null,
    signature: null,
  };
}

/** A limit's bookkeeping that fails, fails towards its own expiry; the answer is out already. */
async function quietly(done: Promise<void>): Promise<void> {
  try {
    await done;
  } catch (error) {
    console.warn(
      JSON.stringify({ event: "account-call-failed", cause: error instanceof Error ? error.name : "unknown" }),
    );
  }
}
