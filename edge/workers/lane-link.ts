/** How the worker side reaches the lane that serves it. Shapes only; the lane's object is typed in `env.ts`. */

/** The one lane of a pool, for now (docs/spec/pool.md#shape: a pool with many workers will have several). A token names its lane. */
export const MAIN_LANE = "main";

/** A worker's upgrade, forwarded once its token is known to be this pool's own. */
export const LANE_CONNECT_URL = "https://lane/connect";

/** Set by the stateless Worker; whatever a client sent under these names is not forwarded. */
export const CONNECT_HEADERS = {
  tokenId: "x-ligand-token-id",
  secretSha256: "x-ligand-secret-sha256",
  tokenSha256: "x-ligand-token-sha256",
} as const;

export interface ConnectedWorker {
  workerId: string;
  tokenId: string;
  agentVersion: string;
  connectedAtMs: number;
  models: { name: string; slots: number; free: number; active: number }[];
}
