import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type KeysById, PeerKeys } from "../../../edge/federation/signing/peer-keys.ts";
import { toHex } from "../../../schema/crypto/bytes.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = 1_776_358_800_000;
const KEY = new Uint8Array(32).fill(7);
const record = (...ids: string[]): KeysById => new Map(ids.map((id) => [id, toHex(KEY)]));

/** The contents of D1, and how often they were read. */
class Record {
  rows: KeysById;
  loads = 0;
  isAway = false;

  constructor(rows: KeysById) {
    this.rows = rows;
  }

  readonly load = async (): Promise<KeysById> => {
    this.loads += 1;
    if (this.isAway) throw new Error("D1 is away");
    return this.rows;
  };
}

describe("the keys of peers in an isolate", () => {
  it("are read once during a flood of unknown and known peers", async () => {
    const [keys, d1] = [new PeerKeys(), new Record(record("peer"))];
    for (let i = 0; i < 1_000; i++) {
      expect(await keys.find(`stranger ${i}`, d1.load, NOW + i)).toBeNull();
      expect(await keys.find("peer", d1.load, NOW + i)).toEqual(KEY);
    }
    expect(d1.loads).toBe(1);
    await keys.find("stranger", d1.load, NOW + LIMITS.peerKeysMs);
    expect(d1.loads).toBe(2);
  });

  it("cost the same reads for a known and an unknown peer", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ gapMs: fc.integer({ min: -500, max: 1_500 }), changes: fc.boolean() }), { maxLength: 60 }),
        async (moves) => {
          const reads = async (atomId: string) => {
            const [keys, d1] = [new PeerKeys(), new Record(record("peer"))];
            const loads: number[] = [];
            let nowMs = NOW;
            for (const { gapMs, changes } of moves) {
              nowMs += gapMs;
              if (changes) keys.changed();
              await keys.find(atomId, d1.load, nowMs);
              loads.push(d1.loads);
            }
            return loads;
          };
          expect(await reads("peer")).toEqual(await reads("stranger"));
        },
      ),
    );
  });

  it("are read again after a change in this isolate, and within a second elsewhere", async () => {
    const [here, elsewhere, d1] = [new PeerKeys(), new PeerKeys(), new Record(record("old"))];
    for (const keys of [here, elsewhere]) expect(await keys.find("new", d1.load, NOW)).toBeNull();
    d1.rows = record("new");
    here.changed();
    expect(await here.find("new", d1.load, NOW)).toEqual(KEY);
    expect(await here.find("old", d1.load, NOW)).toBeNull();
    expect(await elsewhere.find("new", d1.load, NOW + LIMITS.peerKeysMs - 1)).toBeNull();
    expect(await elsewhere.find("new", d1.load, NOW + LIMITS.peerKeysMs)).toEqual(KEY);
  });

  it("do not go back when a read from before the change answers after it", async () => {
    const [keys, d1] = [new PeerKeys(), new Record(record("new"))];
    const { promise, resolve } = Promise.withResolvers<KeysById>();
    const early = keys.find("new", () => promise, NOW);
    keys.changed();
    expect(await keys.find("new", d1.load, NOW)).toEqual(KEY);
    resolve(record("old"));
    expect(await early).toBeNull();
    expect(await keys.find("new", d1.load, NOW)).toEqual(KEY);
  });

  it("are read by one request, while other requests use the known keys", async () => {
    const [keys, d1] = [new PeerKeys(), new Record(record("peer"))];
    await keys.find("peer", d1.load, NOW);
    const { promise, resolve } = Promise.withResolvers<KeysById>();
    const asking = keys.find("peer", () => promise, NOW + 5_000);
    expect(await keys.find("peer", d1.load, NOW + 5_001)).toEqual(KEY);
    expect(d1.loads).toBe(1);
    resolve(record());
    expect(await asking).toBeNull();
  });

  it("are read by a few more requests while a change is missing, but not by a flood while D1 is slow", async () => {
    const [keys, d1] = [new PeerKeys(), new Record(record("old"))];
    await keys.find("old", d1.load, NOW);
    keys.changed();
    let loads = 0;
    const { promise, resolve } = Promise.withResolvers<KeysById>();
    const slow = () => {
      loads += 1;
      return promise;
    };
    const flood = Array.from({ length: 3 * LIMITS.peerKeysLoads }, () => keys.find("new", slow, NOW));
    expect(loads).toBeLessThanOrEqual(LIMITS.peerKeysLoads);
    resolve(record("new"));
    expect((await Promise.all(flood)).filter(Boolean).length).toBe(loads);
    expect(await keys.find("new", d1.load, NOW)).toEqual(KEY);
    // A second later, as many reads are allowed again.
    keys.changed();
    expect(await keys.find("old", d1.load, NOW + 5_000)).toEqual(KEY);
  });

  it("stay the known ones while D1 is unavailable, and the lookup rejects if none are known", async () => {
    const [keys, d1] = [new PeerKeys(), new Record(record("peer"))];
    d1.isAway = true;
    await expect(keys.find("peer", d1.load, NOW)).rejects.toThrow("D1 is away");
    d1.isAway = false;
    expect(await keys.find("peer", d1.load, NOW)).toEqual(KEY);
    d1.isAway = true;
    keys.changed();
    expect(await keys.find("peer", d1.load, NOW + 60_000)).toEqual(KEY);
  });

  it("are read less often when there are many: at most a thousand rows a second", async () => {
    const ids = Array.from({ length: 20_000 }, (_, i) => `peer ${i}`);
    const [keys, d1] = [new PeerKeys(), new Record(record(...ids))];
    for (let ms = 0; ms < 60_000; ms += 100) await keys.find("stranger", d1.load, NOW + ms);
    expect(d1.loads).toBe(3);
  });
});
