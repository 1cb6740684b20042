/**
 * The keys of all registered peers, in the memory of an isolate. A request of a peer and one of a stranger cost the same
 * lookup in this map, so the time of an answer does not show which atom ids are known here. D1 is read for all peers at
 * once and at most once in `peerKeysMs`, so a flood of strangers does not reach D1.
 */
import { fromHex } from "../../../schema/crypto/bytes.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Atom id to public key, hex. */
export type KeysById = ReadonlyMap<string, string>;

export class PeerKeys {
  /** The value and not its promise, because workerd ties a promise to the request that made it. */
  #known: KeysById | null = null;
  #isStale = true;
  #askedAtMs = 0;
  #changes = 0;
  /** Reads since `#askedAtMs`. */
  #loads = 0;

  /** The 32-byte key of a registered peer; null for a stranger. Rejects while no keys were ever loaded. */
  async find(atomId: string, load: () => Promise<KeysById>, nowMs: number): Promise<Uint8Array | null> {
    const key = (await this.#current(load, nowMs)).get(atomId);
    return key === undefined ? null : fromHex(key);
  }

  /** A peer was added or deleted in this isolate: the next lookups read D1 again. Other isolates notice within `peerKeysMs`. */
  changed(): void {
    this.#isStale = true;
    this.#changes += 1;
  }

  async #current(load: () => Promise<KeysById>, nowMs: number): Promise<KeysById> {
    const known = this.#known;
    // Large maps are read less often: at most a thousand rows a second.
    const keptMs = Math.max(LIMITS.peerKeysMs, known?.size ?? 0);
    const isOld = Math.abs(nowMs - this.#askedAtMs) >= keptMs;
    if (known !== null && !isOld && !(this.#isStale && this.#loads < LIMITS.peerKeysLoads)) return known;
    // Lookups during this read use the known keys. When those are out of date, up to `peerKeysLoads` lookups read D1 too.
    this.#loads = isOld ? 1 : this.#loads + 1;
    if (isOld) this.#askedAtMs = nowMs;
    const changes = this.#changes;
    try {
      const loaded = await load();
      // A change during the read may be missing from the result.
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
