import * as z from "zod";
import { LIMITS } from "./limits.ts";

/**
 * Events and checkpoints as they are signed and sent (docs/spec/events.md#events). Signatures cover the JCS of these
 * shapes; `schema/crypto/signed-event.ts` makes and checks them. The types that this pool writes are in
 * `event-registry.ts`.
 */
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
export const atomId = hex(32);
export const contentId = hex(32);
export const logId = hex(16);
const publicKey = hex(32);
const signature = hex(64);

/**
 * Who may see an event. `private`: only our admins. `direct`: the peer in `payload.peer`. `peers`: peers at trust 3 or
 * more. `public`: peers at trust 2 or more.
 */
export const visibility = z.enum(["private", "direct", "peers", "public"]);
export type Visibility = z.infer<typeof visibility>;

/** Each audience has its own numbers and chain. `all` is the operator's whole log, which no peer may read. */
export const audience = z.enum(["all", "public", "peers"]);
export type Audience = z.infer<typeof audience>;

/** An unknown type is not an error: a newer pool may have written it. */
export const eventType = z.string().regex(new RegExp(`^[a-z][a-z0-9_]{0,${LIMITS.eventTypeChars - 1}}$`));

export const hybridTime = z.strictObject({
  physical_us: z.int().nonnegative(),
  logical: z.int().nonnegative().max(LIMITS.clockLogicalMax),
});
export type HybridTime = z.infer<typeof hybridTime>;

/** `node_id` is the first 8 bytes of the origin's public key. */
const hlc = hybridTime.extend({ node_id: hex(8) });

export const eventBody = z
  .strictObject({
    v: z.literal(1),
    type: eventType,
    origin: atomId,
    visibility,
    /** Bounded by the size of the whole event. */
    payload: z.record(z.string(), z.unknown()),
    hlc,
  })
  .refine((event) => event.visibility !== "direct" || atomId.safeParse(event.payload.peer).success, {
    error: "the payload of a direct event must name its peer",
    path: ["payload", "peer"],
  });
export type EventBody = z.infer<typeof eventBody>;

const BASE64_CHARS_OF_EVENT = 4 * Math.ceil(LIMITS.eventBytes / 3);

/** An event on the wire. */
export const signedEvent = z.strictObject({
  event_bytes: z.string().min(1).max(BASE64_CHARS_OF_EVENT),
  origin_pubkey: publicKey,
  signature,
  content_id: contentId,
});
export type SignedEvent = z.infer<typeof signedEvent>;

/**
 * A pool's statement about an audience at one number. `hlc` is the pool's clock when it took the event of that number, so an
 * honest pool signs the same bytes each time. Two different statements about one number prove equivocation.
 */
export const checkpoint = z.strictObject({
  v: z.literal(1),
  type: z.literal("checkpoint"),
  origin: atomId,
  log_id: logId,
  audience,
  seq: z.int().nonnegative(),
  chain: hex(32),
  hlc,
});
export type Checkpoint = z.infer<typeof checkpoint>;

export const signedCheckpoint = z.strictObject({ checkpoint, origin_pubkey: publicKey, signature });
export type SignedCheckpoint = z.infer<typeof signedCheckpoint>;

// ---- between pools (docs/spec/events.md#sync)

/** The audiences that a peer may follow. */
export const peerAudience = audience.exclude(["all"]);
export type PeerAudience = z.infer<typeof peerAudience>;

/** How often an event may still be relayed. The receiver clamps it. */
const ttl = z.int().nonnegative();

export const pushBody = z.strictObject({
  events: z
    .array(z.strictObject({ event: signedEvent, ttl }))
    .min(1)
    .max(LIMITS.eventsPerPush),
});
export type PushBody = z.infer<typeof pushBody>;

export const pushAnswer = z.strictObject({
  /** Includes events that the receiver holds until its clock reaches them. */
  accepted: z.int().nonnegative(),
  duplicates: z.int().nonnegative(),
  rejected: z.int().nonnegative(),
  /** An unknown code comes from a newer pool. */
  errors: z
    .array(z.strictObject({ content_id: z.string().max(64), code: z.string().regex(/^events\/[a-z-]{1,64}$/) }))
    .max(LIMITS.eventsPerPush),
  receiver_hlc: hybridTime,
  receiver_head_seq: z.int().nonnegative(),
});
export type PushAnswer = z.infer<typeof pushAnswer>;

export const pullQuery = z.strictObject({
  audience: peerAudience.default("public"),
  since: z.coerce.number().int().nonnegative().default(0),
  limit: z.coerce.number().int().positive().max(LIMITS.eventsPerPull).default(LIMITS.eventsPerPull),
});

/** A stream is limited by its time only. */
export const streamQuery = pullQuery.omit({ limit: true });

/** One event of a page or of a stream. */
export const pulledEvent = z.strictObject({ seq: z.int().positive(), event: signedEvent, ttl });
export type PulledEvent = z.infer<typeof pulledEvent>;

export const pullAnswer = z.strictObject({
  events: z.array(pulledEvent).max(LIMITS.eventsPerPull),
  /** The last number of the page; equal to `since` if there is nothing more. */
  next: z.int().nonnegative(),
  head: z.int().nonnegative(),
  checkpoint: signedCheckpoint,
});
export type PullAnswer = z.infer<typeof pullAnswer>;

// ---- the operator's side: `/admin/api/events`

/** The query of a page or a stream. Without `since`: the newest page, or a stream from now on. */
export const eventsQuery = z.strictObject({
  audience: audience.default("all"),
  since: z.coerce.number().int().nonnegative().optional(),
  limit: z.coerce.number().int().positive().max(LIMITS.eventsPerPull).default(50),
});

export const sequencedEvent = z.strictObject({ seq: z.int(), event: signedEvent, ttl: z.int() });

export const eventsPage = z.strictObject({
  events: z.array(sequencedEvent),
  next: z.int(),
  head: z.int(),
  checkpoint: signedCheckpoint,
});

/** A row of the record. It is not validated yet, not even the shape of its event. */
export const recordedEvent = z.strictObject({
  seq: z.int(),
  public_seq: z.int().nullable(),
  peers_seq: z.int().nullable(),
  chain: z.string(),
  type: z.string(),
  origin: z.string(),
  visibility: z.string(),
  hlc: z.strictObject({ physical_us: z.number(), logical: z.number() }),
  event: z.strictObject({
    event_bytes: z.string(),
    origin_pubkey: z.string(),
    signature: z.string(),
    content_id: z.string(),
  }),
});
export type RecordedEvent = z.infer<typeof recordedEvent>;

export const verifyPage = z.strictObject({
  /** Atom id of the pool whose log it is. */
  origin: atomId,
  /** The pool's current checkpoint of each audience. */
  checkpoints: z.array(z.unknown()),
  events: z.array(recordedEvent),
  /** Checkpoints of the whole log that the pool kept, for numbers of this page. */
  kept: z.array(z.unknown()),
  next: z.int(),
  /** The numbers after which the log starts for peers; absent if it starts with the first event. */
  starts: z.strictObject({ public: z.int().nonnegative(), peers: z.int().nonnegative() }).optional(),
});
