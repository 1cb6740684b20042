import { createHash } from "node:crypto";
import * as z from "zod";
import { GENESIS_CHAIN, nextChain, openCheckpoint, openEvent } from "../../schema/crypto/signed-event.ts";
import type { Audience, Checkpoint, EventBody, RecordedEvent, verifyPage } from "../../schema/wire/events.ts";

export type VerifyPage = z.infer<typeof verifyPage>;

/** The first thing that does not hold. */
export interface Fault {
  /** In the whole log. */
  seq: number;
  what: string;
}

export interface Walked {
  events: number;
  public: number;
  peers: number;
  /** Events of other pools among them. */
  of_others: number;
  /** Signed statements of the pool that the record agrees with. */
  checkpoints: number;
}

const startsShape = z.object({ public: z.int().nonnegative(), peers: z.int().nonnegative() });
type Starts = z.infer<typeof startsShape>;
const FROM_THE_FIRST: Starts = { public: 0, peers: 0 };
const startOf = (of: Starts, audience: Audience) => (audience === "all" ? 0 : of[audience]);

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

/**
 * Walks a pool's log as its record has it, and believes nothing of it (docs/spec/events.md#events): bytes, content ids, signatures, the
 * numbers and chain of each audience, and whether what the pool signs of its log is what is there.
 */
export class LogWalk {
  readonly #origin: string;
  readonly #heads: Record<Audience, { seq: number; chain: string }>;
  /** What the pool said before the walk began, by audience: to be met on the way. */
  readonly #said: Checkpoint[];
  /** The numbers after which the log of today begins for peers, as the pool says; the event that says so is met on the way. */
  readonly #starts: Starts;
  #begun: Starts = FROM_THE_FIRST;
  #met = 0;
  #kept = 0;
  #ofOthers = 0;

  private constructor(origin: string, said: Checkpoint[], starts: Starts) {
    const start = { seq: 0, chain: GENESIS_CHAIN };
    this.#origin = origin;
    this.#said = said;
    this.#starts = starts;
    this.#heads = { all: start, public: start, peers: start };
  }

  /** The number that the pool says its log ends with, or the fault in how it says so. */
  static async begin(page: VerifyPage): Promise<{ walk: LogWalk; until: number } | Fault> {
    const said: Checkpoint[] = [];
    for (const each of page.checkpoints) {
      const opened = await openCheckpoint(each);
      if (!opened.ok) return { seq: 0, what: `a checkpoint of the pool does not hold: ${opened.code}` };
      if (opened.checkpoint.origin !== page.origin) return { seq: 0, what: "a checkpoint is another pool's" };
      said.push(opened.checkpoint);
    }
    const all = said.find(({ audience }) => audience === "all");
    if (said.length !== 3 || !all) return { seq: 0, what: "the pool does not say where its log ends" };
    const starts = page.starts ?? FROM_THE_FIRST;
    const numbered = said.map((each) => ({ ...each, seq: each.seq + startOf(starts, each.audience) }));
    const walk = new LogWalk(page.origin, numbered, starts);
    const fault = walk.#meet("all", 0) ?? walk.#meet("public", 0) ?? walk.#meet("peers", 0);
    return fault ?? { walk, until: all.seq };
  }

