import { createDurable } from "itty-durable";
import type { EventBody } from "../../schema/wire/events.ts";
import { FEDERATION_POLICY_DEFAULTS, type FederationPolicy, UNNAMED_POOL } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { EVENT_LOG } from "../object-names.ts";

/** Persisted contract: what an operator sets once for the whole pool. */
export interface PoolSettings {
  name: string;
  description: string;
  defaults: { requestsPerMinute: number; tokensPerMinute: number; streams: number };
}

export interface ChangedPolicy {
  policy: FederationPolicy;
  /** Something is otherwise than it was. */
  isChanged: boolean;
}

/** What a change says of itself in our log. */
type Told = EventBody["payload"];
/** The log takes what has a key once, however often it is told. */
interface Untold {
  key: string;
  payload: Told;
}
const untold = (payload: Told): Untold => ({ key: crypto.randomUUID(), payload });

/**
 * The operator's settings and switches, one small object per pool (docs/spec/federation.md#switches). The only place where itty-durable is
 * used: a persistent object with methods. Nothing here is on the path of a request for inference.
 */
export class PoolPolicy extends createDurable({ autoPersist: false }) {
  settings: PoolSettings = {
    name: UNNAMED_POOL,
    description: "",
    defaults: {
      requestsPerMinute: LIMITS.keyRequestsPerMinute,
      tokensPerMinute: LIMITS.keyTokensPerMinute,
      streams: LIMITS.keyStreams,
    },
  };

  /** Persisted contract. Closed until somebody opened it, so that lost state closes. */
  federation: FederationPolicy = FEDERATION_POLICY_DEFAULTS;

  /** Persisted contract: changes that our log has not heard of, the oldest first. */
  untold: Untold[] = [];

  // Private, and so not persisted: the library stores every other field.
  readonly #env: Env;
  #telling: Promise<number> | null = null;

  constructor(state: DurableObjectState, env: Env) {
    super(state, env);
    this.#env = env;
  }

  read(): PoolSettings {
    return this.settings;
  }

  /** Durable before it answers, with what is to be told of it. */
  async change(patch: Partial<PoolSettings>, told: Told): Promise<PoolSettings> {
    this.settings = { ...this.settings, ...patch };
    this.untold = [...this.untold, untold(told)];
    await this.persist();
    return this.settings;
  }

  /** The switches. Who asks passes only on `federation: "on"` (`federation-check.ts`). */
  check(): FederationPolicy {
    // What was stored before a switch was invented has it at its default.
    return { ...FEDERATION_POLICY_DEFAULTS, ...this.federation };
  }

  /**
   * Durable before it answers, with what is to be told of it: the switch holds though the log is away, and is in the log
   * though nobody waits for it. `by`: the admin's token id.
   */
  async changeFederation(patch: Partial<FederationPolicy>, by: string): Promise<ChangedPolicy> {
    const before = this.check();
    const changed = Object.entries(patch).filter(([name, value]) => before[name as keyof FederationPolicy] !== value);
    this.federation = { ...before, ...patch };
    if (changed.length > 0) this.untold = [...this.untold, untold({ federation: Object.fromEntries(changed), by })];
    await this.persist();
    return { policy: this.federation, isChanged: changed.length > 0 };
  }

  /**
   * Once the log has what was changed until now: how many changes it has not heard of. Rejects while the log is away, and
   * then they wait.
   */
  tell(): Promise<number> {
    this.#telling ??= this.#tellLog().finally(() => {
      this.#telling = null;
    });
    return this.#telling;
  }

  async #tellLog(): Promise<number> {
    while (this.untold.length > 0) {
      const next = this.untold.slice(0, TOLD_AT_ONCE);
      const drafts = next.map((each) => ({ type: "policy_changed", visibility: "private", ...each }) as const);
      const told = await this.#env.EVENT_LOG.getByName(EVENT_LOG).append(drafts);
      if (!told.ok) throw new Error(told.code);
      this.untold = this.untold.slice(next.length);
      await this.persist();
    }
    return 0;
  }

  waiting(): number {
    return this.untold.length;
  }
}

const TOLD_AT_ONCE = 100;
