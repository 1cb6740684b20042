import { bodyOfOpened } from "../../schema/crypto/signed-event.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import type { RatedReceiveAnswer, ReceiveAnswer, ReceivedEvent } from "./event-log-rpc.ts";
import type { HeldEvents } from "./held-events.ts";
import type { LogClock } from "./log-clock.ts";
import type { LogStorage } from "./log-storage.ts";
import { isQuotaSpent, rowBytes } from "./origin-quota-rules.ts";
import type { OriginUsage } from "./origin-usage.ts";
import { type ReceiveResult, receiveEvent } from "./receive-rules.ts";
import { eventsWorth, SenderRates } from "./sender-rate-tracker.ts";

type KeysEnv = Parameters<typeof poolKeys>[0];

/** The parts of the log that `ReceivedEvents` works on. */
interface Parts {
  readonly log: LogStorage;
  readonly clock: LogClock;
  readonly held: HeldEvents;
  readonly usage: OriginUsage;
}

/**
 * Takes events of other pools into the log, or holds them until the pool's clock reaches their times. The rules are in
 * `receive-rules.ts`.
 */
export class ReceivedEvents {
  readonly #env: KeysEnv;
  readonly #parts: Parts;
  readonly #rates = new SenderRates();

  constructor(env: KeysEnv, parts: Parts) {
    this.#env = env;
    this.#parts = parts;
  }

  known(contentIds: readonly string[]): string[] {
    const { log, held } = this.#parts;
    return [...log.ledger.known(contentIds), ...held.known(contentIds)];
  }

  /** `onHeld` runs in the turn of a commit that held an event, so that an alarm set there is part of the commit. */
  async receive(events: ReceivedEvent[], quotaBytes: number, onHeld: () => void): Promise<ReceiveAnswer> {
    const { atomId } = await poolKeys(this.#env);
    const nowMs = Date.now();
    const refused = this.#parts.clock.refusal(nowMs);
    if (refused !== null) return { ok: false, code: refused };
    const results = this.#parts.log.commit(() =>
      events.map((event) => this.#receive(event, atomId, nowMs, { quotaBytes })),
    );
    if (results.some((each) => each.ok && each.outcome === "held")) onHeld();
    return { ok: true, results };
  }

  async receiveAtRate(
    events: ReceivedEvent[],
    perMinute: number,
    quotaBytes: number,
    onHeld: () => void,
  ): Promise<RatedReceiveAnswer> {
    const sender = events[0]?.from ?? "";
    const waitMs = this.#rates.waitMs(sender, Date.now());
    if (waitMs > 0) return { results: null, waitMs };
    const received = await this.receive(events, quotaBytes, onHeld);
    if (!received.ok) return { results: null, waitMs: LIMITS.clockRefusedRetryMs };
    const { results } = received;
    const worth = events.reduce((sum, { wire }, i) => sum + (isKept(results[i]) ? eventsWorth(wire) : 0), 0);
    this.#rates.spend(sender, worth, perMinute, Date.now());
    return { results, waitMs: this.#rates.waitMs(sender, Date.now()) };
  }

  /** Puts held events that are due into the log. */
  async releaseHeld(): Promise<void> {
    const { log, clock, held } = this.#parts;
    const { atomId } = await poolKeys(this.#env);
    for (;;) {
      const nowMs = Date.now();
      if (clock.refusal(nowMs) !== null) return;
      const released = log.commit(() => {
        const due = held.removeDue(nowMs * 1_000);
        for (const event of due) this.#receive(event, atomId, nowMs, "already-counted");
        return due.length;
      });
      if (released < LIMITS.eventsPerCommit) return;
    }
  }

  /** Call inside a commit. */
  #receive(
    received: ReceivedEvent,
    self: string,
    nowMs: number,
    quota: { quotaBytes: number } | "already-counted",
  ): ReceiveResult {
    const { log, held, usage } = this.#parts;
    const { wire, from, ttl } = received;
    const { content_id } = wire;
    if (log.ledger.has(content_id) || held.has(content_id)) return { ok: true, content_id, outcome: "duplicate" };
    const event = bodyOfOpened(wire);
    const step = receiveEvent(log.clock, { event, ttl, from }, { self, held: () => held.count(from) }, nowMs * 1_000);
    if (step.outcome !== "refused" && quota !== "already-counted") {
      const bytes = rowBytes(wire);
      const isSpent = isQuotaSpent(usage.bytesOf(event.origin), bytes, quota.quotaBytes);
      if (isSpent) return { ok: false, content_id, code: "events/quota-spent" };
      usage.add(event.origin, bytes);
    }
    switch (step.outcome) {
      case "refused":
        return { ok: false, content_id, code: step.code };
      case "held":
        held.add(received, step.dueUs);
        return { ok: true, content_id, outcome: "held" };
      case "accepted": {
        log.clock = step.clock;
        const { audiences } = step;
        log.add({ wire, body: event, audiences, ttl: step.ttl, receivedFrom: from, takenAtMs: nowMs });
        return { ok: true, content_id, outcome: "accepted" };
      }
      default:
        return step satisfies never;
    }
  }
}

/** Whether the log has or holds the event because of this call. Then it counts towards its sender's rate. */
const isKept = (result: ReceiveResult | undefined) => result?.ok === true && result.outcome !== "duplicate";
