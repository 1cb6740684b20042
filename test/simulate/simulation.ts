import type { PeerAudience, Visibility } from "../../schema/wire/events.ts";
import type { GrantableLevel } from "../../schema/wire/federation.ts";
import { type Bodies, type Identity, SimLog, sha256Hex } from "./log.ts";
import { Network, type Stream } from "./network.ts";
import { Oracle, Violation } from "./oracle.ts";
import { AUDIENCES, type Flaw, SimPool, type Surroundings } from "./pool.ts";
import { Chance } from "./prng.ts";

export interface SimulationOptions {
  seed: number;
  pools?: number;
  /** While everything goes wrong that can. */
  steps?: number;
  flaw?: Flaw | null;
  trace?: (line: string) => void;
}

export interface SimulationResult {
  seed: number;
  /** Null: all that must hold held. */
  violation: string | null;
  events: number;
  crashes: number;
  /** What happened, and how often. */
  reached: Readonly<Record<string, number>>;
  /** What it took to settle, after everything was mended. */
  healedAfterSeconds: number;
}

const BEGIN_MS = 1_776_358_800_000;
const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

/** What goes on anyhow, and what goes wrong: each world has some of these, in its own proportions. */
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
type Happening = keyof typeof WORK | keyof typeof TROUBLE;

/** How long each round after the mending lasts; the queues' waits grow to 12 h, and clocks were hours ahead. */
const ROUNDS_SECONDS = [1, 1, 30, 600, 1_860, 7_200, ...Array.from({ length: 20 }, () => 46_800)];

/** One world of pools on a network that loses, repeats and reorders; nothing in it but the seed is chance. */
class World {
  readonly chance: Chance;
  readonly #names: readonly Identity[];
  readonly #pools = new Map<string, SimPool>();
  readonly #network: Network;
  readonly #oracle: Oracle;
  readonly #bad = new Map<string, "events/invalid-signature" | "events/content-hash-mismatch" | "events/malformed">();
  readonly #trace: (line: string) => void;
  #nowMs = BEGIN_MS;
  /** How likely it is to crash right after the log's commit, before anybody hears of it. */
  #brittleness = 0;
  #serial = 0;
  crashes = 0;

