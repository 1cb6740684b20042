/**
 * The URL of a worker's upgrade request when the stateless Worker has authenticated the token and forwards it to the
 * lane.
 */

export const LANE_CONNECT_URL = "https://lane/connect";

/** The headers of that request. The stateless Worker sets them, and forwards no header of the client. */
export const CONNECT_HEADERS = {
  tokenId: "x-ligand-token-id",
  secretSha256: "x-ligand-secret-sha256",
  tokenSha256: "x-ligand-token-sha256",
} as const;
