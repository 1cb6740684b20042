import * as z from "zod";

/** Why the network brought no answer of a peer, where the runner of a pool on one machine found out: codes of `ERRORS`. */
export const networkFailure = z.enum([
  "federation/unknown-host",
  "federation/private-address",
  "federation/no-tls",
  "federation/tls-failed",
  "federation/untrusted-certificate",
  "federation/wrong-certificate",
  "federation/expired-certificate",
]);
export type NetworkFailure = z.infer<typeof networkFailure>;
