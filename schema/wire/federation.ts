import * as z from "zod";
import { atomId, hybridTime, signedCheckpoint } from "./events.ts";
import { LIMITS } from "./limits.ts";
import { unicodeText } from "./worker-frames.ts";

/**
 * Bodies between pools (docs/spec/federation.md#endpoints), and bodies of the admin API about peers. Our own shapes are
 * strict. Shapes of the existing network (info, handshake, verify, molecule) drop unknown members, because its pools add
 * some.
 */
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const publicKey = hex(32);
/** An Ed25519 signature in standard base64. */
export const base64Signature = z.string().regex(/^[A-Za-z0-9+/]{86}==$/);
/** Exactly 32 bytes. */
const challengeBase64 = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);

/** Shown in tables and terminals: no control characters, no bidirectional overrides. */
const peerName = unicodeText
  .min(1)
  .max(LIMITS.peerNameChars)
  .regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u);

/** The name of a pool that has none yet. */
export const UNNAMED_POOL = "Ligand pool";

/** A pool's name as its operator sets it: a card's name, without blanks around it. */
export const poolName = peerName.regex(/^\S(?:.*\S)?$/su);

/** Makes a name valid that was stored before this rule existed. */
export function poolNameOf(text: string): string {
  const name = text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, " ")
    .trim()
    .slice(0, LIMITS.peerNameChars)
    .toWellFormed()
    .trim();
  return name === "" ? UNNAMED_POOL : name;
}

/** A pool with this capability may be named to the peers of its peers. */
export const LISTED = "listed";
const capability = z
  .string()
  .max(LIMITS.capabilityChars)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/);
const capabilities = z.array(capability).max(LIMITS.capabilities);
/** The existing network sends a capability as an object, older Ligand pools as text. Any other value is dropped. */
const foreignCapability = z.union([capability, z.object({ kind: capability }).transform(({ kind }) => kind)]);
const foreignCapabilities = z
  .array(z.unknown())
  .max(LIMITS.moleculePeers)
  .transform((given) =>
    given.flatMap((one) => foreignCapability.safeParse(one).data ?? []).slice(0, LIMITS.capabilities),
  );

/** A capability as pools of the existing network read it. Texts break their lists of pools. */
export interface CapabilityObject {
  readonly kind: string;
}

export function capabilityObjects(capabilities: readonly string[]): CapabilityObject[] {
  return capabilities.map((kind) => ({ kind }));
}

/** What this pool sends in place of a shape of the existing network: with its capabilities as objects. */
type Sent<Shape extends { capabilities: unknown }> = Omit<Shape, "capabilities"> & { capabilities: CapabilityObject[] };

/**
 * An origin in the canonical spelling of the WHATWG URL standard: without path, query, fragment and credentials, and
 * without a default port, a host in capitals or a host as a number.
 */
export const peerUrl = z.string().max(LIMITS.peerUrlChars).refine(isPeerUrl, "must be the origin of an http(s) URL");

function isPeerUrl(text: string): boolean {
  return normalisedPeerUrl(text) === text;
}

