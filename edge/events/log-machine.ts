import { GENESIS_CHAIN, nextChain } from "../../schema/crypto/signed-event.ts";
import type { Audience } from "../../schema/wire/events.ts";
import { type Clock, NEVER } from "./clock-rules.ts";

/**
 * The end of one audience of the log: the last number, the hash chain up to it, and our clock when the number was
 * given.
 */
export interface Head {
  readonly seq: number;
  /** Hex; 32 zero bytes for number 0. */
  readonly chain: string;
  readonly hlc: Clock;
}

/** Persisted contract: the state row of `EventLog`. */
export interface LogState {
  readonly logId: string;
  readonly heads: Readonly<Record<Audience, Head>>;
  readonly clock: Clock;
  /** The wall time that an admin last confirmed, in microseconds. Absent: never. */
  readonly confirmedUs?: number;
  /** The numbers after which this log starts for peers. Absent: it starts with the first event. */
  readonly starts?: Readonly<Record<"public" | "peers", number>>;
}

/** The number that peers see, from the number that the event has in storage. */
export function numberIn({ starts }: LogState, audience: Audience, seq: number): number {
  return audience === "all" ? seq : seq - (starts?.[audience] ?? 0);
}

/**
 * The state of a log that continues under a new name and is empty for peers, with `clock` as its clock. Earlier events
 * may have times so far in the future that a follower would stop at them. The whole log, which only the operator reads,
 * continues.
 */
export function startAnew({ heads }: LogState, logId: string, clock: Clock): LogState {
  const empty = ({ seq }: Head): Head => ({ seq, chain: GENESIS_CHAIN, hlc: NEVER });
  return {
    logId,
    heads: { all: heads.all, public: empty(heads.public), peers: empty(heads.peers) },
    clock,
    starts: { public: heads.public.seq, peers: heads.peers.seq },
  };
}

export type LogPosition = Pick<Head, "seq" | "chain">;

export interface Placed {
  state: LogState;
  /** The event's number and chain in each audience that it is part of. */
  places: Partial<Record<Audience, LogPosition>>;
}

/** Numbers start at 1, chains at 32 zero bytes (docs/spec/events.md#the-log). */
export function newLog(logId: string, clock: Clock = NEVER): LogState {
  const head: Head = { seq: 0, chain: GENESIS_CHAIN, hlc: NEVER };
  return { logId, heads: { all: head, public: head, peers: head }, clock };
}

/**
 * Appends one event to each of its audiences. `clock` is our clock after the event, from `clock-rules.ts`; it is never
 * earlier than the clock of the state.
 */
export function append(
  state: LogState,
  event: { contentId: string; audiences: readonly Audience[]; clock: Clock },
  sha256: (bytes: Uint8Array) => Uint8Array,
): Placed {
  const heads = { ...state.heads };
  const places: Placed["places"] = {};
  for (const audience of event.audiences) {
    const { seq, chain } = heads[audience];
    const place = { seq: seq + 1, chain: nextChain(chain, event.contentId, sha256) };
    places[audience] = place;
    heads[audience] = { ...place, hlc: event.clock };
  }
  return { state: { ...state, heads, clock: event.clock }, places };
}
