import { PeerDouble, send } from "../peer-double.ts";
import type { AttackTarget } from "./attack.ts";

/** The address and the identity of the attacked pool. Requests are signed for its atom id. */
export interface KnownPool {
  readonly url: string;
  readonly atomId: string;
}

/** Turns federation on and allows peers on loopback. */
export async function openTo({ url, admin }: AttackTarget): Promise<KnownPool> {
  await admin.changeFederation({ federation: "on", allow_private_peers: true });
  return { url, atomId: (await admin.pool()).atom_id };
}

/** The status of the answer, or `none` if there is no answer, for example at the end of the attack. */
export async function statusOf(
  peer: PeerDouble,
  pool: KnownPool,
  request: { target: string; body?: object | string },
  signal: AbortSignal,
): Promise<string> {
  const signed = await peer.signed(pool, request.target, request.body);
  return send(signed, signal).then(
    ({ status }) => String(status),
    () => "none",
  );
}

/** Starts a new peer, and stops it after `use`. */
export async function withPeer<T>(use: (peer: PeerDouble) => Promise<T>): Promise<T> {
  const peer = await PeerDouble.start();
  try {
    return await use(peer);
  } finally {
    peer.stop();
  }
}