/** The origin of a URL that a person typed or that a card of the existing network has; null for any other text. */
export function normalisedPeerUrl(text: string): string | null {
  if (text.length > LIMITS.peerUrlChars || !/^https?:\/\//i.test(text)) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  // An empty query or fragment shows only in the href.
  return url !== null && url.href === `${url.origin}/` ? url.origin : null;
}

/**
 * Plain http only where a switch allows it (docs/spec/federation.md#outbound-network). A URL does not show whether its
 * address is public, so the network binding checks the address.
 */
export function isAllowedPeerUrl(
  url: string,
  policy: { readonly allow_private_peers: boolean; readonly allow_plain_http: boolean },
): boolean {
  return isPeerUrl(url) && (policy.allow_private_peers || policy.allow_plain_http || url.startsWith("https:"));
}

const foreignUrl = z.string().transform((text, context) => {
  const url = normalisedPeerUrl(text);
  if (url === null) context.addIssue({ code: "custom", message: "must be the origin of an http(s) URL" });
  return url ?? z.NEVER;
});

/** A peer's error. Only the form of its code is checked. `message`: for our admin. */
export const peerError = z.object({
  error: z.object({ code: z.string().regex(/^[a-z][a-z0-9_]{0,63}$/), message: z.string().optional() }),
});

// ---- Registration (docs/spec/federation.md#registration)

/** docs/spec/identity.md#tiers, from the weakest to the strongest. */
export const authTier = z.enum(["oauth-verified", "device-bound", "hardware-attested"]);
export type AuthTier = z.infer<typeof authTier>;

/** A card is hashed and signed as JCS, so no transform may change a received card. */
export const card = z.strictObject({
  atom_id: atomId,
  public_key: publicKey,
  name: peerName,
  url: peerUrl,
  auth_tier: authTier,
  capabilities,
});
export type Card = z.infer<typeof card>;

/** The challenge of the initiator: 32 random bytes. */
const initiatorChallenge = hex(32);
/** The challenge of the responder. It is opaque to the initiator. */
const responderChallenge = z
  .string()
  .min(64)
  .max(LIMITS.registrationChallengeChars)
  .regex(/^(?:[0-9a-f]{2})*$/);

export const registerBody = z.strictObject({ card, challenge: initiatorChallenge });
export const registerAnswer = z.strictObject({ card, challenge: responderChallenge, proof: base64Signature });
export const confirmBody = z.strictObject({ card, challenge: responderChallenge, proof: base64Signature });
export const confirmAnswer = z.strictObject({ status: z.literal("registered") });

// ---- Endpoints of the existing network (docs/spec/federation.md#endpoints)

const moleculeId = z.string().max(LIMITS.peerNameChars).nullish().default(null);

/** `GET /v1/federation/info` of a pool whose federation is off. */
export const offCard = z.object({ mode: z.literal("off") });

/** `GET /v1/federation/info` of any pool. */
export const identityCard = z.object({
  mode: z.string().max(LIMITS.capabilityChars),
  atom_id: atomId,
  name: peerName,
  pubkey_hex: publicKey,
  /** Empty: the pool's operator has not set it. */
  url: z.union([foreignUrl, z.literal("")]),
  molecule_id: moleculeId,
  capabilities: foreignCapabilities,
  hop_max: z.int().nonnegative(),
  nonce_window_sec: z.int().nonnegative(),
  schema: z.int().nonnegative(),
  /** The signature versions that the pool supports. Absent: version 1 only. */
  sig_versions: z.array(z.int()).max(16).optional(),
});
export type IdentityCard = z.infer<typeof identityCard>;
export type SentIdentityCard = Sent<IdentityCard>;

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
export type SentHandshakeAnswer = Omit<HandshakeAnswer, "self"> & { self: SentIdentityCard };

export const verifyBody = z.object({ atom_id: atomId, challenge_b64: challengeBase64 });
export const verifyAnswer = z.object({ signed_response_b64: base64Signature });

/** What the console of a pool of the existing network sends (`peer-status` in `existing-network.json`). */
export const peerStatusBody = z.object({ origin_pool_id: atomId });
export const peerStatusAnswer = z.object({
  ok: z.literal(true),
  name: peerName,
  version: z.string().max(LIMITS.capabilityChars),
  uptime_sec: z.int().nonnegative(),
  /** Connected workers, and the names of the models that they serve, as in `/readyz`. */
  workers: z.int().nonnegative(),
  models: z.array(z.string()),
});
export type PeerStatusAnswer = z.infer<typeof peerStatusAnswer>;

const moleculePeer = z.object({
  atom_id: atomId,
  name: peerName,
  url: foreignUrl,
  molecule_id: moleculeId,
  capabilities: foreignCapabilities,
  /** ISO 8601; null for the pool itself. */
  last_seen: z.string().max(64).nullable(),
});
export const moleculeAnswer = z.object({
  mode: z.string().max(LIMITS.capabilityChars),
  molecule_id: moleculeId,
  self: moleculePeer,
  trusted_peers: z.array(moleculePeer).max(LIMITS.moleculePeers),
});
export type SentMoleculePeer = Sent<z.infer<typeof moleculePeer>>;
export interface SentMoleculeAnswer {
  mode: string;
  molecule_id: string | null;
  self: SentMoleculePeer;
  trusted_peers: SentMoleculePeer[];
}

// ---- Trust (docs/spec/federation.md#trust)

/** Level 4 belongs to settlement, which is not built: nobody can grant it here, but a peer may. */
export const trustLevel = z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3), z.literal(4)]);
export type TrustLevel = z.infer<typeof trustLevel>;

