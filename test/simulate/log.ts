import { createHash } from "node:crypto";
import { type Clock, tick } from "../../edge/events/clock-rules.ts";
import { append, type LogState, newLog, type Placed } from "../../edge/events/log-machine.ts";
import { type ReceiveResult, receiveEvent } from "../../edge/events/receive-rules.ts";
import { audiencesOf, mayRelay } from "../../edge/events/visibility-rules.ts";
import {
  type Audience,
  audience,
  type EventBody,
  type PeerAudience,
  type PullAnswer,
  type SignedCheckpoint,
  type SignedEvent,
  type Visibility,
} from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

export const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();
export const sha256Hex = (text: string): string => createHash("sha256").update(text).digest("hex");

/** How other pools know a pool. */
export interface Identity {
  name: string;
  atomId: string;
  publicKey: string;
}

export interface Draft {
  type: string;
  visibility: Visibility;
  payload: EventBody["payload"];
  /** The log appends one event for each key. */
  key?: string;
}

export interface Drafted {
  draft: Draft;
  wire: SignedEvent;
  body: EventBody;
  /** How many events the log had at that time. The draft is later than all of them. */
  knownEvents: number;
}

export interface Entry {
  wire: SignedEvent;
  body: EventBody;
  ttl: number;
  places: Placed["places"];
  /** For an event of another pool: the ttl in the message that it arrived with. */
  incomingTtl: number | null;
  knownEvents: number;
}

export interface SentEvent {
  wire: SignedEvent;
  ttl: number;
  from: string;
}

/** Every event that was ever drafted, by content id. Stands for valid signatures. */
export type Bodies = Map<string, EventBody>;

/**
 * An `EventLog` in memory. A commit is atomic. A crash loses the clock readings since the last commit. Hashes and chains
 * are real; there are no signatures.
 */
export class SimLog {
  readonly identity: Identity;
  readonly entries: Entry[] = [];
  readonly #bodies: Bodies;
  readonly #byId = new Map<string, Entry>();
  readonly #byKey = new Map<string, Entry>();
  readonly #byAudience: Record<Audience, Entry[]> = { all: [], public: [], peers: [] };
  held = new Map<string, { sent: SentEvent; dueUs: number }>();
  state: LogState;
  #clock: Clock;

  constructor(identity: Identity, logId: string, bodies: Bodies) {
    this.identity = identity;
    this.#bodies = bodies;
    this.state = newLog(logId);
    this.#clock = this.state.clock;
  }

  crash(): void {
    this.#clock = this.state.clock;
  }

