import { createDurable } from "itty-durable";
import { FEDERATION_POLICY_DEFAULTS, type FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** Persisted contract: what an operator sets once for the whole pool. */
export interface PoolSettings {
  name: string;
  description: string;
  defaults: { requestsPerMinute: number; tokensPerMinute: number; streams: number };
}

/**
 * The operator's settings and switches, one small object per pool (SPEC 3.5). The only place where itty-durable is
 * used: a persistent object with methods. Nothing here is on the path of a request for inference.
 */
export class PoolPolicy extends createDurable({ autoPersist: false }) {
  settings: PoolSettings = {
    name: "Ligand pool",
    description: "",
    defaults: {
      requestsPerMinute: LIMITS.keyRequestsPerMinute,
      tokensPerMinute: LIMITS.keyTokensPerMinute,
      streams: LIMITS.keyStreams,
    },
  };

  /** Persisted contract. Closed until somebody opened it, so that lost state closes. */
  federation: FederationPolicy = FEDERATION_POLICY_DEFAULTS;

  read(): PoolSettings {
    return this.settings;
  }

  /** Durable before it answers. */
  async change(patch: Partial<PoolSettings>): Promise<PoolSettings> {
    this.settings = { ...this.settings, ...patch };
    await this.persist();
    return this.settings;
  }

  /** The switches. Who asks passes only on `federation: "on"` (`federation-check.ts`). */
  check(): FederationPolicy {
    // What was stored before a switch was invented has it at its default.
    return { ...FEDERATION_POLICY_DEFAULTS, ...this.federation };
  }

  /** Durable before it answers. */
  async changeFederation(patch: Partial<FederationPolicy>): Promise<FederationPolicy> {
    this.federation = { ...this.check(), ...patch };
    await this.persist();
    return this.federation;
  }
}
