import type { Env } from "../env.ts";
import { listPeers } from "./store.ts";

/**
 * Every peer's `Bond` goes on at once where it was: after a start, which no peer may have noticed, and when a switch
 * allows what it did not. Without this its alarm would see to it, within a minute.
 */
export async function resumePeers(env: Env): Promise<void> {
  const peers = await listPeers(env.DB);
  await Promise.allSettled(peers.map(({ id }) => env.BOND.getByName(id).resume()));
}
