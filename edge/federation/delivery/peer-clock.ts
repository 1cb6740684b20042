import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import type { BondStore } from "../bond-store.ts";

/**
 * Reports to `EventLog` when the peer's answers start or stop showing that our clock is ahead
 * (docs/spec/events.md#clock).
 */
export class PeerClock {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #store: BondStore;

  constructor(ctx: DurableObjectState, env: Env, store: BondStore) {
    this.#ctx = ctx;
    this.#env = env;
    this.#store = store;
  }

  /** Call it for each answer. It shows that our clock is ahead of the peer's by at least `aheadMs`. */
  heard(aheadMs: number): void {
    const atomId = this.#store.peer?.atomId;
    const isAhead = aheadMs > LIMITS.clockDriftMs;
    if (atomId === undefined || this.#store.trust === null || isAhead === this.#saysAhead) return;
    this.#saysAhead = isAhead;
    const reported = eventLogForBonds(this.#env).reportPeerClock(atomId, isAhead ? aheadMs : null);
    this.#ctx.waitUntil(
      Promise.resolve(reported).catch(() => {
        // The next answer reports it again.
        if (this.#store.trust !== null) this.#saysAhead = !isAhead;
      }),
    );
  }

  get #saysAhead(): boolean {
    return this.#store.get("saysAhead") === true;
  }

  set #saysAhead(isAhead: boolean) {
    if (isAhead) this.#store.put("saysAhead", true);
    else this.#store.delete("saysAhead");
  }
}
