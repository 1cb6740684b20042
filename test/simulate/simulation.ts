import type { PeerAudience, Visibility } from "../../schema/wire/events.ts";
import type { GrantableLevel } from "../../schema/wire/federation.ts";
import { type Bodies, type Identity, SimLog, sha256Hex } from "./log.ts";
import { Network, type Stream } from "./network.ts";
import { Oracle, Violation } from "./oracle.ts";
import { AUDIENCES, type Flaw, type SimContext, SimPool } from "./pool.ts";
import { Prng } from "./prng.ts";

export interface SimulationOptions {
  seed: number;
  pools?: number;
  /** How many steps of trouble come before everything is mended. */
  steps?: number;
  flaw?: Flaw | null;
  trace?: (line: string) => void;
}

export interface SimulationResult {
  seed: number;
  /** Null: every check passed. */
  violation: string | null;
  events: number;
  crashes: number;
  /** How often each thing happened. */
  reached: Readonly<Record<string, number>>;
  /** How long the pools took to converge after everything was mended. */
  healedAfterSeconds: number;
}

const BEGIN_MS = 1_776_358_800_000;
const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

/** Normal work, and trouble. Each world mixes them in its own proportions. */
const WORK = {
  run: 90,
  deliver: 30,
  flow: 12,
  pull: 4,
  push: 3,
  stream: 3,
  pump: 8,
  queue: 3,
  append: 4,
  message: 1,
  release: 1,
  time: 2,
} as const;
const TROUBLE = {
  drop: 1,
  duplicate: 0.5,
  timeout: 1,
  crash: 0.4,
  jump: 0.4,
  partition: 0.8,
  mend: 0.8,
  decide: 0.8,
  restore: 0.15,
  smuggle: 1,
} as const;
type Action = keyof typeof WORK | keyof typeof TROUBLE;

/** The length of each round after everything is mended. Delivery backoffs grow to 12 h, and clocks were hours ahead. */
const ROUNDS_SECONDS = [1, 1, 30, 600, 1_860, 7_200, ...Array.from({ length: 20 }, () => 46_800)];

/** One world: pools on a network that loses, repeats and reorders messages. The seed determines everything in it. */
class World {
  readonly prng: Prng;
  readonly #names: readonly Identity[];
  readonly #pools = new Map<string, SimPool>();
  readonly #network: Network;
  readonly #oracle: Oracle;
  readonly #bad = new Map<string, "events/invalid-signature" | "events/content-hash-mismatch" | "events/malformed">();
  readonly #writeLine: (line: string) => void;
  #nowMs = BEGIN_MS;
  /** The probability of a crash right after a commit of the log, before anything else happens. */
  #crashAfterCommit = 0;
  #serial = 0;
  crashes = 0;

