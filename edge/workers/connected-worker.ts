/** A worker that has proved its key and may get jobs, as admins see it. */
export interface ConnectedWorker {
  workerId: string;
  tokenId: string;
  agentVersion: string;
  connectedAtMs: number;
  /** An admin has banned it: it gets no jobs. */
  isBanned: boolean;
  models: { name: string; slots: number; free: number; active: number }[];
}