  /** Starts a log with a new name and the first `keep` events. Returns the lost events. */
  restore(keep: number, logId: string): string[] {
    const entries = this.entries.splice(0);
    const lost = [...entries.splice(keep).map(({ wire }) => wire.content_id), ...this.held.keys()];
    this.held.clear();
    this.#byId.clear();
    for (const [key, { wire }] of this.#byKey) if (lost.includes(wire.content_id)) this.#byKey.delete(key);
    for (const of of audience.options) this.#byAudience[of].length = 0;
    // No need to `adopt` the kept events: the clock is later than all of them.
    this.state = newLog(logId, this.state.clock);
    for (const { places, ...entry } of entries) this.#add(entry, Object.keys(places) as Audience[]);
    return lost;
  }

  has(contentId: string): boolean {
    return this.#byId.has(contentId);
  }

  entry(contentId: string): Entry | undefined {
    return this.#byId.get(contentId);
  }

  /** Gives each draft its time, in order. Commits nothing. */
  draft(drafts: readonly Draft[], wallUs: number): Drafted[] {
    const { atomId, publicKey } = this.identity;
    return drafts.map((draft) => {
      this.#clock = tick(this.#clock, wallUs);
      const hlc = { ...this.#clock, node_id: publicKey.slice(0, 16) };
      const { type, visibility, payload } = draft;
      const body: EventBody = { v: 1, type, visibility, payload, origin: atomId, hlc };
      const wire: SignedEvent = {
        event_bytes: "AAAA",
        origin_pubkey: publicKey,
        signature: "",
        content_id: sha256Hex(JSON.stringify(body)),
      };
      this.#bodies.set(wire.content_id, body);
      return { draft, wire, body, knownEvents: this.entries.length };
    });
  }

  commit(drafted: readonly Drafted[]): Entry[] {
    const entries = drafted.map(({ draft: { key }, wire, body, knownEvents }) => {
      const known = key === undefined ? undefined : this.#byKey.get(key);
      if (known !== undefined) return known;
      const ours = { visibility: body.visibility, ours: true };
      const ttl = mayRelay(ours, LIMITS.eventTtl) ? LIMITS.eventTtl : 0;
      const entry = this.#add({ wire, body, ttl, incomingTtl: null, knownEvents }, audiencesOf(ours, ttl));
      if (key !== undefined) this.#byKey.set(key, entry);
      return entry;
    });
    this.#save();
    return entries;
  }

  take(events: readonly SentEvent[], wallUs: number): ReceiveResult[] {
    const results = events.map((sent) => this.#take(sent, wallUs));
    this.#save();
    return results;
  }

  /** Takes the held events that are due. */
  release(wallUs: number): void {
    const due = [...this.held.values()].filter(({ dueUs }) => dueUs <= wallUs).sort((a, b) => a.dueUs - b.dueUs);
    for (const { sent } of due) this.held.delete(sent.wire.content_id);
    this.take(
      due.map(({ sent }) => sent),
      wallUs,
    );
  }

  read(of: PeerAudience, since: number, limit: number): PullAnswer {
    const entries = this.#byAudience[of].slice(since, since + limit);
    const events = entries.map(({ wire, ttl, places }) => ({ seq: places[of]?.seq ?? 0, event: wire, ttl }));
    const next = events.at(-1)?.seq ?? since;
    return { events, next, head: this.state.heads[of].seq, checkpoint: this.#checkpoint(of) };
  }

  of(audience: Audience): readonly Entry[] {
    return this.#byAudience[audience];
  }

  #checkpoint(of: PeerAudience): SignedCheckpoint {
    const { atomId, publicKey } = this.identity;
    const { seq, chain, hlc: at } = this.state.heads[of];
    const hlc = { ...at, node_id: publicKey.slice(0, 16) };
    const { logId: log_id } = this.state;
    return {
      checkpoint: { v: 1, type: "checkpoint", origin: atomId, log_id, audience: of, seq, chain, hlc },
      origin_pubkey: publicKey,
      signature: "",
    };
  }

  #heldOf(from: string): number {
    return [...this.held.values()].filter(({ sent }) => sent.from === from).length;
  }

  #take(sent: SentEvent, wallUs: number): ReceiveResult {
    const { wire, ttl, from } = sent;
    const { content_id } = wire;
    if (this.#byId.has(content_id) || this.held.has(content_id)) return { ok: true, content_id, outcome: "duplicate" };
    const body = this.#bodies.get(content_id);
    if (body === undefined) throw new Error(`no pool has written ${content_id}`);
    const log = {
      self: this.identity.atomId,
      held: () => ({ all: this.held.size, ofSender: this.#heldOf(sent.from) }),
    };
    const step = receiveEvent(this.#clock, { event: body, ttl, from }, log, wallUs);
    switch (step.outcome) {
      case "refused":
        return { ok: false, content_id, code: step.code };
      case "held":
        this.held.set(content_id, { sent, dueUs: step.dueUs });
        return { ok: true, content_id, outcome: "held" };
      case "accepted":
        this.#clock = step.clock;
        this.#add({ wire, body, ttl: step.ttl, incomingTtl: ttl, knownEvents: 0 }, step.audiences);
        return { ok: true, content_id, outcome: "accepted" };
      default:
        return step satisfies never;
    }
  }

  #add(entry: Omit<Entry, "places">, audiences: readonly Audience[]): Entry {
    const contentId = entry.wire.content_id;
    const { state, places } = append(this.state, { contentId, audiences, clock: this.#clock }, sha256);
    this.state = state;
    const added = { ...entry, places };
    this.entries.push(added);
    this.#byId.set(contentId, added);
    for (const of of audiences) this.#byAudience[of].push(added);
    return added;
  }

  #save(): void {
    this.state = { ...this.state, clock: this.#clock };
  }
}
