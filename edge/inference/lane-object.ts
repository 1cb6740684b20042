import { DurableObject } from "cloudflare:workers";
import type { RecordRow } from "../../schema/db/record-tables.ts";
import type { WorkerBanRow, WorkerTokenRow } from "../../schema/db/workers.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import { accountForLanes } from "../accounts/account-for.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";
import type { Env } from "../env.ts";
import { errorResponse } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { DueTimes, NEVER } from "../limits/due-times.ts";
import { within } from "../limits/timeout.ts";
import type { ErasableText } from "../record/erasable-text.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import { LANE_CONNECT_URL } from "../workers/connect-request.ts";
import type { ConnectedWorker } from "../workers/connected-worker.ts";
import { WorkerRecords } from "../workers/worker-record-tracker.ts";
import { WorkerSockets } from "../workers/worker-sockets.ts";
import { WorkerTokens } from "../workers/worker-tokens.ts";
import { LiveAnswers } from "./answers/live-answers.ts";
import { EffectRunner } from "./effect-runner.ts";
import { JobCompletion } from "./job-completion.ts";
import { JobIntake } from "./job-intake.ts";
import { dispatchAll } from "./jobs/dispatch-machine.ts";
import { EndedJobs } from "./jobs/ended-jobs.ts";
import { KnownModels } from "./jobs/known-models.ts";
import { emptyHealth, healthKey } from "./jobs/lane-health-rules.ts";
import {
  cancel,
  heldForJobs,
  jobsNamed,
  tick,
  workerConnected,
  workerFrame,
  workerGone,
  workerRestored,
} from "./jobs/lane-machine.ts";
import { addBytes, hasRoom, removeBytes } from "./jobs/lane-memory-rules.ts";
import { type LaneState, newLane } from "./jobs/lane-state.ts";
import { placeInQueue } from "./jobs/queue-machine.ts";
import { connectedWorkers, modelLoads } from "./jobs/served-models-rules.ts";
import { workerCircuitState } from "./jobs/worker-circuit-machine.ts";
import { forgetHealth, healthOf } from "./jobs/worker-health-machine.ts";
import { scoreOf } from "./jobs/worker-quality-rules.ts";
import {
  type FoundJob,
  type JobName,
  LANE_JOBS_URL,
  type LaneOverview,
  type LaneRpc,
  type ResetAnswer,
  type ResetCause,
  type WorkerCircuitView,
} from "./lane-rpc.ts";
import { resolveLaneSettings } from "./lane-settings-rules.ts";
import { AccountUsage } from "./records/account-usage.ts";
import { DemandReports } from "./records/demand-reports.ts";
import { type LaneMetrics, observeRefusals } from "./records/lane-metrics.ts";
import { MeteringWriter } from "./records/metering-writer.ts";
import { MetricsStore } from "./records/metrics-store.ts";
import { PresenceLog } from "./records/presence-log.ts";
import { WorkerHealthStore } from "./records/worker-health-store.ts";

/**
 * How often the lane checks for expired jobs and idle streams. The timer runs only while there are jobs, so that an
 * idle lane hibernates.
 */
const TICK_MS = 100;

/**
 * One dispatcher of the pool (docs/spec/inference.md#a-jobs-life): it queues jobs and sends them to the workers that
 * are connected to it. This shell connects the parts: `jobs/lane-machine.ts` has the rules, `job-intake.ts` takes
 * requests, `answers/` writes to clients, `workers/worker-sockets.ts` talks to workers, `effect-runner.ts` carries out
 * effects, and `job-completion.ts` and `records/` do what follows a job.
 */
