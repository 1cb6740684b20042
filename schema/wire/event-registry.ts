/**
 * The registry of events: every type that this pool writes, who may see it, and the schema of its payload.
 *
 * To add a type:
 * 1. Add an entry to `EVENTS`. A private type is `audit({ … })`.
 * 2. Add an example to `PAYLOADS` in `test/unit/wire/event-registry.test.ts`. The compiler asks for it.
 * 3. Put `draft("the_type", payload)` into the outbox of the object that decides, in the transaction of the decision. An
 *    object without an outbox first needs a table name in `edge/record/event-outbox.ts`.
 * 4. A type that peers can see also needs an example in FEDERATION.md. A test asks for it.
 *
 * Readers do not use this file to refuse anything: the log of an earlier release and the logs of peers hold types and
 * payloads that it does not describe (docs/spec/events.md#events).
 */
import * as z from "zod";
import { changePoolBody } from "./admin-api.ts";
import { recordTable } from "./backup.ts";
import { atomId, contentId, logId, peerAudience, signedCheckpoint, type Visibility } from "./events.ts";
import { federationPolicy, grantableLevel, grantPayload, trustLevel } from "./federation.ts";
import { LIMITS } from "./limits.ts";
import { modelName } from "./worker-frames.ts";

interface EventDefinition<V extends Visibility, Payload extends z.ZodType> {
  readonly visibility: V;
  readonly payload: Payload;
}

type Members = Readonly<Record<string, z.ZodType>>;

/** An entry of this pool's audit: no peer ever sees it. */
const audit = <const M extends Members>(members: M): EventDefinition<"private", z.ZodObject<M, z.core.$strict>> => ({
  visibility: "private",
  payload: z.strictObject(members),
});

/** For peers whose effective trust is 3 or more. FEDERATION.md shows an example of each. */
const forPeers = <const M extends Members>(members: M): EventDefinition<"peers", z.ZodObject<M, z.core.$strict>> => ({
  visibility: "peers",
  payload: z.strictObject(members),
});

/** `admin` for the bootstrap token; an imported row may carry an id that this pool did not mint. */
const adminTokenId = z.string().max(LIMITS.adminTokenIdChars);
/** A worker's id is the hash of its public key, like a pool's. */
const workerId = atomId;
const timeMs = z.int().nonnegative();
const peer = atomId;
const by = adminTokenId;
/** Null: the pool's policy decided, not an admin. */
const byAdminOrPolicy = adminTokenId.nullable();

const settingsChanged = z.strictObject({
  by,
  /** Which settings changed. Their values stay out of the log: a name or a description may be personal data. */
  settings: z.array(changePoolBody.keyof()).max(Object.keys(changePoolBody.shape).length),
  defaults: changePoolBody.shape.defaults,
});
/** The switches that changed, with their new values. */
const switchesChanged = z.strictObject({ by, federation: federationPolicy.partial() });

export const EVENTS = {
  // ---- shared with peers
  trust_granted: { visibility: "direct", payload: grantPayload },
  worker_joined: forPeers({ worker: workerId, models: z.array(modelName).max(LIMITS.modelsPerWorker) }),
  worker_left: forPeers({ worker: workerId }),

  // ---- private: peers
  /** A peer has proved its key and is known now. */
  peer_handshake: audit({ peer, by: byAdminOrPolicy }),
  /** `from` and `to`: what we grant, null for a removed peer; `received`: what the peer grants us. */
  trust_changed: audit({
    peer,
    by: byAdminOrPolicy,
    from: grantableLevel,
    to: grantableLevel.nullable(),
    received: trustLevel,
  }),
  circuit_opened: audit({ peer }),
  circuit_closed: audit({ peer }),
  delivery_given_up: audit({ peer, content_id: contentId, reason: z.enum(["gone", "tries", "queue-full"]) }),
  /** Two signed checkpoints of one place in the peer's log that differ. */
  peer_equivocated: audit({ peer, audience: peerAudience, checkpoints: z.array(signedCheckpoint).max(2) }),
  peer_unfollowable: audit({
    peer,
    audience: peerAudience,
    reason: z.enum([
      "equivocation",
      "new-log",
      "out-of-step",
      "rolled-back",
      "chain-mismatch",
      "malformed",
      "quota-spent",
    ]),
    since_ms: timeMs,
  }),

  // ---- private: the operator's actions
  policy_changed: { visibility: "private", payload: z.union([settingsChanged, switchesChanged]) },
  admin_created: audit({ admin: adminTokenId, by }),
  admin_rotated: audit({ admin: adminTokenId, replaces: adminTokenId, by }),
  admin_revoked: audit({ admin: adminTokenId, by }),
  record_imported: audit({
    by,
    table: recordTable,
    rows: z.int().nonnegative().max(LIMITS.backupPageRows),
    outcome: z.enum(["taken", "refused"]),
  }),

  // ---- private: the log itself
  log_started: audit({
    by,
    log_id: logId,
    before: logId,
    /** Present where the log starts again for peers: the numbers of the events that it leaves behind. */
    starts: z.strictObject({ public: z.int().nonnegative(), peers: z.int().nonnegative() }).optional(),
  }),
  clock_confirmed: audit({
    by,
    refused: z.enum(["pool/clock-jumped", "pool/clock-ahead"]).nullable(),
    last_ms: timeMs,
    now_ms: timeMs,
    peers_ahead: z.array(atomId).max(LIMITS.clockWitnessesLogged),
  }),
} as const satisfies Record<string, EventDefinition<Visibility, z.ZodType>>;

/**
 * Types that the existing network has and this pool does not write. This pool accepts them from peers, as it accepts
 * any unknown type.
 */
export const ACCEPTED_ONLY = ["overview", "peer_status"] as const;

export type EventType = keyof typeof EVENTS;
export type EventPayload<Type extends EventType> = z.infer<(typeof EVENTS)[Type]["payload"]>;

declare const isChecked: unique symbol;

/** An event of this pool before it gets its time and signature. Only `draft` makes one. */
export interface EventDraft<Type extends EventType = EventType> {
  readonly type: Type;
  readonly visibility: Visibility;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly [isChecked]: true;
}

/**
 * Makes a draft. The compiler and the schema both check the payload. Throws TypeError for a payload that its schema
 * refuses, which is a bug of the writer. A payload must not contain anything that must be erasable by law
 * (docs/spec/events.md#events).
 */
export function draft<const Type extends EventType>(type: Type, payload: EventPayload<Type>): EventDraft<Type> {
  const { visibility, payload: schema } = EVENTS[type];
  const checked = schema.safeParse(payload);
  if (!checked.success) throw new TypeError(`not a payload of ${type}: ${checked.error.issues[0]?.path.join(".")}`);
  return { type, visibility, payload: checked.data } as unknown as EventDraft<Type>;
}