  constructor({ seed, pools = 5, flaw = null, trace: writeLine = () => {} }: SimulationOptions) {
    this.prng = new Prng(seed);
    this.#writeLine = writeLine;
    const bodies: Bodies = new Map();
    this.#oracle = new Oracle(this.#pools, bodies, this.#bad);
    const trace = (line: string) => this.#trace(line);
    this.#network = new Network(this.prng, this.#oracle, trace, {
      serve: (to, from, request, answer) => this.#pool(to).spawn(this.#pool(to).serve(from, request, answer)),
      answered: (to, call, answer) => this.#pool(to).answered(call, answer),
      lateAnswer: (to, from, request, answer) => {
        const pool = this.#pool(to);
        if (request.type !== "pull" || answer.type !== "page" || !pool.follows(from, request.audience)) return;
        pool.spawn(discard(pool.page(from, request.audience, answer.page)));
      },
      streamed: (stream, event) => {
        stream.busy = true;
        this.#pool(stream.client).spawn(this.#pool(stream.client).streamed(stream, event));
      },
    });
    const context: SimContext = {
      network: this.#network,
      oracle: this.#oracle,
      random: () => this.prng.next(),
      nowMs: () => this.#nowMs,
      bad: this.#bad,
      circuits: this.prng.flip(),
      careful: this.prng.flip(),
      flaw,
    };
    this.#names = Array.from({ length: pools }, (_, i) => identity(i));
    for (const one of this.#names) {
      const pool = new SimPool(new SimLog(one, this.#logId(), bodies), context);
      pool.offsetMs = this.prng.between(-2_000, 2_000);
      this.#pools.set(one.atomId, pool);
    }
    for (const pool of this.#pools.values()) {
      for (const peer of this.#names) if (peer !== pool.identity) pool.addPeer(peer);
    }
  }

  get events(): number {
    return this.#serial;
  }

  get reached(): Readonly<Record<string, number>> {
    return this.#oracle.reached;
  }

  // ---- start

  start(): void {
    const shape = this.prng.lottery({ all: 3, line: 2, any: 4 })();
    for (const [i, pool] of [...this.#pools.values()].entries()) {
      for (const [k, peer] of this.#names.entries()) {
        if (peer !== pool.identity) pool.decide(peer.atomId, this.#levelOf(shape, i, k));
      }
    }
    this.#trace(`the pools trust each other by the shape "${shape}"`);
    // In some worlds the pools exchange grants before the trouble begins.
    if (this.prng.flip(0.7)) this.#round(1);
  }

  /** In a line, neighbours are bonded, and a pool farther down accepts relayed events from the pools above. */
  #levelOf(shape: "all" | "line" | "any", i: number, k: number): GrantableLevel {
    if (shape === "all") return 3;
    if (shape === "line") return Math.abs(i - k) === 1 ? 3 : i > k ? 2 : 1;
    return this.prng.pick([0, 1, 2, 2, 3, 3, 3]);
  }

  // ---- actions

  chaos(steps: number): void {
    const weights: Record<Action, number> = { ...WORK, ...TROUBLE };
    for (const key of Object.keys(TROUBLE) as (keyof typeof TROUBLE)[]) {
      weights[key] *= this.prng.pick([0, 1, 1, 4]);
    }
    // With fewer active pools, more happens between each two of them.
    const busy = [...this.#pools.values()].slice(0, this.prng.pick([2, 3, this.#names.length]));
    const next = this.prng.lottery(weights);
    this.#crashAfterCommit = this.prng.pick([0, 0, 0.02, 0.15]);
    for (let step = 0; step < steps; step++) {
      this.#perform(next(), busy);
      this.#oracle.checkClocks();
    }
    this.#crashAfterCommit = 0;
  }

  #perform(what: Action, busy: readonly SimPool[]): void {
    const pool = this.prng.pick(busy);
    const peer = this.prng.pick(busy.filter((one) => one !== pool)).identity.atomId;
    this.#actions[what](pool, peer, this.prng.pick(AUDIENCES));
  }

  readonly #actions: Record<Action, (pool: SimPool, peer: string, audience: PeerAudience) => void> = {
    run: () => this.#runOneOf(this.#runnable),
    deliver: () => this.#network.deliver(),
    flow: () => this.#withStream((stream) => this.#network.flow(stream)),
    pump: () => this.#withStream((stream) => this.#pump(stream)),
    pull: (pool, peer, audience) => pool.spawn(pool.pull(peer, audience, this.prng.pick([1, 2, 3, 500]))),
    push: (pool, peer, audience) => pool.spawn(pool.push(peer, audience)),
    stream: (pool, peer, audience) => pool.spawn(pool.stream(peer, audience)),
    queue: (pool, peer) => {
      pool.spawn(pool.publishPending(peer));
      pool.spawn(pool.deliver(peer));
    },
    append: (pool) => this.#append(pool),
    message: (pool, peer) => pool.message(peer, ++this.#serial),
    release: (pool) => pool.log.release(pool.wallMs * 1_000),
    time: () => this.#pass(this.prng.pick([5, 50, 500, 5 * SECOND, 20 * SECOND, 70 * SECOND])),
    drop: () => this.#network.drop(),
    duplicate: () => this.#network.duplicateAnswer(),
    timeout: (pool) => pool.timeOut((waiting) => waiting.filter(() => this.prng.flip(0.3))),
    crash: (pool) => this.#crash(pool),
    jump: (pool) => this.#jump(pool),
    partition: (pool, peer) => this.#partition(pool, peer),
    mend: (pool, peer) => this.#network.unblock(pool.identity.atomId, peer),
    decide: (pool, peer) => this.#decide(pool, peer),
    restore: (pool) => this.#restore(pool),
    smuggle: (pool, peer) => this.#smuggle(pool, peer),
  };

  get #runnable(): SimPool[] {
    return [...this.#pools.values()].filter((pool) => pool.isRunnable);
  }

  #runOneOf(runnable: readonly SimPool[]): void {
    if (runnable.length === 0) return;
    const pool = this.prng.pick(runnable);
    const before = pool.log.state;
    pool.run((tasks) => this.prng.pick(tasks));
    if (pool.log.state !== before && this.prng.flip(this.#crashAfterCommit)) this.#crash(pool);
  }

  #withStream(use: (stream: Stream) => void): void {
    if (this.#network.streams.length > 0) use(this.prng.pick(this.#network.streams));
  }

  #pump(stream: Stream): void {
    // A server may notice late that its client has left.
    if (!stream.clientOpen) stream.serverOpen = false;
    this.#pool(stream.server).pump(stream, this.prng.between(1, 3));
    this.#network.forgetEnded();
  }

  #crash(pool: SimPool): void {
    this.crashes++;
    this.#trace(`${pool.identity.name} crashes`);
    pool.crash();
  }

  #partition(pool: SimPool, peer: string): void {
    this.#trace(`${pool.identity.name} cannot reach ${this.#oracle.nameOf(peer)}`);
    this.#network.block(pool.identity.atomId, peer);
  }

  #append(pool: SimPool): void {
    const drafts = Array.from({ length: this.prng.pick([1, 1, 2, 5]) }, () => {
      const visibility: Visibility = this.prng.pick(["private", "peers", "public", "public"]);
      return { type: "overview", visibility, payload: { n: ++this.#serial } };
    });
    pool.append(drafts, (entries) => {
      for (const { wire } of entries) if (this.prng.flip(0.03)) this.#bad.set(wire.content_id, this.prng.pick(BAD));
    });
  }

  #jump(pool: SimPool): void {
    const far = this.prng.pick([3, 9, 11, 30, 59, 61, 90, 600, 7_200]) * SECOND;
    pool.offsetMs = this.prng.pick([0, far, far, -far]);
    this.#trace(`the clock of ${pool.identity.name} is off by ${pool.offsetMs} ms`);
  }

  #decide(pool: SimPool, peer: string): void {
    const level = this.prng.pick<GrantableLevel>([0, 1, 2, 3, 3]);
    this.#trace(`${pool.identity.name} grants ${this.#oracle.nameOf(peer)} ${level}`);
    pool.decide(peer, level);
  }

  #restore(pool: SimPool): void {
    const kept = Math.max(0, pool.log.entries.length - this.prng.pick([0, 1, 5, 20]));
    this.#trace(
      `${pool.identity.name} is restored from a backup with ${kept} of its ${pool.log.entries.length} events`,
    );
    pool.restore(kept, this.#logId());
  }

  /** Sends any events of any pool with any ttl, as a pool that keeps no rule could. */
  #smuggle(pool: SimPool, peer: string): void {
    const { entries } = this.prng.pick([...this.#pools.values()]).log;
    if (entries.length === 0) return;
    const events = Array.from({ length: this.prng.between(1, 3) }, () => ({
      event: this.prng.pick(entries).wire,
      ttl: this.prng.pick([0, 1, 3, 900]),
    }));
    this.#network.smuggle(pool.identity.atomId, peer, { events });
  }

  #pass(ms: number): void {
    this.#nowMs += ms;
  }

  // ---- end

  /** Mends everything and writes nothing new. Returns the seconds until all pools have converged. */
  heal(): number {
    this.#trace("everything is mended");
    this.#network.unblockAll();
    for (const pool of this.#pools.values()) {
      pool.offsetMs = this.prng.between(-1_000, 1_000);
      // Lost messages never arrive.
      pool.timeOut((waiting) => waiting);
    }
    const mendedAtMs = this.#nowMs;
    let fault: string | null = null;
    for (const seconds of ROUNDS_SECONDS) {
      this.#round(seconds);
      fault = this.#oracle.notConverged();
      if (fault === null) return (this.#nowMs - mendedAtMs) / SECOND;
      this.#trace(`not converged: ${fault}`);
    }
    throw new Violation(`after ${(this.#nowMs - mendedAtMs) / HOUR} h without trouble: ${fault}`);
  }

  /** Every pool does all its pending work once, and every message in flight arrives. */
  #round(seconds: number): void {
    this.#pass(seconds * SECOND);
    for (const pool of this.prng.shuffled([...this.#pools.values()])) {
      pool.log.release(pool.wallMs * 1_000);
      for (const { atomId } of this.prng.shuffled(this.#names.filter((one) => one !== pool.identity))) {
        pool.spawn(pool.publishPending(atomId));
        pool.spawn(pool.deliver(atomId));
        for (const audience of this.prng.shuffled(AUDIENCES)) {
          pool.spawn(pool.push(atomId, audience));
          pool.spawn(pool.pull(atomId, audience, 500));
        }
      }
    }
    this.#runUntilIdle();
  }

  #runUntilIdle(): void {
    for (;;) {
      const streams = this.#network.streams.filter(({ pipe, busy }) => pipe.length > 0 && !busy);
      const runnable = this.#runnable;
      const { inFlight } = this.#network;
      const at = this.prng.below(runnable.length + inFlight + streams.length);
      if (runnable.length + inFlight + streams.length === 0) return;
      if (at < runnable.length) this.#runOneOf(runnable);
      else if (at < runnable.length + inFlight) this.#network.deliver();
      else this.#network.flow(this.prng.pick(streams));
      this.#oracle.checkClocks();
    }
  }

  #pool(atomId: string): SimPool {
    const pool = this.#pools.get(atomId);
    if (!pool) throw new Error(`there is no pool ${atomId}`);
    return pool;
  }

  #logId(): string {
    return sha256Hex(`log ${this.prng.next()}`).slice(0, 32);
  }

  #trace(line: string): void {
    this.#writeLine(`${((this.#nowMs - BEGIN_MS) / SECOND).toFixed(3).padStart(10)} s  ${line}`);
  }
}

const BAD = ["events/invalid-signature", "events/content-hash-mismatch", "events/malformed"] as const;

function identity(index: number): Identity {
  const name = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".charAt(index);
  return { name, atomId: sha256Hex(`atom ${name}`), publicKey: sha256Hex(`key ${name}`) };
}

function* discard<Y, N>(part: Generator<Y, unknown, N>): Generator<Y, void, N> {
  yield* part;
}

export function simulate(options: SimulationOptions): SimulationResult {
  const world = new World(options);
  let [violation, healedAfterSeconds]: [string | null, number] = [null, 0];
  try {
    world.start();
    world.chaos(options.steps ?? world.prng.pick([300, 1_000, 3_000]));
    healedAfterSeconds = world.heal();
  } catch (error) {
    violation = error instanceof Violation ? error.message : String(error instanceof Error ? error.stack : error);
  }
  const { events, crashes, reached } = world;
  return { seed: options.seed, violation, events, crashes, reached, healedAfterSeconds };
}
