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
import { actionParams, actionType, requestId } from "./admin-requests.ts";
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
const ofPeer = z.strictObject({ peer });
const ofWorkerAndModel = z.strictObject({ worker: workerId, model: modelName });
/** SHA-256 of a salt and a person's text. The text and the salt are in a row that an admin can erase. */
const textHash = contentId.nullable();
/** A request between two admins. Its id is unique only together with the peer. */
const request = { peer, request_id: requestId };
const slashingId = z.string().max(LIMITS.slashingIdChars);
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
    /** Present if the bond is one-sided (docs/spec/federation.md#one-sided-bonds). */
    one_sided: z.literal(true).optional(),
  }),
  /** The circuit of a peer, or of a worker at a model. */
  circuit_opened: { visibility: "private", payload: z.union([ofPeer, ofWorkerAndModel]) },
  circuit_closed: { visibility: "private", payload: z.union([ofPeer, ofWorkerAndModel]) },
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

  // ---- private: requests between admins (docs/spec/federation.md#admin-requests)
  request_received: audit({
    ...request,
    action: actionType,
    params: actionParams,
    email_hash: textHash,
    /** The admin key that signed it; null for a read. */
    key_id: atomId.nullable(),
    status: z.enum(["pending", "blocked"]),
  }),
  /** Refused requests of one peer with one code, counted for `LIMITS.adminRefusalsMs`. */
  requests_refused: audit({ peer, code: z.string().max(64), count: z.int().positive(), since_ms: timeMs }),
  request_decided: audit({
    ...request,
    decision: z.enum(["approved", "rejected", "expired"]),
    /** Null: the time decided. */
    by: adminTokenId.nullable(),
    note_hash: textHash,
    /** Null unless the admin overrode the slashing guard: the slashing events that were open then. */
    overridden: z
      .array(z.strictObject({ slashing_id: slashingId, status: z.enum(["pending", "contested"]) }))
      .max(LIMITS.slashingOpen)
      .nullable(),
  }),
  request_executed: audit({ ...request, outcome: z.enum(["executed", "failed"]) }),
  request_called_back: audit({ ...request, outcome: z.enum(["delivered", "given-up"]) }),
  request_sent: audit({
    ...request,
    action: actionType,
    params: actionParams,
    by,
    email_hash: textHash,
    key_id: atomId.nullable(),
  }),
  /** The peer has answered our request, or will not answer any more. */
  request_answered: audit({
    ...request,
    status: z.enum(["pending", "blocked", "approved", "rejected", "expired", "executed", "failed", "refused"]),
    code: z.string().max(64).nullable(),
  }),
  /** An admin erased the texts of people that belong to a request or a ban. */
  texts_erased: audit({ of: z.union([z.strictObject(request), z.strictObject({ worker: workerId })]), by }),

  // ---- private: the operator's actions
  /** `peer`: whose admin's key it is; null for an admin of this pool. */
  admin_key_added: audit({ key_id: atomId, peer: atomId.nullable(), by }),
  admin_key_removed: audit({ key_id: atomId, peer: atomId.nullable(), by }),
  worker_banned: audit({ worker: workerId, by, note_hash: textHash }),
  worker_pardoned: audit({ worker: workerId, by }),
  /** `worker`: null for all workers. `request`: the request of a peer's admin; null if our admin did it. */
  circuits_reset: audit({
    worker: workerId.nullable(),
    by: adminTokenId.nullable(),
    request: z.strictObject(request).nullable(),
    circuits: z.int().nonnegative(),
    scores: z.int().nonnegative(),
  }),
  slashing_changed: audit({
    slashing_id: slashingId,
    worker: workerId.nullable(),
    status: z.enum(["pending", "contested", "settled", "dismissed"]),
    by,
  }),
  webhook_changed: audit({ by, is_set: z.boolean() }),
  /** A message for the operator's webhook could not be delivered. */
  webhook_given_up: audit({ message_id: z.string().max(128), reason: z.enum(["gone", "tries", "queue-full"]) }),
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
