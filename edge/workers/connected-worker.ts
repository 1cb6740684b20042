/** A worker that has proved its key and may get jobs, as admins see it. */
export interface ConnectedWorker {
  workerId: string;
  tokenId: string;
  agentVersion: string;
  connectedAtMs: number;
  models: { name: string; slots: number; free: number; active: number }[];
}
