/**
 * The keys of all registered peers, in the memory of an isolate. Whoever asks, a peer or a stranger, costs one look into
 * the same map: nothing is read from D1 for one that is not read for the other, so that neither the time of an answer
 * tells who is known here, nor a flood of strangers reaches D1. What is read is read for all, once in a while. No clock,
 * no D1: both come in.
 */
import { fromHex } from "../../../schema/crypto/bytes.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Atom id to public key, hex. */
export type KeysById = ReadonlyMap<string, string>;

export class PeerKeys {
  /** A value and not its promise: in workerd a promise belongs to the request that made it. */
  #known: KeysById | null = null;
  #isStale = true;
  #askedAtMs = 0;
  #changes = 0;
  /** Reads since it was asked at that time. */
  #loads = 0;

  /** The 32-byte key of a peer that is registered here; null for a stranger. Rejects when nothing was ever loaded. */
  async find(atomId: string, load: () => Promise<KeysById>, nowMs: number): Promise<Uint8Array | null> {
    const key = (await this.#current(load, nowMs)).get(atomId);
    return key === undefined ? null : fromHex(key);
  }

  /** Somebody came or went, as this isolate knows: the next who ask do so anew. Others know it a second later. */
  changed(): void {
    this.#isStale = true;
    this.#changes += 1;
  }

  async #current(load: () => Promise<KeysById>, nowMs: number): Promise<KeysById> {
    const known = this.#known;
    // More of them are asked for less often: no more than a thousand rows a second.
    const keptMs = Math.max(LIMITS.peerKeysMs, known?.size ?? 0);
    const isOld = Math.abs(nowMs - this.#askedAtMs) >= keptMs;
    if (known !== null && !isOld && !(this.#isStale && this.#loads < LIMITS.peerKeysLoads)) return known;
    // Who comes meanwhile goes by what is known and does not ask too, unless that is known to be out of date: then a few.
    this.#loads = isOld ? 1 : this.#loads + 1;
    if (isOld) this.#askedAtMs = nowMs;
    const changes = this.#changes;
    try {
      const loaded = await load();
      // What changed while it was read may not be in it.
      if (changes === this.#changes) {
        this.#known = loaded;
        this.#isStale = false;
      }
      return loaded;
    } catch (error) {
      if (known === null) throw error;
      return known;
    }
  }
}
