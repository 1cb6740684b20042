import { afterEach, describe, expect, it, vi } from "vitest";
import type { Flaw } from "../../simulate/pool.ts";
import { type SimulationOptions, type SimulationResult, simulate } from "../../simulate/simulation.ts";

// Seconds on a machine that has nothing else to do.
vi.setConfig({ testTimeout: 60_000 });

/** Thousands more: `npm run simulate`. */
const WORLDS = 50;

describe("pools that follow one another on a network that loses, repeats and reorders", () => {
  const results: SimulationResult[] = [];
  it.each([
    [5, WORLDS],
    // Longer ways than a ttl of 3 goes.
    [7, 8],
  ])(
    "%i of them have in the end what they may have, each event once, and nothing went where it must not",
    (pools, worlds) => {
      for (let seed = 0; seed < worlds; seed++) {
        const result = simulate({ seed, pools });
        const replay = `npm run simulate -- --seeds 1 --first ${seed} --pools ${pools} --trace`;
        if (result.violation !== null) expect.fail(`${result.violation}\n${replay}`);
        results.push(result);
      }
    },
  );

  it("met in their worlds everything that may happen", () => {
    const reached = new Set(results.flatMap((result) => Object.keys(result.reached)));
    const missing = [
      "accepted",
      "duplicate",
      "held",
      "stalled",
      "streamed",
      "out-of-step",
      "new-log",
      "restored",
      "push: push",
      "push: skipped",
      "push: wait",
      "relayed with ttl 2",
      "relayed with ttl 1",
      "relayed with ttl 0",
      "events/excessive-drift",
      "events/forbidden",
      "events/invalid-signature",
      "events/unknown-origin",
    ].filter((what) => !reached.has(what));
    expect(missing).toEqual([]);
    expect(results.some(({ crashes }) => crashes > 0)).toBe(true);
  });

  it("live the same life again from the same seed", () => {
    const lived = (seed: number) => {
      const lines: string[] = [];
      return { result: simulate({ seed, trace: (line) => lines.push(line) }), lines };
    };
    expect(lived(5)).toEqual(lived(5));
    expect(lived(5).lines).not.toEqual(lived(6).lines);
  });
});

/** The first violation that so many worlds show. */
function firstViolation(run: typeof simulate, options: Omit<SimulationOptions, "seed"> = {}): string | null {
  for (let seed = 0; seed < 120; seed++) {
    const { violation } = run({ seed, ...options });
    if (violation !== null) return violation;
  }
  return null;
}

// What the simulation is worth: one rule is broken, and it has to notice.
describe("a simulation notices", () => {
  it.each<[what: string, flaw: Flaw, violation: RegExp]>([
    ["a cursor that is stored before its events", "cursor-before-take", /is missing$/],
    [
      "a grant that is not applied since its event is here already",
      "grant-forgotten-on-duplicate",
      /granted \d, and \d was received$/,
    ],
    ["a message that is forgotten before it is queued", "told-before-queued", /message \d+ was not delivered$/],
    ["a message that is told anew after a crash", "told-without-key", /message \d+ is in the log twice$/],
  ])("%s", (_what, flaw, violation) => expect(firstViolation(simulate, { flaw })).toMatch(violation));

  afterEach(() => {
    vi.doUnmock("../../../edge/events/visibility-rules.ts");
    vi.doUnmock("../../../edge/events/clock-rules.ts");
    vi.doUnmock("../../../edge/federation/peering/trust-rules.ts");
    vi.doUnmock("../../../edge/federation/sync/followed-log-rules.ts");
    vi.doUnmock("../../../edge/federation/sync/sync-trust-rules.ts");
    vi.resetModules();
  });

  type Rules = Record<string, (...given: never[]) => unknown>;
  it.each<[what: string, file: string, broken: (real: Rules) => Rules, violation: RegExp]>([
    [
      "a ttl that does not count down",
      "events/visibility-rules",
      () => ({ ttlOnwards: (ttl: number) => ttl }),
      /came with 3 and leaves with 3$/,
    ],
    [
      "events that are all public",
      "events/visibility-rules",
      () => ({ audiencesOf: () => ["all", "public"] }),
      /it is (private|for another)$|they are not bonded$/,
    ],
    [
      "events for peers that peers pass on",
      "events/visibility-rules",
      () => ({
        audiencesOf: ({ visibility }: { visibility: string }) => (visibility === "peers" ? ["all", "peers"] : ["all"]),
      }),
      /they are not bonded$/,
    ],
    [
      "an audience that anybody may read",
      "events/visibility-rules",
      () => ({ mayRead: () => true }),
      /granted too little$|not bonded$|hears/,
    ],
    ["events that come any way", "events/visibility-rules", () => ({ mayReceive: () => true }), /takes/],
    ["origins that nobody trusts", "federation/sync/sync-trust-rules", () => ({ originRefusal: () => null }), /hears/],
    ["old grants that count again", "federation/peering/trust-rules", forgetful, /granted \d, and \d was received$/],
    ["clocks that are never too far ahead", "events/clock-rules", gullible, /was dragged/],
    ["cursors that pass what is too early", "federation/sync/followed-log-rules", hasty, /is missing$/],
  ])("%s", async (_what, file, broken, violation) => {
    const path = `../../../edge/${file}.ts`;
    const real = await vi.importActual<Rules>(path);
    vi.resetModules();
    vi.doMock(path, () => ({ ...real, ...broken(real) }));
    const world = await import("../../simulate/simulation.ts");
    expect(firstViolation(world.simulate)).toMatch(violation);
  });

  function forgetful({ receiveGrant }: Rules): Rules {
    return {
      receiveGrant: (trust, ...more) => receiveGrant?.({ ...(trust as object), receivedAt: null } as never, ...more),
    };
  }

  function gullible({ adopt }: Rules): Rules {
    return { observe: (...seen) => ({ outcome: "now", clock: adopt?.(...seen) }) };
  }

  function hasty({ advance }: Rules): Rules {
    const taken = { ok: true, content_id: "", outcome: "accepted" };
    return {
      advance: (given, stretch, arrivals: never[]) => advance?.(given, stretch, arrivals.map(() => taken) as never),
    };
  }
});
