import * as z from "zod";
import { LIMITS } from "./limits.ts";

/** Events and checkpoints (docs/spec/events.md#events). What is signed is the JCS of these; `schema/crypto/signed-event.ts` checks that. */
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
export const atomId = hex(32);
export const contentId = hex(32);
export const logId = hex(16);
const publicKey = hex(32);
const signature = hex(64);

/** `private`: our audit. `direct`: the peer in `payload.peer`. `peers`: trust 3 and up. `public`: trust 2 and up. */
export const visibility = z.enum(["private", "direct", "peers", "public"]);
export type Visibility = z.infer<typeof visibility>;

/** Each has a sequence and a chain of its own; `all` is the operator's whole log and no peer's. */
export const audience = z.enum(["all", "public", "peers"]);
export type Audience = z.infer<typeof audience>;

/** A type that we do not know is data of a pool that is newer than this one, not an error. */
const eventType = z.string().regex(new RegExp(`^[a-z][a-z0-9_]{0,${LIMITS.eventTypeChars - 1}}$`));

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
    /** Bounded by the bytes of the whole event. */
    payload: z.record(z.string(), z.unknown()),
    hlc,
  })
  .refine((event) => event.visibility !== "direct" || atomId.safeParse(event.payload.peer).success, {
    error: "a direct event names its peer",
    path: ["payload", "peer"],
  });
export type EventBody = z.infer<typeof eventBody>;

const BASE64_CHARS_OF_EVENT = 4 * Math.ceil(LIMITS.eventBytes / 3);

/** An event as it travels. */
export const signedEvent = z.strictObject({
  event_bytes: z.string().min(1).max(BASE64_CHARS_OF_EVENT),
  origin_pubkey: publicKey,
  signature,
  content_id: contentId,
});
export type SignedEvent = z.infer<typeof signedEvent>;

/**
 * What a pool says of an audience at one sequence number. `hlc` is its clock when it took the event of that number, so
 * that an honest pool says the same bytes each time; two different ones prove that it told two stories.
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

/** What a peer may follow. */
export const peerAudience = audience.exclude(["all"]);
export type PeerAudience = z.infer<typeof peerAudience>;

/** What a peer says may still be done with an event; whoever takes it clamps it. */
const ttl = z.int().nonnegative();

export const pushBody = z.strictObject({
  events: z
    .array(z.strictObject({ event: signedEvent, ttl }))
    .min(1)
    .max(LIMITS.eventsPerPush),
});
export type PushBody = z.infer<typeof pushBody>;

export const pushAnswer = z.strictObject({
  /** Taken, those that wait for the receiver's clock too. */
  accepted: z.int().nonnegative(),
  duplicates: z.int().nonnegative(),
  rejected: z.int().nonnegative(),
  /** A code that we do not know is a newer pool's. */
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

/** A stream has no limit but its time. */
export const streamQuery = pullQuery.omit({ limit: true });

/** What a stream carries, an event of it each. */
export const pulledEvent = z.strictObject({ seq: z.int().positive(), event: signedEvent, ttl });
export type PulledEvent = z.infer<typeof pulledEvent>;

export const pullAnswer = z.strictObject({
  events: z.array(pulledEvent).max(LIMITS.eventsPerPull),
  /** The last number of the page; as asked for when there is nothing more. */
  next: z.int().nonnegative(),
  head: z.int().nonnegative(),
  checkpoint: signedCheckpoint,
});
export type PullAnswer = z.infer<typeof pullAnswer>;

// ---- the operator's side: `/admin/api/events`

/** Of a list or a stream; without `since` the newest. */
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

/** A row of the record, of which nothing is believed: not even that its event has the right shape. */
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
  /** What the pool says of each audience now. */
  checkpoints: z.array(z.unknown()),
  events: z.array(recordedEvent),
  /** What it once said of its whole log, for numbers of this page. */
  kept: z.array(z.unknown()),
  next: z.int(),
  /** The numbers after which the log begins for peers, where it left earlier events behind. */
  starts: z.strictObject({ public: z.int().nonnegative(), peers: z.int().nonnegative() }).optional(),
});
