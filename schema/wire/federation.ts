import * as z from "zod";
import { atomId, hybridTime, signedCheckpoint } from "./events.ts";
import { LIMITS } from "./limits.ts";
import { unicodeText } from "./worker-frames.ts";

/**
 * What pools say to one another (docs/spec/federation.md#endpoints), and an operator of peers. Our own shapes are strict; those that the existing
 * network shares (info, handshake, verify, molecule) drop members they do not know, since its pools add some.
 */
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const publicKey = hex(32);
const base64Signature = z.string().regex(/^[A-Za-z0-9+/]{86}==$/);
/** Exactly 32 bytes. */
const challengeBase64 = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);

/** Shown in tables and terminals: no control characters, no bidirectional overrides. */
const peerName = unicodeText
  .min(1)
  .max(LIMITS.peerNameChars)
  .regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u);

/** Of a pool that nobody named. */
export const UNNAMED_POOL = "Ligand pool";

/** What an operator calls the pool: as a card may say it, and without blanks around it. */
export const poolName = peerName.regex(/^\S(?:.*\S)?$/su);

/** What a pool was called before there was that rule, by it. */
export function poolNameOf(text: string): string {
  const name = text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, " ")
    .trim()
    .slice(0, LIMITS.peerNameChars)
    .toWellFormed()
    .trim();
  return name === "" ? UNNAMED_POOL : name;
}

/** `listed` lets a peer's peers be told of it. */
export const LISTED = "listed";
const capability = z
  .string()
  .max(LIMITS.capabilityChars)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/);
const capabilities = z.array(capability).max(LIMITS.capabilities);
/** The existing network's are objects too, which tell us nothing. */
const foreignCapabilities = z
  .array(z.unknown())
  .max(LIMITS.moleculePeers)
  .transform((given) => given.flatMap((one) => capability.safeParse(one).data ?? []).slice(0, LIMITS.capabilities));

/**
 * An origin in the WHATWG URL's one spelling: it has no path, query, fragment or credentials, and no host in capitals,
 * as a number or with its default port.
 */
export const peerUrl = z.string().max(LIMITS.peerUrlChars).refine(isPeerUrl, "must be the origin of an http(s) URL");

function isPeerUrl(text: string): boolean {
  return normalisedPeerUrl(text) === text;
}