/** The levels that our admin can grant. */
export const grantableLevel = z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3)]);
export type GrantableLevel = z.infer<typeof grantableLevel>;

/** The payload of a grant, a `direct` event: its origin grants `level` to `peer`. */
export const grantPayload = z.strictObject({ peer: atomId, level: trustLevel });

// ---- The status of sync, for a peer (docs/spec/events.md#sync)

export const syncStatus = z.strictObject({
  atom_id: atomId,
  /** The trust in effect of the peer that asks. */
  trust: trustLevel,
  log_id: z.string(),
  hlc: hybridTime,
  /** One for each audience that the peer may read. */
  checkpoints: z.array(signedCheckpoint),
});
export type SyncStatus = z.infer<typeof syncStatus>;

// ---- Switches (docs/spec/identity.md#tiers, docs/spec/federation.md#switches)

export const federationPolicy = z.strictObject({
  federation: z.enum(["on", "off"]),
  accept_reads: z.boolean(),
  accept_writes: z.boolean(),
  legacy_signatures: z.enum(["off", "reads", "all"]),
  /** Actions and routes that can change an economic table (docs/spec/federation.md#the-wallet-rule). Nothing does so yet. */
  accept_settlement: z.boolean(),
  allow_private_peers: z.boolean(),
  /** Peers over plain http at public addresses. */
  allow_plain_http: z.boolean(),
  /** A webhook at a private address, or over plain http. */
  allow_private_webhook: z.boolean(),
  min_auth_tier: authTier,
  require_mutual: z.boolean(),
  auto_accept_known: z.boolean(),
  /** Peers at trust 2 and above; 0 means no limit. */
  max_peers: z.int().nonnegative().max(LIMITS.maxPeersMax),
  /** Signed requests of one peer (docs/spec/pool.md#limits). Requests of event sync are counted apart. */
  peer_requests_per_minute: z.int().positive().max(LIMITS.peerMaxRequestsPerMinute),
  /** Requests of one peer's admin that wait for our admin (docs/spec/federation.md#admin-requests). */
  peer_pending_requests: z.int().positive().max(LIMITS.adminMaxRequestsPending),
  peer_event_requests_per_second: z.int().positive().max(LIMITS.peerMaxEventRequestsPerSecond),
  /** Events of one peer that our log keeps (docs/spec/events.md#sync): pushed, pulled and streamed together. */
  peer_events_per_minute: z.int().positive().max(LIMITS.peerMaxEventsPerMinute),
  /** Space in our log for the events of one other pool; 0 means no limit. */
  origin_quota_mib: z.int().nonnegative().max(LIMITS.originMaxQuotaMib),
  /** CPU time that event sync with one peer may take, in milliseconds of each second. */
  peer_work_ms_per_second: z.int().positive().max(LIMITS.peerMaxWorkMsPerSecond),
});
export type FederationPolicy = z.infer<typeof federationPolicy>;

/** Federation is off until the first start of a pool switches it on, so that a pool with lost state has it off. */
export const FEDERATION_POLICY_DEFAULTS: FederationPolicy = Object.freeze({
  federation: "off",
  accept_reads: true,
  accept_writes: false,
  legacy_signatures: "off",
  accept_settlement: false,
  allow_private_peers: false,
  allow_plain_http: false,
  allow_private_webhook: false,
  min_auth_tier: "device-bound",
  require_mutual: true,
  auto_accept_known: false,
  max_peers: LIMITS.maxPeers,
  peer_requests_per_minute: LIMITS.peerRequestsPerMinute,
  peer_pending_requests: LIMITS.adminRequestsPending,
  peer_event_requests_per_second: LIMITS.peerEventRequestsPerSecond,
  peer_events_per_minute: LIMITS.peerEventsPerMinute,
  origin_quota_mib: LIMITS.originQuotaMib,
  peer_work_ms_per_second: LIMITS.peerWorkMsPerSecond,
});

