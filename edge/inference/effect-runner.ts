import type { WorkerSockets } from "../workers/worker-sockets.ts";
import type { LiveAnswers } from "./answers/live-answers.ts";
import type { JobCompletion } from "./job-completion.ts";
import { creditOf } from "./jobs/dispatch-machine.ts";
import { jobFrame } from "./jobs/job-frame.ts";
import type { Effect, Job, LaneState } from "./jobs/lane-state.ts";
import { observeText } from "./records/lane-metrics.ts";
import type { MetricsStore } from "./records/metrics-store.ts";
import type { WorkerHealthStore } from "./records/worker-health-store.ts";

interface EffectContext {
  readonly state: LaneState;
  readonly sockets: WorkerSockets;
  readonly answers: LiveAnswers;
  readonly metrics: MetricsStore;
  readonly completion: JobCompletion;
  readonly health: Pick<WorkerHealthStore, "save">;
}

/** Carries out the effects that the lane's machine returns, in order. */
export class EffectRunner {
  readonly #context: EffectContext;

  constructor(context: EffectContext) {
    this.#context = context;
  }

  run(effects: readonly Effect[]): void {
    const { sockets, answers, metrics, completion } = this.#context;
    for (const effect of effects) {
      switch (effect.type) {
        case "send-job":
          this.#sendJob(effect.connection, effect.job);
          break;
        case "send":
          sockets.send(effect.connection, effect.frame);
          break;
        case "accepted":
          answers.accepted(effect.job);
          break;
        case "text": {
          const pace = answers.text(effect.job, effect);
          if (pace) observeText(metrics.measured, effect.job, pace, Date.now());
          break;
        }
        case "end":
          completion.complete(effect.job, effect.end);
          break;
        case "close":
          if (effect.violation) sockets.refuse(effect.connection, effect.code, effect.reason);
          else sockets.close(effect.connection, effect.code, effect.reason);
          break;
        default:
          effect satisfies never;
      }
    }
    this.#saveHealth();
  }

  /** Stores circuits and qualities that have changed: only where a worker has failed. */
  #saveHealth(): void {
    const { state, health } = this.#context;
    if (state.health.unsaved.length > 0) health.save(state.health.unsaved.splice(0));
  }

  /** Stores the credit of a connection, so that the lane still has it after hibernation. */
  rememberCredit(connection: string): void {
    const credit = creditOf(this.#context.state, connection);
    if (credit) this.#context.sockets.remember(connection, credit);
  }

  #sendJob(connection: string, job: Job): void {
    const { sockets, metrics } = this.#context;
    if (job.attempts > 1) metrics.measured.requeued += 1;
    const { frame, requestBytes } = jobFrame(job);
    job.requestBytes = requestBytes;
    sockets.sendText(connection, frame);
    this.rememberCredit(connection);
  }
}