/** What a person typed, or another network's card says, as an origin; null for what is none. */
export function normalisedPeerUrl(text: string): string | null {
  if (text.length > LIMITS.peerUrlChars || !/^https?:\/\//i.test(text)) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  // An empty query or fragment shows only in the href.
  return url !== null && url.href === `${url.origin}/` ? url.origin : null;
}

/** docs/spec/federation.md#delivery: plain http only where private peers are allowed. Where the name leads is the network binding's to say. */
export function isAllowedPeerUrl(url: string, allowPrivatePeers: boolean): boolean {
  return isPeerUrl(url) && (allowPrivatePeers || url.startsWith("https:"));
}

const foreignUrl = z.string().transform((text, context) => {
  const url = normalisedPeerUrl(text);
  if (url === null) context.addIssue({ code: "custom", message: "must be the origin of an http(s) URL" });
  return url ?? z.NEVER;
});

/** What a peer refuses with: of its words we need only know that they are an error's. */
export const peerError = z.object({ error: z.object({ code: z.string().regex(/^[a-z][a-z0-9_]{0,63}$/) }) });

// ---- Registration (docs/spec/federation.md#registration)

/** docs/spec/identity.md#tiers, from the weakest to the strongest. */
export const authTier = z.enum(["oauth-verified", "device-bound", "hardware-attested"]);
export type AuthTier = z.infer<typeof authTier>;

/** Hashed and signed as JCS: nothing here may change what was received. */
export const card = z.strictObject({
  atom_id: atomId,
  public_key: publicKey,
  name: peerName,
  url: peerUrl,
  auth_tier: authTier,
  capabilities,
});
export type Card = z.infer<typeof card>;

/** A's: 32 random bytes. */
const initiatorChallenge = hex(32);
/** B's: opaque to A. */
const responderChallenge = z
  .string()
  .min(64)
  .max(LIMITS.registrationChallengeChars)
  .regex(/^(?:[0-9a-f]{2})*$/);

export const registerBody = z.strictObject({ card, challenge: initiatorChallenge });
export const registerAnswer = z.strictObject({ card, challenge: responderChallenge, proof: base64Signature });
export const confirmBody = z.strictObject({ card, challenge: responderChallenge, proof: base64Signature });
export const confirmAnswer = z.strictObject({ status: z.literal("registered") });

// ---- What the existing network has (docs/spec/federation.md#endpoints)

const moleculeId = z.string().max(LIMITS.peerNameChars).nullish().default(null);

/** `GET /v1/federation/info`, as read from any pool. Ours is a `satisfies IdentityCard`. */
export const identityCard = z.object({
  mode: z.string().max(LIMITS.capabilityChars),
  atom_id: atomId,
  name: peerName,
  pubkey_hex: publicKey,
  url: foreignUrl,
  molecule_id: moleculeId,
  capabilities: foreignCapabilities,
  hop_max: z.int().nonnegative(),
  nonce_window_sec: z.int().nonnegative(),
  schema: z.int().nonnegative(),
  /** Absent: the pool signs version 1. */
  sig_versions: z.array(z.int()).max(16).optional(),
});
export type IdentityCard = z.infer<typeof identityCard>;

export const handshakeBody = z.object({
  atom_id: atomId,
  name: peerName,
  pubkey_hex: publicKey,
  url: foreignUrl,
  molecule_id: moleculeId,
  capabilities: foreignCapabilities.default([]),
  request_reciprocation: z.boolean().default(false),
});
export const handshakeAnswer = z.object({
  ok: z.literal(true),
  peer_trust_level: z.int().nonnegative(),
  signature_verified: z.boolean(),
  reciprocation_scheduled: z.boolean(),
  already_known: z.boolean(),
  self: identityCard,
});
export type HandshakeAnswer = z.infer<typeof handshakeAnswer>;

export const verifyBody = z.object({ atom_id: atomId, challenge_b64: challengeBase64 });
export const verifyAnswer = z.object({ signed_response_b64: base64Signature });

const moleculePeer = z.object({
  atom_id: atomId,
  name: peerName,
  url: foreignUrl,
  molecule_id: moleculeId,
  capabilities: foreignCapabilities,
  /** ISO 8601; null of the pool itself. */
  last_seen: z.string().max(64).nullable(),
});
export const moleculeAnswer = z.object({
  mode: z.string().max(LIMITS.capabilityChars),
  molecule_id: moleculeId,
  self: moleculePeer,
  trusted_peers: z.array(moleculePeer).max(LIMITS.moleculePeers),
});
export type MoleculeAnswer = z.infer<typeof moleculeAnswer>;

// ---- Trust (docs/spec/federation.md#trust)

/** 4 is settlement's, which nobody can be granted yet; a peer may claim it. */
export const trustLevel = z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3), z.literal(4)]);
export type TrustLevel = z.infer<typeof trustLevel>;

/** What our admin can grant. */
export const grantableLevel = z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3)]);
export type GrantableLevel = z.infer<typeof grantableLevel>;

/** The payload of a grant, a `direct` event: its origin grants `level` to `peer`. */
export const grantPayload = z.strictObject({ peer: atomId, level: trustLevel });

// ---- How sync stands, to a peer (docs/spec/events.md#sync)

export const syncStatus = z.strictObject({
  atom_id: atomId,
  /** What the caller has here, in effect. */
  trust: trustLevel,
  log_id: z.string(),
  hlc: hybridTime,
  /** Of the audiences that the caller may read. */
  checkpoints: z.array(signedCheckpoint),
});
export type SyncStatus = z.infer<typeof syncStatus>;

// ---- Switches (docs/spec/identity.md#tiers, docs/spec/federation.md#switches)

export const federationPolicy = z.strictObject({
  federation: z.enum(["on", "off"]),
  accept_reads: z.boolean(),
  accept_writes: z.boolean(),
  legacy_signatures: z.enum(["off", "reads", "all"]),
  allow_private_peers: z.boolean(),
  min_auth_tier: authTier,
  require_mutual: z.boolean(),
  auto_accept_known: z.boolean(),
  /** Of trust 2 and more; 0 is without limit. */
  max_peers: z.int().nonnegative().max(LIMITS.maxPeersMax),
  /** Signed requests of one peer (docs/spec/pool.md#limits); those of event sync are counted by themselves. */
  peer_requests_per_minute: z.int().positive().max(LIMITS.peerMaxRequestsPerMinute),
  peer_event_requests_per_second: z.int().positive().max(LIMITS.peerMaxEventRequestsPerSecond),
  /** Events that one peer may have our log keep (docs/spec/events.md#sync), whichever way it brings them. */
  peer_events_per_minute: z.int().positive().max(LIMITS.peerMaxEventsPerMinute),
  /** What the events of one other pool may fill of our log; 0 is without limit. */
  origin_quota_mib: z.int().nonnegative().max(LIMITS.originMaxQuotaMib),
  /** CPU time that one peer may cost this pool by event sync, in milliseconds of each second. */
  peer_work_ms_per_second: z.int().positive().max(LIMITS.peerMaxWorkMsPerSecond),
});
export type FederationPolicy = z.infer<typeof federationPolicy>;