  /** The next page, up to `until`. */
  async page(page: VerifyPage, until: number): Promise<Fault | null> {
    const kept = new Map<number, string>();
    for (const each of page.kept) {
      const opened = await openCheckpoint(each);
      if (!opened.ok) return { seq: this.#heads.all.seq, what: `a kept checkpoint does not hold: ${opened.code}` };
      kept.set(opened.checkpoint.seq, opened.checkpoint.chain);
    }
    for (const event of page.events) {
      if (event.seq > until) return null;
      const fault = await this.#event(event);
      if (fault !== null) return fault;
      const chain = kept.get(event.seq);
      if (chain === undefined) continue;
      if (chain !== event.chain) return { seq: event.seq, what: "the pool once signed another chain for this number" };
      this.#kept += 1;
    }
    return null;
  }

  /** After the last page. */
  end(): { walked: Walked } | Fault {
    const { all, public: ofPublic, peers } = this.#heads;
    if (!this.#isOfToday("public") || !this.#isOfToday("peers")) {
      return { seq: all.seq, what: "the pool says that its log begins anew for peers, and no event says so" };
    }
    const missed = this.#said.filter(({ audience, seq }) => this.#heads[audience].seq < seq);
    const [first] = missed;
    if (first) {
      const { audience, seq } = first;
      return { seq: all.seq + 1, what: `the record ends here; the pool says that ${NAME[audience]} goes on to ${seq}` };
    }
    return {
      walked: {
        events: all.seq,
        public: ofPublic.seq,
        peers: peers.seq,
        of_others: this.#ofOthers,
        checkpoints: this.#met + this.#kept,
      },
    };
  }

  async #event(row: RecordedEvent): Promise<Fault | null> {
    const { seq } = row;
    const expected = this.#heads.all.seq + 1;
    if (seq !== expected) return { seq: expected, what: `it is missing; the next one is ${seq}` };
    const opened = await openEvent(row.event);
    if (!opened.ok) return { seq, what: opened.code };
    const { event, contentId } = opened;
    const column = differing(row, event);
    if (column !== null) return { seq, what: `the record says another ${column} than the event` };
    const ours = event.origin === this.#origin;
    if (!ours) this.#ofOthers += 1;

    const chain = this.#advance("all", contentId);
    if (chain !== row.chain) return { seq, what: "its chain is not that of the events before it" };
    for (const [audience, given] of [
      ["public", row.public_seq],
      ["peers", row.peers_seq],
    ] as const) {
      const belongs = audience === "public" ? event.visibility === "public" : event.visibility === "peers" && ours;
      // A public event of another pool that had come far enough is passed on no more.
      const must = belongs && ours;
      if (given === null ? must : !belongs)
        return { seq, what: `it is ${given === null ? "not " : ""}in ${NAME[audience]}` };
      if (given === null) continue;
      this.#advance(audience, contentId);
      if (given !== this.#heads[audience].seq)
        return { seq, what: `its number in ${NAME[audience]} is not the next one` };
    }
    if (ours && event.type === "log_started") this.#startAnew(event);
    return this.#meet("all", seq) ?? this.#meet("public", seq) ?? this.#meet("peers", seq);
  }

  /** A log whose clock went back leaves behind what peers were told before: their chains begin once more. */
  #startAnew({ payload }: EventBody): void {
    const said = startsShape.safeParse(payload.starts);
    if (!said.success) return;
    this.#begun = said.data;
    for (const audience of ["public", "peers"] as const) {
      if (said.data[audience] === this.#heads[audience].seq) {
        this.#heads[audience] = { seq: said.data[audience], chain: GENESIS_CHAIN };
      }
    }
  }

  #isOfToday(audience: Audience): boolean {
    return startOf(this.#begun, audience) === startOf(this.#starts, audience);
  }

  #advance(audience: Audience, contentId: string): string {
    const { seq, chain } = this.#heads[audience];
    const next = { seq: seq + 1, chain: nextChain(chain, contentId, sha256) };
    this.#heads[audience] = next;
    return next.chain;
  }

  /** Where the walk has come to what the pool said: is it what is there? */
  #meet(audience: Audience, seq: number): Fault | null {
    if (!this.#isOfToday(audience)) return null;
    const at = this.#said.findIndex((each) => each.audience === audience && each.seq === this.#heads[audience].seq);
    const said = this.#said[at];
    if (!said) return null;
    if (said.chain !== this.#heads[audience].chain) {
      return { seq, what: `the pool signs another chain for number ${said.seq} of ${NAME[audience]}` };
    }
    this.#said.splice(at, 1);
    this.#met += 1;
    return null;
  }
}

const NAME = { all: "the whole log", public: "the public part", peers: "the part for peers" } as const;

/** The record's columns beside the event's own bytes. */
function differing(row: RecordedEvent, event: EventBody): string | null {
  if (row.type !== event.type) return "type";
  if (row.origin !== event.origin) return "origin";
  if (row.visibility !== event.visibility) return "visibility";
  const { physical_us, logical } = event.hlc;
  return row.hlc.physical_us === physical_us && row.hlc.logical === logical ? null : "time";
}

/** The whole log of a pool, page by page up to where it ended when this began: it may grow meanwhile. */
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
    // A page without events: the record ends here, whatever the pool says.
    if (page.events.length === 0 || page.next >= until) return walk.end();
    page = await client.verifyEvents(page.next);
  }
}
