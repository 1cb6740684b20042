import { DurableObject } from "cloudflare:workers";
import type { Hash } from "node:crypto";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import type { MeteringRow } from "../../schema/db/metering.ts";
import type { RecordRow } from "../../schema/db/record-tables.ts";
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import type { JobKind } from "../../schema/wire/worker-frames.ts";
import type { Env } from "../env.ts";
import type { ErrorDetails } from "../http/error-body.ts";
import { errorResponse } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { within } from "../limits/timeout.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import { sameRow } from "../record/same-row.ts";
import { LANE_CONNECT_URL } from "../workers/connect-request.ts";
import type { ConnectedWorker } from "../workers/connected-worker.ts";
import { TokenLedger } from "../workers/token-ledger.ts";
import { WorkerKeys } from "../workers/worker-keys.ts";
import { WorkerRecords } from "../workers/worker-record-rules.ts";
import { WorkerSockets } from "../workers/worker-sockets.ts";
import { LiveAnswers } from "./answers/live-answers.ts";
import type { AnswerHead } from "./formats/answer-format.ts";
import { answerFormat } from "./formats/answer-formats.ts";
import { autoModel } from "./jobs/auto-model-rules.ts";
import { EndedJobs } from "./jobs/ended-jobs.ts";
import { jobFrame } from "./jobs/job-frame.ts";
import { newJobs } from "./jobs/job-group-rules.ts";
import {
  cancel,
  creditOf,
  heldForJobs,
  jobsNamed,
  placeInQueue,
  submit,
  tick,
  workerConnected,
  workerFrame,
  workerGone,
  workerRestored,
} from "./jobs/lane-machine.ts";
import { drop, hasRoom, keep } from "./jobs/lane-memory-rules.ts";
import { type Effect, type Job, type JobEnd, type LaneState, newLane, type Submission } from "./jobs/lane-state.ts";
import { isMetBy, modelLoads } from "./jobs/served-models-rules.ts";
import { Elsewhere } from "./jobs/unserved-demand-rules.ts";
import {
  type FoundJob,
  type JobName,
  LANE_JOBS_URL,
  type LaneJob,
  type LaneOverview,
  type LaneRpc,
} from "./lane-rpc.ts";
import { type LaneSettings, laneSettings } from "./lane-settings-rules.ts";
import {
  type LaneMetrics,
  observeEnd,
  observeRefusals,
  observeText,
  observeUnserved,
  restoreMetrics,
} from "./records/lane-metrics.ts";
import { doubtsOf, meteringBase, wholeHash } from "./records/metering-record.ts";
import { boundCount, boundUsage } from "./records/metering-rules.ts";
import { PresenceLog } from "./records/presence-log.ts";

/** `heldBytes`: what it costs to hold, with all that its answer repeats. */
type IncomingJob = Omit<LaneJob, "headers"> & { heldBytes: number };

const UTF8 = new TextDecoder();

const UNSERVED: readonly ErrorCode[] = ["inference/model-not-found", "inference/no-worker"];

/** How often time passes for the jobs of a lane; nothing ticks while there are none, so that an idle lane hibernates. */
const TICK_MS = 100;

/**
 * One dispatcher (docs/spec/pool.md#shape, docs/spec/inference.md#a-jobs-life): the queue of jobs, and the workers that serve it. The rules are in `lane-machine.ts`,
 * the sockets in `worker-sockets.ts`; this shell owns the clients' answers, time, and the records.
 */
