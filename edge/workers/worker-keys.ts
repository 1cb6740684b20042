import { fromHex } from "../../schema/crypto/bytes.ts";
import { type VerifyingKey, verifyingKey } from "../../schema/crypto/ed25519.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { BoundedMap } from "../limits/bounded-map.ts";

/**
 * A cache of imported public keys of workers, to check their records. It holds at most as many keys as a lane has
 * workers.
 */
export class WorkerKeys {
  readonly #keys = new BoundedMap<string, VerifyingKey>(LIMITS.socketsPerLane);

  /** @param publicKeyHex the key that the worker has proved. Null where it is not a key. */
  async of(publicKeyHex: string): Promise<VerifyingKey | null> {
    const known = this.#keys.get(publicKeyHex);
    if (known) return known;
    const publicKey = fromHex(publicKeyHex);
    if (publicKey === null) return null;
    const key = await verifyingKey(publicKey);
    this.#keys.set(publicKeyHex, key);
    return key;
  }
}
