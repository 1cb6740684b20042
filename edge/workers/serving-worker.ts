import type { JobKind } from "../../schema/wire/worker-frames.ts";

/** A worker that has proved its key on a socket. */
export interface ServingWorker {
  connection: string;
  workerId: string;
  publicKey: string;
  tokenId: string;
  tokenExpiresAtMs: number;
  agentVersion: string;
  engine: "llama" | "upstream";
  connectedAtMs: number;
  /** The minor version of the worker protocol that its socket speaks. */
  minor: number;
  /** `contextTokens` is absent in what an earlier release stored. */
  models: { name: string; slots: number; kinds: JobKind[]; contextTokens?: number }[];
}
