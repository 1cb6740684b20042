/** The one event log of this pool, in the namespace of that name. */
export const EVENT_LOG = "pool";

/** The one count of peers. */
export const PEER_REGISTRY = "pool";

/** The only lane so far. `workers/lane-for.ts` says which lane serves what. */
export const MAIN_LANE = "main";