/** Closed: the first start switches federation on, so that lost state closes and does not open. */
export const FEDERATION_POLICY_DEFAULTS: FederationPolicy = Object.freeze({
  federation: "off",
  accept_reads: true,
  accept_writes: false,
  legacy_signatures: "off",
  allow_private_peers: false,
  min_auth_tier: "device-bound",
  require_mutual: true,
  auto_accept_known: false,
  max_peers: LIMITS.maxPeers,
  peer_requests_per_minute: LIMITS.peerRequestsPerMinute,
  peer_event_requests_per_second: LIMITS.peerEventRequestsPerSecond,
  peer_events_per_minute: LIMITS.peerEventsPerMinute,
  origin_quota_mib: LIMITS.originQuotaMib,
  peer_work_ms_per_second: LIMITS.peerWorkMsPerSecond,
});

export const changeFederationPolicyBody = federationPolicy.partial();

// ---- The operator's peers: `/admin/api/peers`

export const addPeerBody = z.strictObject({
  /** As typed; it may end with a slash. */
  url: foreignUrl,
  /** Whom we expect there. */
  atom_id: atomId.optional(),
});
/** Level 0 is a revocation. */
export const trustBody = z.strictObject({ level: grantableLevel });

export const peerView = z.strictObject({
  atom_id: atomId,
  name: z.string(),
  url: z.string(),
  /** What it claims; it counts as device-bound (docs/spec/identity.md#tiers). */
  auth_tier: authTier,
  capabilities,
  granted: trustLevel,
  received: trustLevel,
  effective: trustLevel,
  /** The level that the peer has granted and our admin has not answered; null if there is nothing to say. */
  awaits_admin: trustLevel.nullable(),
  added_by: z.enum(["admin", "peer"]),
  signature_version: z.union([z.literal(1), z.literal(2)]),
  circuit: z.enum(["closed", "open", "half-open"]),
  /** As it was when it was last called: its federation is off, it says nothing, or it fails. Null: it was there. */
  absent: z.strictObject({ reason: z.enum(["off", "silent", "error"]), since_ms: z.int() }).nullable(),
  added_at_ms: z.int(),
  last_seen_ms: z.int().nullable(),
  revoked_at_ms: z.int().nullable(),
});
export type PeerView = z.infer<typeof peerView>;
export const peerList = z.strictObject({ peers: z.array(peerView) });

/** One peer, with how events stand in each audience: what we have of its log, and it of ours. */
export const peerDetails = peerView.extend({
  sync: z.array(
    z.strictObject({
      audience: z.enum(["public", "peers"]),
      followed: z.strictObject({
        seq: z.int(),
        /** As its last checkpoint said; null while nothing was heard. */
        head: z.int().nullable(),
        streaming: z.boolean(),
        /** It proved to tell two stories, and is not followed. */
        equivocated: z.boolean(),
        /** Why its answers led nowhere, since we were last level with it; it is asked again all the same. */
        refused: z.strictObject({ reason: z.string(), since_ms: z.int() }).nullable(),
      }),
      sent: z.strictObject({
        seq: z.int(),
        streaming: z.boolean(),
        /** It asks again for what it had, as after a restore, and is not as far as it was. */
        started_over_ms: z.int().nullable(),
      }),
    }),
  ),
  deliveries_waiting: z.int(),
  /** False: what was decided holds, and D1 does not have it yet. */
  recorded: z.literal(false).optional(),
});

export const federationStatus = z.strictObject({
  policy: federationPolicy,
  card,
  /** Registered; granted 2 and more by us; bonded both ways. */
  peers: z.strictObject({ known: z.int(), accepted: z.int(), bonded: z.int() }),
  /** Atom ids of peers that have granted more than our admin answered. */
  awaiting_admin: z.array(atomId),
  /** Atom ids of peers whose logs could not be followed for a while. */
  unfollowable: z.array(atomId),
  events: z.strictObject({
    log_id: z.string(),
    public: z.int(),
    peers: z.int(),
    all: z.int(),
    hlc: z.object({ physical_us: z.int(), logical: z.int() }),
  }),
  /** What other pools' events fill of our log, the largest first; absent in the answer of an older pool. */
  origins: z.array(z.strictObject({ atom_id: atomId, events: z.int(), bytes: z.int() })).optional(),
  /** By reason, since this isolate began. */
  refused_requests: z.record(z.string(), z.int()),
});
