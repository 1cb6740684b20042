/** The one event log of this pool, in the namespace of that name. */
export const EVENT_LOG = "pool";

/** The one count of peers. */
export const PEER_REGISTRY = "pool";
