/**
 * The keys of all registered peers, in the memory of an isolate. A peer's request and a stranger's request cost the
 * same lookup, so the time of an answer does not reveal which atom ids are known here. One query reads all peers from
 * D1, usually at most once per `LIMITS.peerKeysMs`, so a flood of strangers does not reach D1.
 */
import { fromHex } from "../../../schema/crypto/bytes.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Atom id to public key, hex. */
export type KeysById = ReadonlyMap<string, string>;

export class PeerKeys {
  /** Not a promise, because workerd ties a promise to the request that made it. */
  #known: KeysById | null = null;
  #isStale = true;
  #askedAtMs = 0;
  #changes = 0;
  /** How many times D1 was read since `#askedAtMs`. */
  #loads = 0;

  /**
   * The 32-byte public key of a registered peer; null for an unknown pool. Rejects if D1 cannot be read and no keys
   * were ever loaded.
   */
  async find(atomId: string, load: () => Promise<KeysById>, nowMs: number): Promise<Uint8Array | null> {
    const key = (await this.#current(load, nowMs)).get(atomId);
    return key === undefined ? null : fromHex(key);
  }

  /**
   * Call it when a peer was added or deleted in this isolate. The next lookups then read D1 again. Other isolates
   * notice within `LIMITS.peerKeysMs`.
   */
  changed(): void {
    this.#isStale = true;
    this.#changes += 1;
  }

  async #current(load: () => Promise<KeysById>, nowMs: number): Promise<KeysById> {
    const known = this.#known;
    // Read large maps less often, so that one isolate reads at most a thousand rows a second.
    const keptMs = Math.max(LIMITS.peerKeysMs, known?.size ?? 0);
    const isOld = Math.abs(nowMs - this.#askedAtMs) >= keptMs;
    if (known !== null && !isOld && !(this.#isStale && this.#loads < LIMITS.peerKeysLoads)) return known;
    // Lookups during this read use the known keys. If a change has made those stale, up to `LIMITS.peerKeysLoads`
    // lookups read D1 too.
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
