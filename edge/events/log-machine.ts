import { GENESIS_CHAIN, nextChain } from "../../schema/crypto/signed-event.ts";
import type { Audience } from "../../schema/wire/events.ts";
import { type Clock, NEVER } from "./clock-rules.ts";

/** Where an audience stands: its last number, the chain up to it, and our clock when it was given. */
export interface Head {
  readonly seq: number;
  /** Hex; of number 0 it is 32 zero bytes. */
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
  /** The numbers after which this log begins for peers, where it left earlier events behind. Absent: from the first. */
  readonly starts?: Readonly<Record<"public" | "peers", number>>;
}

/** The number in an audience that this log says, of the number that the event has for good. */
export function numberIn({ starts }: LogState, audience: Audience, seq: number): number {
  return audience === "all" ? seq : seq - (starts?.[audience] ?? 0);
}

/**
 * A log under a new name that begins anew for peers, and whose clock is `clock`: what was said before may be of a time
 * that no peer believes, and a follower would stop at it. The operator's whole log goes on.
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

/** docs/spec/events.md#events: numbers begin at 1, chains at 32 zero bytes. */
export function newLog(logId: string, clock: Clock = NEVER): LogState {
  const head: Head = { seq: 0, chain: GENESIS_CHAIN, hlc: NEVER };
  return { logId, heads: { all: head, public: head, peers: head }, clock };
}

/**
 * Takes one event at the end of each of its audiences. Pure: the hash comes in. `clock` is ours after the event, and
 * never earlier than the state's: whoever calls has it from `clock-rules.ts`.
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