  constructor({ seed, pools = 5, flaw = null, trace = () => {} }: SimulationOptions) {
    this.chance = new Chance(seed);
    this.#trace = trace;
    const bodies: Bodies = new Map();
    this.#oracle = new Oracle(this.#pools, bodies, this.#bad);
    const say = (line: string) => this.#say(line);
    this.#network = new Network(this.chance, this.#oracle, say, {
      serve: (to, from, request, answer) => this.#pool(to).spawn(this.#pool(to).serve(from, request, answer)),
      answered: (to, call, answer) => this.#pool(to).answered(call, answer),
      late: (to, from, request, answer) => {
        const pool = this.#pool(to);
        if (request.type !== "pull" || answer.type !== "page" || !pool.follows(from, request.audience)) return;
        pool.spawn(discard(pool.page(from, request.audience, answer.page)));
      },
      streamed: (stream, event) => {
        stream.busy = true;
        this.#pool(stream.client).spawn(this.#pool(stream.client).streamed(stream, event));
      },
    });
    const around: Surroundings = {
      network: this.#network,
      oracle: this.#oracle,
      random: () => this.chance.next(),
      nowMs: () => this.#nowMs,
      bad: this.#bad,
      circuits: this.chance.flip(),
      careful: this.chance.flip(),
      flaw,
    };
    this.#names = Array.from({ length: pools }, (_, i) => identity(i));
    for (const one of this.#names) {
      const pool = new SimPool(new SimLog(one, this.#logId(), bodies), around);
      pool.offsetMs = this.chance.between(-2_000, 2_000);
      this.#pools.set(one.atomId, pool);
    }
    for (const pool of this.#pools.values()) {
      for (const peer of this.#names) if (peer !== pool.identity) pool.meet(peer);
    }
  }

  get events(): number {
    return this.#serial;
  }

  get reached(): Readonly<Record<string, number>> {
    return this.#oracle.reached;
  }

  // ---- how it begins

  begin(): void {
    const shape = this.chance.lottery({ everybody: 3, line: 2, any: 4 })();
    for (const [i, pool] of [...this.#pools.values()].entries()) {
      for (const [k, peer] of this.#names.entries()) {
        if (peer !== pool.identity) pool.decide(peer.atomId, this.#levelOf(shape, i, k));
      }
    }
    this.#say(`begins as ${shape}`);
    // Some worlds come to know each other before things go wrong.
    if (this.chance.flip(0.7)) this.#round(1);
  }

  /** In a line, neighbours are bonded, and who is farther down takes what is relayed of those above. */
  #levelOf(shape: "everybody" | "line" | "any", i: number, k: number): GrantableLevel {
    if (shape === "everybody") return 3;
    if (shape === "line") return Math.abs(i - k) === 1 ? 3 : i > k ? 2 : 1;
    return this.chance.pick([0, 1, 2, 2, 3, 3, 3]);
  }

  // ---- what happens

  chaos(steps: number): void {
    const weights: Record<Happening, number> = { ...WORK, ...TROUBLE };
    for (const key of Object.keys(TROUBLE) as (keyof typeof TROUBLE)[]) {
      weights[key] *= this.chance.pick([0, 1, 1, 4]);
    }
    // The fewer are at it, the more they are at one another.
    const busy = [...this.#pools.values()].slice(0, this.chance.pick([2, 3, this.#names.length]));
    const next = this.chance.lottery(weights);
    this.#brittleness = this.chance.pick([0, 0, 0.02, 0.15]);
    for (let step = 0; step < steps; step++) {
      this.#happen(next(), busy);
      this.#oracle.watch();
    }
    this.#brittleness = 0;
  }

  #happen(what: Happening, busy: readonly SimPool[]): void {
    const pool = this.chance.pick(busy);
    const peer = this.chance.pick(busy.filter((one) => one !== pool)).identity.atomId;
    this.#happenings[what](pool, peer, this.chance.pick(AUDIENCES));
  }

  readonly #happenings: Record<Happening, (pool: SimPool, peer: string, audience: PeerAudience) => void> = {
    run: () => this.#runOneOf(this.#runnable),
    deliver: () => this.#network.deliver(),
    flow: () => this.#withStream((stream) => this.#network.flow(stream)),
    pump: () => this.#withStream((stream) => this.#pump(stream)),
    pull: (pool, peer, audience) => pool.spawn(pool.pull(peer, audience, this.chance.pick([1, 2, 3, 500]))),
    push: (pool, peer, audience) => pool.spawn(pool.push(peer, audience)),
    stream: (pool, peer, audience) => pool.spawn(pool.stream(peer, audience)),
    queue: (pool, peer) => {
      pool.spawn(pool.tell(peer));
      pool.spawn(pool.deliver(peer));
    },
    append: (pool) => this.#append(pool),
    message: (pool, peer) => pool.message(peer, ++this.#serial),
    release: (pool) => pool.log.release(pool.wallMs * 1_000),
    time: () => this.#pass(this.chance.pick([5, 50, 500, 5 * SECOND, 20 * SECOND, 70 * SECOND])),
    drop: () => this.#network.drop(),
    duplicate: () => this.#network.duplicateAnswer(),
    timeout: (pool) => pool.timeOut((waiting) => waiting.filter(() => this.chance.flip(0.3))),
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
    const pool = this.chance.pick(runnable);
    const before = pool.log.state;
    pool.run((tasks) => this.chance.pick(tasks));
    if (pool.log.state !== before && this.chance.flip(this.#brittleness)) this.#crash(pool);
  }

  #withStream(use: (stream: Stream) => void): void {
    if (this.#network.streams.length > 0) use(this.chance.pick(this.#network.streams));
  }

  #pump(stream: Stream): void {
    // A server finds out that nobody is there any more when it likes.
    if (!stream.clientOpen) stream.serverOpen = false;
    this.#pool(stream.server).pump(stream, this.chance.between(1, 3));
    this.#network.forgetEnded();
  }

  #crash(pool: SimPool): void {
    this.crashes++;
    this.#say(`${pool.identity.name} crashes`);
    pool.crash();
  }

  #partition(pool: SimPool, peer: string): void {
    this.#say(`${pool.identity.name} does not reach ${this.#oracle.nameOf(peer)}`);
    this.#network.block(pool.identity.atomId, peer);
  }

  #append(pool: SimPool): void {
    const drafts = Array.from({ length: this.chance.pick([1, 1, 2, 5]) }, () => {
      const visibility: Visibility = this.chance.pick(["private", "peers", "public", "public"]);
      return { type: "overview", visibility, payload: { n: ++this.#serial } };
    });
    pool.append(drafts, (entries) => {
      for (const { wire } of entries) if (this.chance.flip(0.03)) this.#bad.set(wire.content_id, this.chance.pick(BAD));
    });
  }

  #jump(pool: SimPool): void {
    const far = this.chance.pick([3, 9, 11, 30, 59, 61, 90, 600, 7_200]) * SECOND;
    pool.offsetMs = this.chance.pick([0, far, far, -far]);
    this.#say(`the clock of ${pool.identity.name} is off by ${pool.offsetMs} ms`);
  }

  #decide(pool: SimPool, peer: string): void {
    const level = this.chance.pick<GrantableLevel>([0, 1, 2, 3, 3]);
    this.#say(`${pool.identity.name} grants ${this.#oracle.nameOf(peer)} ${level}`);
    pool.decide(peer, level);
  }

  #restore(pool: SimPool): void {
    const kept = Math.max(0, pool.log.entries.length - this.chance.pick([0, 1, 5, 20]));
    this.#say(`${pool.identity.name} begins anew with ${kept} of ${pool.log.entries.length} events`);
    pool.restore(kept, this.#logId());
  }

  /** Any events of anybody, with any ttl: what a pool would do that keeps to no rule. */
  #smuggle(pool: SimPool, peer: string): void {
    const { entries } = this.chance.pick([...this.#pools.values()]).log;
    if (entries.length === 0) return;
    const events = Array.from({ length: this.chance.between(1, 3) }, () => ({
      event: this.chance.pick(entries).wire,
      ttl: this.chance.pick([0, 1, 3, 900]),
    }));
    this.#network.smuggle(pool.identity.atomId, peer, { events });
  }

  #pass(ms: number): void {
    this.#nowMs += ms;
  }

  // ---- how it ends

  /** Everything is mended; nothing new is said. Seconds until all that must hold does. */
  heal(): number {
    this.#say("everything is mended");
    this.#network.unblockAll();
    for (const pool of this.#pools.values()) {
      pool.offsetMs = this.chance.between(-1_000, 1_000);
      // What was lost does not come any more.
      pool.timeOut((waiting) => waiting);
    }
    const mendedAtMs = this.#nowMs;
    let fault: string | null = null;
    for (const seconds of ROUNDS_SECONDS) {
      this.#round(seconds);
      fault = this.#oracle.unsettled();
      if (fault === null) return (this.#nowMs - mendedAtMs) / SECOND;
      this.#say(`not settled: ${fault}`);
    }
    throw new Violation(`after ${(this.#nowMs - mendedAtMs) / HOUR} h of peace: ${fault}`);
  }

  /** Everybody does all that it has to do, once; what is under way arrives. */
  #round(seconds: number): void {
    this.#pass(seconds * SECOND);
    for (const pool of this.chance.shuffled([...this.#pools.values()])) {
      pool.log.release(pool.wallMs * 1_000);
      for (const { atomId } of this.chance.shuffled(this.#names.filter((one) => one !== pool.identity))) {
        pool.spawn(pool.tell(atomId));
        pool.spawn(pool.deliver(atomId));
        for (const audience of this.chance.shuffled(AUDIENCES)) {
          pool.spawn(pool.push(atomId, audience));
          pool.spawn(pool.pull(atomId, audience, 500));
        }
      }
    }
    this.#settle();
  }

  #settle(): void {
    for (;;) {
      const streams = this.#network.streams.filter(({ pipe, busy }) => pipe.length > 0 && !busy);
      const runnable = this.#runnable;
      const { underWay } = this.#network;
      const at = this.chance.below(runnable.length + underWay + streams.length);
      if (runnable.length + underWay + streams.length === 0) return;
      if (at < runnable.length) this.#runOneOf(runnable);
      else if (at < runnable.length + underWay) this.#network.deliver();
      else this.#network.flow(this.chance.pick(streams));
      this.#oracle.watch();
    }
  }

  #pool(atomId: string): SimPool {
    const pool = this.#pools.get(atomId);
    if (!pool) throw new Error(`there is no pool ${atomId}`);
    return pool;
  }

  #logId(): string {
    return sha256Hex(`log ${this.chance.next()}`).slice(0, 32);
  }

  #say(line: string): void {
    this.#trace(`${((this.#nowMs - BEGIN_MS) / SECOND).toFixed(3).padStart(10)} s  ${line}`);
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
    world.begin();
    world.chaos(options.steps ?? world.chance.pick([300, 1_000, 3_000]));
    healedAfterSeconds = world.heal();
  } catch (error) {
    violation = error instanceof Violation ? error.message : String(error instanceof Error ? error.stack : error);
  }
  const { events, crashes, reached } = world;
  return { seed: options.seed, violation, events, crashes, reached, healedAfterSeconds };
}