export class Lane extends DurableObject<Env> implements LaneRpc {
  readonly #outbox: RecordOutbox;
  readonly #tokens: WorkerTokens;
  readonly #knownModels: KnownModels;
  readonly #due: DueTimes;
  readonly #presence: PresenceLog;
  readonly #metrics: MetricsStore;
  readonly #events: EventOutbox;
  readonly #health: WorkerHealthStore;
  readonly #state: LaneState;
  readonly #sockets: WorkerSockets;
  readonly #answers: LiveAnswers;
  readonly #intake: JobIntake;
  readonly #effects: EffectRunner;
  readonly #usage: AccountUsage;
  readonly #metering: MeteringWriter;
  readonly #demand: DemandReports;
  readonly #endedJobs = new EndedJobs();
  #ticker: ReturnType<typeof setInterval> | null = null;
  #flushTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { storage } = ctx;
    const waitUntil = (work: Promise<void>) => ctx.waitUntil(work);
    const atomId = async () => (await poolKeys(env)).atomId;
    this.#outbox = new RecordOutbox(storage, env.DB);
    this.#tokens = new WorkerTokens(storage, this.#outbox);
    this.#knownModels = new KnownModels(storage.sql);
    this.#due = new DueTimes(storage, {
      tokenExpiry: () =>
        this.#sockets.serving().reduce((first, { tokenExpiresAtMs }) => Math.min(first, tokenExpiresAtMs), NEVER),
      records: (nowMs) => this.#outbox.dueAtMs(nowMs),
      presence: (nowMs) => this.#presence.dueAtMs(nowMs),
      events: (nowMs) => this.#events.dueAtMs(nowMs),
    });
    this.#presence = new PresenceLog(ctx, env, this.#due);
    this.#metrics = new MetricsStore(storage);
    this.#events = new EventOutbox(storage, env, "lane_untold");
    this.#health = new WorkerHealthStore(storage, this.#events, this.#outbox, () => this.#committed());
    this.#state = newLane(this.#knownModels.names, 1, emptyHealth(this.#health.banned));
    this.#usage = new AccountUsage({ accountOf: (keyId) => accountForLanes(env, keyId), waitUntil });
    this.#metering = new MeteringWriter({ storage, outbox: this.#outbox, atomId, written: () => this.#flushSoon() });
    this.#answers = this.#newAnswers();
    this.#sockets = this.#newSockets(atomId);
    this.#demand = new DemandReports((connection, jobs) => this.#sockets.send(connection, { type: "elsewhere", jobs }));
    const parts = { answers: this.#answers, metrics: this.#metrics, usage: this.#usage };
    const completion = new JobCompletion({ ...parts, metering: this.#metering, sockets: this.#sockets, waitUntil });
    this.#effects = new EffectRunner({
      ...parts,
      state: this.#state,
      sockets: this.#sockets,
      completion,
      health: this.#health,
    });
    this.#intake = new JobIntake({
      ...parts,
      state: this.#state,
      settings: resolveLaneSettings(env),
      demand: this.#demand,
      apply: (effects) => this.#effects.run(effects),
      arrived: (nowMs) => this.#sockets.sweep(nowMs),
      started: () => {
        this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
      },
    });
    this.#wake();
  }

  /** Restores the connected workers. Called when the object starts: after hibernation, or after a crash. */
  #wake(): void {
    for (const health of this.#health.load()) {
      this.#state.health.entries.set(healthKey(health.workerId, health.model), health);
    }
    for (const { worker, credit } of this.#sockets.wake()) {
      workerRestored(this.#state, worker, credit);
      this.#demand.connected(worker);
      this.#presence.connected(worker);
    }
    // Publish now, because a crash closes sockets without an event.
    this.#publishPresence();
    if (this.#events.pending() > 0) this.#committed();
    // After a crash, D1 may lack rows that were committed here.
    if (this.#outbox.pending() > 0) this.#flushSoon();
  }

  #newAnswers(): LiveAnswers {
    return new LiveAnswers({
      cancel: (jobIds, code) => {
        for (const id of jobIds) this.#effects.run(cancel(this.#state, id, code));
      },
      holdAnswer: (keyId, bytes) => {
        const isRoom = hasRoom(this.#state.memory, keyId, "answers", bytes);
        if (isRoom) addBytes(this.#state.memory, keyId, "answers", bytes);
        return isRoom;
      },
      releaseAnswer: (keyId, bytes) => removeBytes(this.#state.memory, keyId, "answers", bytes),
      ended: ({ id, ...request }, state) => this.#endedJobs.remember(id, { ...request, state }),
    });
  }

  #newSockets(atomId: () => Promise<string>): WorkerSockets {
    const workerRecords = new WorkerRecords();
    return new WorkerSockets(this.ctx, this.#tokens, atomId, {
      bind: (token, worker, modelNames) =>
        this.ctx.storage.transactionSync(() => {
          if (this.#tokens.find(token.id)?.workerId !== token.workerId) this.#tokens.save(token);
          if (workerRecords.isNews(worker)) this.#outbox.put("workers", worker);
          this.#knownModels.add(modelNames);
        }),
      connected: (worker) => {
        this.#effects.run(workerConnected(this.#state, worker, Date.now()));
        this.#demand.connected(worker);
        this.#presence.connected(worker);
        this.#presence.publish(Date.now());
        this.ctx.waitUntil(this.#flush().then(() => this.#due.arm(Date.now())));
      },
      frame: (connection, frame) => {
        this.#effects.run(workerFrame(this.#state, connection, frame, Date.now()));
        if (frame.type === "ready" || frame.type === "drain") this.#effects.rememberCredit(connection);
      },
      disconnected: (connection) => {
        this.#effects.run(workerGone(this.#state, connection, Date.now()));
        this.#demand.disconnected(connection);
        this.#presence.disconnected(connection);
        this.#publishPresence();
      },
    });
  }

  override async fetch(request: Request): Promise<Response> {
    switch (request.url) {
      case LANE_JOBS_URL:
        return this.#intake.serve(request);
      case LANE_CONNECT_URL:
        return this.#sockets.connect(request);
      default:
        return errorResponse("http/not-found");
    }
  }

  // ---- clients

  cancelJobs(name: JobName, keyId: string): FoundJob | null {
    for (const id of jobsNamed(this.#state, name, keyId))
      this.#effects.run(cancel(this.#state, id, "inference/cancelled"));
    return this.#endedJobs.find(name, keyId);
  }

  countRefusals(refusals: ReadonlyMap<ErrorCode, number>): void {
    for (const [code, n] of refusals) observeRefusals(this.#metrics.measured, null, code, n);
    this.#metrics.saveSoon();
  }

  // ---- workers

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    return this.#sockets.message(socket, message);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#sockets.lost(socket);
    // Both sides must close (RFC 6455 section 5.5.1). The code is the pool's own: the worker's may not be allowed here.
    socket.close(CLOSE.normal);
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.lost(socket);
  }

  // ---- admins

  async invite(token: WorkerTokenRow): Promise<void> {
    this.#tokens.add([token]);
    await this.#flush();
  }

  async restoreTokens(tokens: WorkerTokenRow[]): Promise<boolean> {
    const restored = this.#tokens.restore(tokens);
    if (restored) await this.#flush();
    return restored;
  }

  async restoreRecords(table: "workers" | "metering", rows: RecordRow<"workers" | "metering">[]): Promise<void> {
    this.ctx.storage.transactionSync(() => {
      for (const row of rows) this.#outbox.put(table, row);
    });
    await this.#flush();
  }

  async flushRecords(): Promise<void> {
    this.#metering.write();
    await this.#flush();
  }

  async revokeToken(id: string, by: string): Promise<{ revokedAtMs: number; recorded: boolean } | null> {
    const revokedAtMs = this.#tokens.revoke(id, by, Date.now());
    if (revokedAtMs === null) return null;
    this.#sockets.closeToken(id, CLOSE.tokenRefused, "token revoked");
    const flushing = this.#flush();
    this.ctx.waitUntil(flushing);
    return { revokedAtMs, recorded: (await within(LIMITS.recordWaitMs, flushing)) ?? false };
  }

  async banWorker(workerId: string, note: ErasableText | null, by: ActingAdmin): Promise<boolean> {
    const isBanned = this.#health.ban(workerId, note, by);
    await within(LIMITS.recordWaitMs, this.#flush());
    return isBanned;
  }

  async pardonWorker(workerId: string, by: ActingAdmin): Promise<boolean> {
    const isPardoned = this.#health.pardon(workerId, by);
    this.#effects.run(dispatchAll(this.#state, Date.now()));
    await within(LIMITS.recordWaitMs, this.#flush());
    return isPardoned;
  }

  bans(): WorkerBanRow[] {
    return this.#health.bans();
  }

  circuits(): WorkerCircuitView[] {
    const nowMs = Date.now();
    return [...this.#state.health.entries.values()].map(({ workerId, model, circuit, quality }) => ({
      workerId,
      model,
      state: workerCircuitState(circuit, nowMs),
      failures: circuit.failures.length,
      openedAtMs: circuit.openedAtMs,
      quality: scoreOf(quality, nowMs),
    }));
  }

  /** The store commits before memory changes: a crash in between leaves what the request asked for. */
  async resetCircuits(worker: string | null, cause: ResetCause): Promise<ResetAnswer> {
    const earlier = this.#health.earlier(cause);
    if (earlier !== null) return earlier;
    const answer = this.#health.reset(worker, healthOf(this.#state, worker), cause);
    forgetHealth(this.#state, worker);
    this.#effects.run(dispatchAll(this.#state, Date.now()));
    return answer;
  }

  connectedWorkers(): ConnectedWorker[] {
    this.#sockets.sweep(Date.now());
    return connectedWorkers(this.#state, this.#sockets.serving());
  }

  // ---- readers

  overview(): LaneOverview {
    this.#sockets.sweep(Date.now());
    return { workers: this.#state.workers.size, models: modelLoads(this.#state) };
  }

  metrics(): { measured: LaneMetrics; framesRefused: number; outboxRows: number } {
    const { measured } = this.#metrics;
    return { measured, framesRefused: this.#sockets.refused, outboxRows: this.#outbox.pending() };
  }

  holds(): Record<string, number> {
    return {
      ...heldForJobs(this.#state),
      ...this.#answers.held(),
      records_unwritten: this.#metering.unwrittenRows,
      keys_unsettled: this.#usage.pendingKeys,
    };
  }

  heldRecords(): HeldRecords {
    return this.#outbox.held();
  }

  // ---- time

  override async alarm(): Promise<void> {
    this.#due.fired();
    this.#sockets.closeExpired(Date.now());
    this.#presence.publish(Date.now());
    await Promise.all([this.#outbox.flush(), this.#events.flush()]);
    await this.#due.arm(Date.now());
  }

  /** After a commit with events: the alarm sends them if the object dies now. */
  #committed(): void {
    this.ctx.waitUntil(this.#due.arm(Date.now()));
    this.ctx.waitUntil(this.#events.flush().then(() => this.#due.arm(Date.now())));
  }

  #publishPresence(): void {
    this.#presence.publish(Date.now());
    if (this.#presence.dueAtMs(Date.now()) !== null) this.ctx.waitUntil(this.#due.arm(Date.now()));
  }

  /** Whether D1 has all rows now. If not, the alarm tries again. */
  async #flush(): Promise<boolean> {
    const flushed = await this.#outbox.flush();
    if (!flushed) await this.#due.arm(Date.now());
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
    this.#effects.run(tick(this.#state, nowMs));
    this.#answers.idle(nowMs, (jobId) => placeInQueue(this.#state, jobId));
    this.#usage.renewSlots(this.#state.jobs.values(), nowMs);
    if (!this.#answers.isIdle || !this.#ticker) return;
    clearInterval(this.#ticker);
    this.#ticker = null;
  }
}
