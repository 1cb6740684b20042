import type { AccountRpc } from "./accounts/account-rpc.ts";
import type { AdminTokensRpc } from "./admins/admin-tokens-rpc.ts";
import type { EventLogRpc } from "./events/event-log-rpc.ts";
import type { BondRpc } from "./federation/bond-rpc.ts";
import type { PeerRegistryRpc } from "./federation/peering/peer-registry-rpc.ts";
import type { LaneRpc } from "./inference/lane-rpc.ts";
import type { SlashingRpc } from "./market/slashing-rpc.ts";
import type { PoolPolicyRpc } from "./pool/pool-policy-rpc.ts";
import type { WebhookRpc } from "./webhook/webhook-rpc.ts";

export type { AdminTokensForAuthentication } from "./admins/admin-tokens-rpc.ts";
export type { EventLogForOutboxes } from "./events/event-log-rpc.ts";
export type { BondForEventLog } from "./federation/bond-rpc.ts";
export type {
  LaneForActions,
  LaneForAdmins,
  LaneForClients,
  LaneForReaders,
  LaneForWorkers,
} from "./inference/lane-rpc.ts";

/** Bindings of wrangler.toml, and secrets. Types only: each namespace has the type of its object's `…-rpc.ts`. */
export interface Env {
  DB: D1Database;
  ADMIN_TOKENS: DurableObjectNamespace<AdminTokensRpc>;
  ACCOUNT: DurableObjectNamespace<AccountRpc>;
  /** Named by the peer's atom id. */
  BOND: DurableObjectNamespace<BondRpc>;
  EVENT_LOG: DurableObjectNamespace<EventLogRpc>;
  LANE: DurableObjectNamespace<LaneRpc>;
  PEER_REGISTRY: DurableObjectNamespace<PeerRegistryRpc>;
  POOL_POLICY: DurableObjectNamespace<PoolPolicyRpc & Rpc.DurableObjectBranded>;
  SLASHING: DurableObjectNamespace<SlashingRpc>;
  WEBHOOK: DurableObjectNamespace<WebhookRpc>;
  /** Base64 of the pool's 32-byte Ed25519 secret key (docs/spec/identity.md#keys-and-signatures). */
  POOL_SECRET_KEY: string;
  /** The bootstrap admin token. Named tokens are made with it (`AdminTokens`). */
  ADMIN_TOKEN: string;
  /** A token that may read /metrics and nothing else. */
  METRICS_TOKEN?: string;
  /** Host names that this pool answers to, comma-separated, without ports; empty: all. */
  ALLOWED_HOSTS?: string;
  /** This pool's public URL, for its card (docs/spec/federation.md#registration); empty: the URL of the request. */
  POOL_URL?: string;
  /**
   * On one machine: the networks through which peers are called (docs/spec/federation.md#delivery). They allow or refuse the
   * address that a name resolves to. Absent on Cloudflare, where only public addresses can be reached.
   */
  PUBLIC_NETWORK?: Fetcher;
  PRIVATE_NETWORK?: Fetcher;
  /** On one machine: the runner's service that says why a call to a peer failed, by the reference in the runtime's error. */
  NETWORK_NOTES?: Fetcher;
  /** Origins that browsers may call the client API from, comma-separated, or `*`. */
  CORS_ORIGINS?: string;
  /** Seconds that the status of an answer that is not streamed waits for the answer, from 5 to 90; empty: 75. */
  STATUS_HOLD_SECONDS?: string;
  /** The model that `auto` means for embeddings; empty: the first by name of the served models. */
  EMBEDDING_MODEL?: string;
  /** Set by the runner of a pool on one machine, so that `pool doctor` gives advice for that. */
  ONE_MACHINE?: string;
}