export class Lane extends DurableObject<Env> implements LaneRpc {
  readonly #outbox: RecordOutbox;
  readonly #tokens: TokenLedger;
  readonly #sockets: WorkerSockets;
  readonly #presence: PresenceLog;
  readonly #settings: LaneSettings;
  readonly #state: LaneState;
  readonly #answers: LiveAnswers;
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
    this.#outbox = new RecordOutbox(ctx.storage, env.DB);
    this.#tokens = new TokenLedger(ctx.storage.sql);
    this.#presence = new PresenceLog(ctx, env);
    this.#metrics = restoreMetrics(ctx.storage.kv.get<LaneMetrics>("metrics"));
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS known_models (name TEXT PRIMARY KEY) WITHOUT ROWID");
    const known = ctx.storage.sql.exec<{ name: string }>("SELECT name FROM known_models").toArray();
    this.#settings = laneSettings(env);
    this.#state = newLane(known.map((row) => row.name));
    this.#answers = new LiveAnswers({
      cancel: (jobIds, code) => {
        for (const id of jobIds) this.#apply(cancel(this.#state, id, code));
      },
      keepAnswer: (keyId, bytes) => {
        const isRoom = hasRoom(this.#state.bytes, keyId, "answers", bytes);
        if (isRoom) keep(this.#state.bytes, keyId, "answers", bytes);
        return isRoom;
      },
      dropAnswer: (keyId, bytes) => drop(this.#state.bytes, keyId, "answers", bytes),
      ended: ({ id, ...request }, state) => this.#endedJobs.remember(id, { ...request, state }),
    });
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
    const response = await this.#answer({ ...job, heldBytes: bytes.byteLength }, signal);
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
      model === null
        ? this.#nobodyFor(incoming.kind)
        : submit(
            this.#state,
            newJobs(incoming, model, () => crypto.randomUUID()),
            incoming.heldBytes,
            nowMs,
          );
    const known = model !== null && this.#state.knownModels.has(model) ? model : null;
    this.#elsewhere.asked(known);
    this.#tellElsewhereSoon();
    if (!submission.ok) {
      const { keyId, id, moreIds = [], request } = incoming;
      for (const slot of [id, ...moreIds]) this.#settle(keyId, slot, 0, request.stream);
      this.countRefusals(new Map([[submission.code, 1]]), known);
      if (UNSERVED.includes(submission.code)) observeUnserved(this.#metrics, known);
      const { errorBody } = answerFormat(answerHead(incoming, incoming.model, nowMs));
      return errorResponse(submission.code, submission, errorBody(submission.code, submission));
    }
    const { jobs, effects } = submission;
    const { keyId, requestId, request } = incoming;
    const head = answerHead(incoming, model ?? "", nowMs);
    const { statusHoldMs } = this.#settings;
    const jobIds = jobs.map((job) => job.id);
    const opened = this.#answers.open({ head, keyId, requestId, jobIds, stream: request.stream, statusHoldMs }, nowMs);
    this.#apply(effects);
    leave = opened.leave;
    if (left) leave();
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
    return opened.response;
  }

  #autoModel({ kind, request, format }: IncomingJob): string | null {
    const { embeddingModel } = this.#settings;
    const canDo = (model: string) => isMetBy(this.#state, model, request, format);
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
  async restoreRecords(table: "workers" | "metering", rows: RecordRow<"workers" | "metering">[]): Promise<void> {
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
      ...this.#answers.held(),
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
    this.#answers.idle(nowMs, (jobId) => placeInQueue(this.#state, jobId));
    // By distance: a wall clock that steps back must not put renewals off.
    if (Math.abs(nowMs - this.#renewedMs) >= LIMITS.streamSlotRenewMs) this.#renewSlots(nowMs);
    if (!this.#answers.isIdle || !this.#ticker) return;
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
          this.#answers.accepted(effect.job);
          break;
        case "text": {
          const pace = this.#answers.text(effect.job, effect);
          if (pace) observeText(this.#metrics, effect.job, pace, Date.now());
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
    const { frame, requestBytes } = jobFrame(job);
    job.requestBytes = requestBytes;
    this.#sockets.sendText(connection, frame);
    this.#rememberCredit(connection);
  }

  #end(job: Job, end: JobEnd): void {
    const claimed = end.outcome === "done" ? end.usage : { promptTokens: 0, completionTokens: job.relayedTokens };
    const { usage, clamped } = boundUsage(claimed, job);
    observeEnd(this.#metrics, job, end.outcome === "done" ? end : { code: end.code }, usage, Date.now());
    this.#saveMetricsSoon();
    // A stream's slot is asked to be free before the client can know that its stream has ended.
    this.#settle(job.keyId, job.id, usage.promptTokens + usage.completionTokens, job.request.stream);
    const { promptTokens, completionTokens } = usage;
    const row = { ...meteringBase(job, Date.now()), promptTokens, completionTokens };
    const flags = [...(clamped ? ["clamped"] : []), ...(job.isOverlong ? ["overlong"] : [])];
    if (end.outcome !== "done") {
      this.#answers.failed(job, end.outcome, end.code, end);
      this.#record({ ...row, outcome: end.outcome, code: end.code, flags: flags.join(",") });
      return;
    }
    const { finishReason, text, toolCalls, stopSequence, countedTokens: counted } = end;
    // A count is an answer, and costs no tokens: only the client sees it as the prompt's usage.
    const shown = counted === undefined ? usage : { promptTokens: boundCount(counted, job), completionTokens: 0 };
    const streamed = this.#answers.done(job, { finishReason, usage: shown, text, toolCalls, stopSequence });
    const publicKey = this.#sockets.find(job.connection)?.publicKey ?? "";
    this.ctx.waitUntil(this.#recordDone(job, end, { row, flags, publicKey, streamed }));
  }

  /** After the answer is out. */
  async #recordDone(
    job: Job,
    end: Extract<JobEnd, { outcome: "done" }>,
    about: { row: Omit<MeteringRow, "outcome" | "flags">; flags: string[]; publicKey: string; streamed: Hash | null },
  ): Promise<void> {
    // Before anything is awaited: by then the answer may have been read, and its vectors freed.
    const responseSha256 = (about.streamed ?? wholeHash(job, end)).digest("hex");
    const signed = canonicalBytes(end.metering);
    const [pool, key] = [await this.#atomId(), await this.#workerKeys.of(about.publicKey)];
    const doubts = await doubtsOf(job, end, { pool, key, signed, responseSha256 });
    this.#record({
      ...about.row,
      outcome: "done",
      claimedPromptTokens: end.usage.promptTokens,
      claimedCompletionTokens: end.usage.completionTokens,
      flags: [...about.flags, ...doubts].join(","),
      record: UTF8.decode(signed),
      signature: end.signature,
    });
  }

  // ---- records

  /** Rows of jobs that end close together share one write, and one trip to D1 (docs/spec/pool.md#shape, rules 4 and 6). */
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
      this.ctx.waitUntil(quietly(this.env.ACCOUNT.getByName(keyId).recordUsage({ slot, tokens: owed })));
      return;
    }
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = null;
      const owing = [...this.#unsettled];
      this.#unsettled.clear();
      for (const [key, owed] of owing) {
        this.ctx.waitUntil(quietly(this.env.ACCOUNT.getByName(key).recordUsage({ slot: null, tokens: owed })));
      }
    }, LIMITS.settleGroupMs);
  }

  async #atomId(): Promise<string> {
    return (await poolKeys(this.env)).atomId;
  }
}

function answerHead(incoming: IncomingJob, model: string, nowMs: number): AnswerHead {
  const { id: jobId, requestId, kind, format = kind, includeUsage, encodingFormat, echo } = incoming;
  const createdSeconds = Math.floor(nowMs / 1_000);
  return { jobId, requestId, format, model, createdSeconds, includeUsage, encodingFormat, echo };
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
