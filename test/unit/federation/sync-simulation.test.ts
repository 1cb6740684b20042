import { afterEach, describe, expect, it, vi } from "vitest";
import type { Flaw } from "../../simulate/pool.ts";
import { type SimulationOptions, type SimulationResult, simulate } from "../../simulate/simulation.ts";

// A few seconds on an idle machine.
vi.setConfig({ testTimeout: 60_000 });

/** `npm run simulate` runs thousands. */
const WORLDS = 50;

describe("pools on a network that loses, repeats and reorders messages", () => {
  const results: SimulationResult[] = [];
  it.each([
    [5, WORLDS],
    // Longer relay paths than a ttl of 3 allows.
    [7, 8],
  ])(
    "%i pools end with every event that they may have, each once, and no event reaches a pool that must not have it",
    (pools, worlds) => {
      for (let seed = 0; seed < worlds; seed++) {
        const result = simulate({ seed, pools });
        const replay = `npm run simulate -- --seeds 1 --first ${seed} --pools ${pools} --trace`;
        if (result.violation !== null) expect.fail(`${result.violation}\n${replay}`);
        results.push(result);
      }
    },
  );

  it("the worlds contain everything that can happen", () => {
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

  it("the same seed gives the same world", () => {
    const runOf = (seed: number) => {
      const lines: string[] = [];
      return { result: simulate({ seed, trace: (line) => lines.push(line) }), lines };
    };
    expect(runOf(5)).toEqual(runOf(5));
    expect(runOf(5).lines).not.toEqual(runOf(6).lines);
  });
});

/** The first violation in 120 worlds. */
function firstViolation(run: typeof simulate, options: Omit<SimulationOptions, "seed"> = {}): string | null {
  for (let seed = 0; seed < 120; seed++) {
    const { violation } = run({ seed, ...options });
    if (violation !== null) return violation;
  }
  return null;
}

// Each case breaks one rule, and the simulation must notice.
describe("the simulation notices", () => {
  it.each<[what: string, flaw: Flaw, violation: RegExp]>([
    ["a cursor that is stored before the events are taken", "cursor-before-take", /is missing$/],
    [
      "a grant that is not applied because its event is a duplicate",
      "grant-forgotten-on-duplicate",
      /granted \d, and \d was received$/,
    ],
    ["a message that is dropped before it is queued", "published-before-queued", /message \d+ was not delivered$/],
    ["a message that is appended twice after a crash", "published-without-key", /message \d+ is in the log twice$/],
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
      "a ttl that is not decremented",
      "events/visibility-rules",
      () => ({ ttlOnwards: (ttl: number) => ttl }),
      /arrived with ttl 3 and leaves with ttl 3$/,
    ],
    [
      "every event in the public audience",
      "events/visibility-rules",
      () => ({ audiencesOf: () => ["all", "public"] }),
      /it is (private|for another)$|they are not bonded$/,
    ],
    [
      "relayed events of the peers audience",
      "events/visibility-rules",
      () => ({
        audiencesOf: ({ visibility }: { visibility: string }) => (visibility === "peers" ? ["all", "peers"] : ["all"]),
      }),
      /they are not bonded$/,
    ],
    [
      "audiences that every peer may read",
      "events/visibility-rules",
      () => ({ mayRead: () => true }),
      /granted too little$|not bonded$|accepts/,
    ],
    [
      "events from senders other than their origin",
      "events/visibility-rules",
      () => ({ mayReceive: () => true }),
      /takes/,
    ],
    [
      "events of origins that the pool does not trust",
      "federation/sync/sync-trust-rules",
      () => ({ originRefusal: () => null }),
      /accepts/,
    ],
    [
      "an older grant that replaces a newer one",
      "federation/peering/trust-rules",
      forgetLastGrant,
      /granted \d, and \d was received$/,
    ],
    ["event times that are never too far ahead", "events/clock-rules", trustEveryClock, /was dragged/],
    [
      "cursors that pass events that are ahead of the clock",
      "federation/sync/followed-log-rules",
      passEverything,
      /is missing$/,
    ],
  ])("%s", async (_what, file, broken, violation) => {
    const path = `../../../edge/${file}.ts`;
    const real = await vi.importActual<Rules>(path);
    vi.resetModules();
    vi.doMock(path, () => ({ ...real, ...broken(real) }));
    const world = await import("../../simulate/simulation.ts");
    expect(firstViolation(world.simulate)).toMatch(violation);
  });

  function forgetLastGrant({ receiveGrant }: Rules): Rules {
    return {
      receiveGrant: (trust, ...more) => receiveGrant?.({ ...(trust as object), receivedAt: null } as never, ...more),
    };
  }

  function trustEveryClock({ adopt }: Rules): Rules {
    return { observe: (...seen) => ({ outcome: "now", clock: adopt?.(...seen) }) };
  }

  function passEverything({ advance }: Rules): Rules {
    const taken = { ok: true, content_id: "", outcome: "accepted" };
    return {
      advance: (given, stretch, arrivals: never[]) => advance?.(given, stretch, arrivals.map(() => taken) as never),
    };
  }
});
