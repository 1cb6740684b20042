/** The upgrade request of a worker, as the stateless Worker forwards it to the lane once it has authenticated the token. */

export const LANE_CONNECT_URL = "https://lane/connect";

/** The stateless Worker sets these. It forwards no header of the client. */
export const CONNECT_HEADERS = {
  tokenId: "x-ligand-token-id",
  secretSha256: "x-ligand-secret-sha256",
  tokenSha256: "x-ligand-token-sha256",
} as const;
