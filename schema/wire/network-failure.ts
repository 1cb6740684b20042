import * as z from "zod";

/** The codes of network failures of calls to peers, which the runner of a pool on one machine determines. */
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
