/** The only instance of its namespace, like each of the next constants. */
export const EVENT_LOG = "pool";

export const ADMIN_TOKENS = "pool";

export const POOL_POLICY = "pool";

export const PEER_REGISTRY = "pool";

/** The only lane so far. `workers/lane-for.ts` says which lane serves what. */
export const MAIN_LANE = "main";