export const changeFederationPolicyBody = federationPolicy.partial();

// ---- The operator's peers: `/admin/api/peers`

export const addPeerBody = z.strictObject({
  /** As a person types it: it may end with a slash. */
  url: foreignUrl,
  /** The pool that must answer there. */
  atom_id: atomId.optional(),
});
/** Level 0 is a revocation. */
export const trustBody = z.strictObject({ level: grantableLevel });

export const peerView = z.strictObject({
  atom_id: atomId,
  name: z.string(),
  url: z.string(),
  /** The tier that the peer claims. It counts as device-bound (docs/spec/identity.md#tiers). */
  auth_tier: authTier,
  capabilities,
  granted: trustLevel,
  received: trustLevel,
  effective: trustLevel,
  /** The level that the peer has granted, if our admin has not answered; null otherwise. */
  awaits_admin: trustLevel.nullable(),
  added_by: z.enum(["admin", "peer"]),
  signature_version: z.union([z.literal(1), z.literal(2)]),
  /** Our grant of 3 counts as received for a few uses, because the peer tells no grants (docs/spec/federation.md#one-sided-bonds). */
  one_sided: z.boolean(),
  /** The peer refuses all our requests: it told us so by a grant of 0, or it answers `verify` with 403. */
  revoked_us: z.boolean(),
  circuit: z.enum(["closed", "open", "half-open"]),
  /** Why the last call failed: the peer's federation is off, it did not answer, or it answered with an error. Null: it worked. */
  absent: z.strictObject({ reason: z.enum(["off", "silent", "error"]), since_ms: z.int() }).nullable(),
  added_at_ms: z.int(),
  last_seen_ms: z.int().nullable(),
  revoked_at_ms: z.int().nullable(),
});
export type PeerView = z.infer<typeof peerView>;
export const peerList = z.strictObject({ peers: z.array(peerView) });

/** One peer, with the status of sync for each audience: how much of its log we have, and how much of ours it has. */
export const peerDetails = peerView.extend({
  sync: z.array(
    z.strictObject({
      audience: z.enum(["public", "peers"]),
      followed: z.strictObject({
        seq: z.int(),
        /** The head of the peer's log, from its last checkpoint; null before the first. */
        head: z.int().nullable(),
        streaming: z.boolean(),
        /** Whether two checkpoints prove that the peer's log was rewritten. Then it is not followed any more. */
        equivocated: z.boolean(),
        /**
         * Why the answers of the peer were refused since we last had its whole log; null if they were not. We continue
         * to ask.
         */
        refused: z.strictObject({ reason: z.string(), since_ms: z.int() }).nullable(),
      }),
      sent: z.strictObject({
        seq: z.int(),
        streaming: z.boolean(),
        /** When the peer began to ask again for events that it had, as after a restore; null once it has caught up. */
        started_over_ms: z.int().nullable(),
      }),
    }),
  ),
  deliveries_waiting: z.int(),
  /** False: the decision holds, and D1 does not have it yet. */
  recorded: z.literal(false).optional(),
});

export const federationStatus = z.strictObject({
  policy: federationPolicy,
  card,
  /** Registered peers, peers that we granted 2 and above, and peers bonded both ways. */
  peers: z.strictObject({ known: z.int(), accepted: z.int(), bonded: z.int() }),
  /** Atom ids of peers whose grant our admin has not answered. */
  awaiting_admin: z.array(atomId),
  /** Atom ids of peers whose logs this pool cannot follow. */
  unfollowable: z.array(atomId),
  events: z.strictObject({
    log_id: z.string(),
    public: z.int(),
    peers: z.int(),
    all: z.int(),
    hlc: z.object({ physical_us: z.int(), logical: z.int() }),
  }),
  /** Space that events of other pools fill in our log, the largest first. Absent in the answer of an older pool. */
  origins: z.array(z.strictObject({ atom_id: atomId, events: z.int(), bytes: z.int() })).optional(),
  /**
   * Refused federated requests by reason, of the whole pool since it was created. Isolates report them once a minute.
   */
  refused_requests: z.record(z.string(), z.int()),
});
