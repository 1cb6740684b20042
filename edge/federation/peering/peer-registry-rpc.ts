/** The interfaces of `PeerRegistry`, one for each group of callers, and the shapes that cross them. */
import type { PeerRow } from "../../../schema/db/peers.ts";
import type { PeerAudience } from "../../../schema/wire/events.ts";
import type { TrustLevel } from "../../../schema/wire/federation.ts";
import type { CellStep } from "../../limits/gcra-rules.ts";
import type { HeldRecords } from "../../record/record-outbox.ts";
import type { Unavailability } from "../delivery/availability-rules.ts";
import type { RegistrationStep, UsedChallenge } from "./registration-rules.ts";

/** A peer, with the values by which the registry counts it. */
export interface Member {
  atomId: string;
  granted: number;
  addedAtMs: number;
  keptByAdmin: boolean;
}

/** Persisted contract: the status of a peer, as its `Bond` last reported it. */
export interface PeerStatus {
  effective: TrustLevel;
  circuit: PeerRow["circuit"];
  /** Messages that wait for the peer. */
  deliveries: number;
  /** Messages that were given up since the peer's `Bond` was made. */
  givenUp: number;
  /** Since when the oldest of these messages waits, epoch ms. Absent in what an older version stored. */
  waitingSinceMs?: number | null;
  /** Why the peer is unavailable; null while it is available. Absent in what an older version stored. */
  absence?: Unavailability | null;
  /** Whether the peer refuses all our requests. Absent in what an older version stored. */
  hasRevokedUs?: boolean;
  /** Events of this `Bond` that our log does not have yet. The field name is stored. */
  untold: number;
  /** Rows that D1 does not have yet, and rows that it refused. */
  records: HeldRecords;
  /** Known events of the peer's log that are not here yet. */
  behind: Record<PeerAudience, number>;
  /** The peer's log could not be followed for so long that our admin was notified. Absent in what an older version stored. */
  isUnfollowable?: boolean;
}

/** All peers together. */
export interface Census {
  /** How many peers have each effective trust. */
  trust: Record<"0" | "1" | "2" | "3", number>;
  circuits: Record<PeerRow["circuit"], number>;
  deliveries: number;
  /** Of all peers, removed ones too. */
  givenUp: number;
  untold: number;
  records: HeldRecords;
  behind: Record<PeerAudience, number>;
  /** Atom ids of the peers whose logs could not be followed for a while. */
  unfollowable: string[];
  /** Refused requests, by reason or code. */
  refused: Record<string, number>;
}

export type RegistryEntry =
  | { ok: true; evict: string | null; isNew: boolean }
  | Exclude<RegistrationStep, { ok: true }>
  | { ok: false; code: "federation/too-many-peers" };

/** The routes of registration, for a pool that has proved its key. */
export interface RegistryForRegistrations extends Rpc.DurableObjectBranded {
  register(atomId: string, challenge: UsedChallenge): RegistryEntry;
  /** Frees the place of a pool whose registration failed afterwards. */
  forget(atomId: string): void;
}

/** The bond of a peer. */
export interface RegistryForBonds extends Rpc.DurableObjectBranded {
  claimPlace(atomId: string, maxPeers: number): boolean;
  takeStrangerGrant(isFirst: boolean): CellStep;
  note(member: Member, status: PeerStatus): void;
  leave(atomId: string, status: PeerStatus): void;
  forget(atomId: string): void;
}

/** Every route of peers: the metrics of refused requests. */
export interface RegistryForRefusals extends Rpc.DurableObjectBranded {
  countRefusals(refusals: ReadonlyMap<string, number>): void;
}

/** Status, metrics, `pool doctor`, and the list of peers. */
export interface RegistryForReaders extends Rpc.DurableObjectBranded {
  census(): Census;
  /** By atom id. */
  statuses(): Record<string, PeerStatus>;
}

export interface PeerRegistryRpc
  extends RegistryForRegistrations,
    RegistryForBonds,
    RegistryForRefusals,
    RegistryForReaders {}
