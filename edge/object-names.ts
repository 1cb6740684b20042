/**
 * The names of object instances. `Account` objects are named by their key's id, `Bond` objects by the peer's atom id; each
 * other namespace has one instance.
 */
export const EVENT_LOG = "pool";

export const ADMIN_TOKENS = "pool";

export const POOL_POLICY = "pool";

export const PEER_REGISTRY = "pool";

export const SLASHING = "pool";

export const WEBHOOK = "pool";

/** The only lane so far. `workers/lane-for.ts` says which lane serves what. */
export const MAIN_LANE = "main";
