import { createHash } from "node:crypto";
import * as z from "zod";
import { GENESIS_CHAIN, nextChain, openCheckpoint, openEvent } from "../../schema/crypto/signed-event.ts";
import type { Audience, Checkpoint, EventBody, RecordedEvent, verifyPage } from "../../schema/wire/events.ts";

export type VerifyPage = z.infer<typeof verifyPage>;

/** The first violation in a log. */
export interface Fault {
  /** The number of the event in the whole log. */
  seq: number;
  what: string;
}

export interface Walked {
  events: number;
  public: number;
  peers: number;
  /** How many of the events other pools wrote. */
  of_others: number;
  /** How many checkpoints of the pool match the record. */
  checkpoints: number;
}

const startsShape = z.object({ public: z.int().nonnegative(), peers: z.int().nonnegative() });
type Starts = z.infer<typeof startsShape>;
const FIRST_EVENT: Starts = { public: 0, peers: 0 };
const startOf = (starts: Starts, audience: Audience) => (audience === "all" ? 0 : starts[audience]);

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

/**
 * Verifies a pool's whole log from its record, without trusting the pool (docs/spec/events.md#events): the bytes, content
 * ids and signatures of the events, the numbers and the chain of each audience, and whether the pool's checkpoints match the
 * record.
 */
export class LogWalk {
  readonly #origin: string;
  readonly #heads: Record<Audience, { seq: number; chain: string }>;
  /** The pool's current checkpoints that the walk has not reached yet. */
  readonly #pendingCheckpoints: Checkpoint[];
  /** The numbers after which the current log starts for peers, by the pool's answer. */
  readonly #claimedStarts: Starts;
  /** The same numbers by the last `log_started` event that the walk has read. */
  #recordedStarts: Starts = FIRST_EVENT;
  #matchedCheckpoints = 0;
  #ofOthers = 0;

  private constructor(origin: string, checkpoints: Checkpoint[], starts: Starts) {
    const start = { seq: 0, chain: GENESIS_CHAIN };
    this.#origin = origin;
    this.#pendingCheckpoints = checkpoints;
    this.#claimedStarts = starts;
    this.#heads = { all: start, public: start, peers: start };
  }

  /** Opens the pool's current checkpoints. `until` is the number of the last event by these checkpoints. */
  static async begin(page: VerifyPage): Promise<{ walk: LogWalk; until: number } | Fault> {
    const checkpoints: Checkpoint[] = [];
    for (const each of page.checkpoints) {
      const opened = await openCheckpoint(each);
      if (!opened.ok) return { seq: 0, what: `a checkpoint of the pool is not valid: ${opened.code}` };
      if (opened.checkpoint.origin !== page.origin) return { seq: 0, what: "a checkpoint belongs to another pool" };
      checkpoints.push(opened.checkpoint);
    }
    const all = checkpoints.find(({ audience }) => audience === "all");
    if (checkpoints.length !== 3 || !all) {
      return { seq: 0, what: "the pool did not send a checkpoint for each audience" };
    }
    const starts = page.starts ?? FIRST_EVENT;
    const numbered = checkpoints.map((each) => ({ ...each, seq: each.seq + startOf(starts, each.audience) }));
    const walk = new LogWalk(page.origin, numbered, starts);
    return walk.#matchCheckpoints(0) ?? { walk, until: all.seq };
  }

