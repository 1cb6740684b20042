import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { append, newLog } from "../../../edge/events/log-machine.ts";
import { audiencesOf } from "../../../edge/events/visibility-rules.ts";
import { GENESIS_CHAIN, nextChain } from "../../../schema/crypto/signed-event.ts";
import { type Audience, audience, visibility } from "../../../schema/wire/events.ts";

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
const idOf = (n: number) => n.toString(16).padStart(64, "0");
const at = (physical_us: number) => ({ physical_us, logical: 0 });

describe("a log", () => {
  it("starts at number 0 with 32 zero bytes", () => {
    const { heads } = newLog("00");
    expect(GENESIS_CHAIN).toBe("0".repeat(64));
    for (const { seq, chain } of Object.values(heads)) expect({ seq, chain }).toEqual({ seq: 0, chain: GENESIS_CHAIN });
  });

  it.each<[what: string, audiences: Audience[], want: Record<Audience, number>]>([
    ["a private event", ["all"], { all: 1, public: 0, peers: 0 }],
    ["a public event", ["all", "public"], { all: 1, public: 1, peers: 0 }],
    ["an event for peers", ["all", "peers"], { all: 1, public: 0, peers: 1 }],
  ])("%s", (_what, audiences, want) => {
    const { state, places } = append(newLog("00"), { contentId: idOf(1), audiences, clock: at(5) }, sha256);
    const seqs = Object.fromEntries(Object.entries(state.heads).map(([name, head]) => [name, head.seq]));
    expect(seqs).toEqual(want);
    expect(Object.keys(places)).toEqual(audiences);
    for (const name of audiences) {
      expect(places[name]).toEqual({ seq: 1, chain: nextChain(GENESIS_CHAIN, idOf(1), sha256) });
      expect(state.heads[name].hlc).toEqual(at(5));
    }
    expect(state.clock).toEqual(at(5));
  });

  it("has no gap in any audience, and its chains can be recomputed from the ids", () => {
    const some = fc.record({
      visibility: fc.constantFrom(...visibility.options),
      ours: fc.boolean(),
      ttl: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(some, { maxLength: 40 }), (events) => {
        let state = newLog("00");
        const again = Object.fromEntries(audience.options.map((name) => [name, { seq: 0, chain: GENESIS_CHAIN }]));
        for (const [i, event] of events.entries()) {
          const audiences = audiencesOf(event, event.ttl);
          const placed = append(state, { contentId: idOf(i), audiences, clock: at(i) }, sha256);
          for (const name of audiences) {
            const last = again[name] ?? { seq: Number.NaN, chain: "" };
            again[name] = { seq: last.seq + 1, chain: nextChain(last.chain, idOf(i), sha256) };
            expect(placed.places[name]).toEqual(again[name]);
          }
          state = placed.state;
        }
        for (const name of audience.options) expect(state.heads[name]).toMatchObject(again[name] ?? {});
        expect(state.heads.all.seq).toBe(events.length);
      }),
    );
  });
});