  /** Verifies the next page, up to the event `until`. */
  async page(page: VerifyPage, until: number): Promise<Fault | null> {
    const keptChains = new Map<number, string>();
    for (const each of page.kept) {
      const opened = await openCheckpoint(each);
      if (!opened.ok) {
        return { seq: this.#heads.all.seq, what: `an earlier checkpoint of the pool is not valid: ${opened.code}` };
      }
      keptChains.set(opened.checkpoint.seq, opened.checkpoint.chain);
    }
    for (const event of page.events) {
      if (event.seq > until) return null;
      const fault = await this.#event(event);
      if (fault !== null) return fault;
      const chain = keptChains.get(event.seq);
      if (chain === undefined) continue;
      if (chain !== event.chain) {
        return { seq: event.seq, what: "an earlier checkpoint of the pool has another chain for this event" };
      }
      this.#matchedCheckpoints += 1;
    }
    return null;
  }

  /** The result after the last page. */
  end(): { walked: Walked } | Fault {
    const { all, public: ofPublic, peers } = this.#heads;
    if (!this.#isInCurrentLog("public") || !this.#isInCurrentLog("peers")) {
      return {
        seq: all.seq,
        what: "the pool states a new start of its log for peers, but no event records that start",
      };
    }
    const unreached = this.#pendingCheckpoints.find(({ audience, seq }) => this.#heads[audience].seq < seq);
    if (unreached) {
      const { audience, seq } = unreached;
      return {
        seq: all.seq + 1,
        what: `the record ends here, but the pool signed ${NAME[audience]} up to event ${seq}`,
      };
    }
    return {
      walked: {
        events: all.seq,
        public: ofPublic.seq,
        peers: peers.seq,
        of_others: this.#ofOthers,
        checkpoints: this.#matchedCheckpoints,
      },
    };
  }

  async #event(row: RecordedEvent): Promise<Fault | null> {
    const { seq } = row;
    const expected = this.#heads.all.seq + 1;
    if (seq !== expected) return { seq: expected, what: `it is missing; the next event is ${seq}` };
    const opened = await openEvent(row.event);
    if (!opened.ok) return { seq, what: opened.code };
    const { event, contentId } = opened;
    const column = differingColumn(row, event);
    if (column !== null) return { seq, what: `its ${column} in the record differs from the signed event` };
    const isOurs = event.origin === this.#origin;
    if (!isOurs) this.#ofOthers += 1;

    const chain = this.#advance("all", contentId);
    if (chain !== row.chain) return { seq, what: "its chain does not continue the chain of the events before it" };
    for (const [audience, given] of [
      ["public", row.public_seq],
      ["peers", row.peers_seq],
    ] as const) {
      const mayBelong = audience === "public" ? event.visibility === "public" : event.visibility === "peers" && isOurs;
      // A public event of another pool is not relayed after its last hop, so it may be absent.
      const mustBelong = mayBelong && isOurs;
      if (given === null ? mustBelong : !mayBelong) {
        const problem = given === null ? "is missing from" : "does not belong in";
        return { seq, what: `it ${problem} ${NAME[audience]}` };
      }
      if (given === null) continue;
      this.#advance(audience, contentId);
      if (given !== this.#heads[audience].seq) {
        return { seq, what: `its number in ${NAME[audience]} is not the next one` };
      }
    }
    if (isOurs && event.type === "log_started") this.#startLog(event);
    return this.#matchCheckpoints(seq);
  }

  /** After a reset of the log's clock, the numbers for peers continue, but their chains start again. */
  #startLog({ payload }: EventBody): void {
    const starts = startsShape.safeParse(payload.starts);
    if (!starts.success) return;
    this.#recordedStarts = starts.data;
    for (const audience of ["public", "peers"] as const) {
      const seq = starts.data[audience];
      if (seq === this.#heads[audience].seq) this.#heads[audience] = { seq, chain: GENESIS_CHAIN };
    }
  }

  #isInCurrentLog(audience: Audience): boolean {
    return startOf(this.#recordedStarts, audience) === startOf(this.#claimedStarts, audience);
  }

  #advance(audience: Audience, contentId: string): string {
    const { seq, chain } = this.#heads[audience];
    const next = { seq: seq + 1, chain: nextChain(chain, contentId, sha256) };
    this.#heads[audience] = next;
    return next.chain;
  }

  /** Compares the pool's current checkpoints for the events that the walk has just reached. */
  #matchCheckpoints(seq: number): Fault | null {
    return (
      this.#matchCheckpoint("all", seq) ?? this.#matchCheckpoint("public", seq) ?? this.#matchCheckpoint("peers", seq)
    );
  }

  #matchCheckpoint(audience: Audience, seq: number): Fault | null {
    if (!this.#isInCurrentLog(audience)) return null;
    const head = this.#heads[audience];
    const at = this.#pendingCheckpoints.findIndex((each) => each.audience === audience && each.seq === head.seq);
    const checkpoint = this.#pendingCheckpoints[at];
    if (!checkpoint) return null;
    if (checkpoint.chain !== head.chain) {
      return { seq, what: `the pool's checkpoint has another chain for event ${checkpoint.seq} of ${NAME[audience]}` };
    }
    this.#pendingCheckpoints.splice(at, 1);
    this.#matchedCheckpoints += 1;
    return null;
  }
}

const NAME = { all: "the whole log", public: "the public log", peers: "the log for peers" } as const;

/** The column of the record that contradicts the event's own bytes; null if all agree. */
function differingColumn(row: RecordedEvent, event: EventBody): string | null {
  if (row.type !== event.type) return "type";
  if (row.origin !== event.origin) return "origin";
  if (row.visibility !== event.visibility) return "visibility";
  const { physical_us, logical } = event.hlc;
  return row.hlc.physical_us === physical_us && row.hlc.logical === logical ? null : "time";
}

/** Verifies the whole log of a pool page by page. It ignores events that the pool writes after the walk has begun. */
export async function walkLog(
  client: { verifyEvents(since: number): Promise<VerifyPage> },
  progress: (done: number, of: number) => void,
): Promise<{ walked: Walked } | Fault> {
  let page = await client.verifyEvents(0);
  const begun = await LogWalk.begin(page);
  if (!("walk" in begun)) return begun;
  const { walk, until } = begun;
  for (;;) {
    const fault = await walk.page(page, until);
    if (fault !== null) return fault;
    progress(Math.min(page.next, until), until);
    // A page without events means that the record ends here, even if the checkpoints claim more.
    if (page.events.length === 0 || page.next >= until) return walk.end();
    page = await client.verifyEvents(page.next);
  }
}
