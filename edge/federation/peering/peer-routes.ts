import { type Context, Hono } from "hono";
import type { PeerRow } from "../../../schema/db/peers.ts";
import { atomId as ATOM_ID } from "../../../schema/wire/events.ts";
import {
  addPeerBody,
  FEDERATION_POLICY_DEFAULTS,
  type FederationPolicy,
  type PeerView,
  type TrustLevel,
  trustBody,
} from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { AdminEnv } from "../../http/app-env.ts";
import { adminBody } from "../../http/body.ts";
import { fail } from "../../http/errors.ts";
import { within } from "../../limits/timeout.ts";
import { checkFederation, readFederationPolicy } from "../../pool/federation-check.ts";
import { bondForAdmin } from "../bond-for.ts";
import type { PeerState } from "../bond-rpc.ts";
import { addPeer } from "./add-peer.ts";
import { registryForReaders } from "./peer-registry-for.ts";
import { findPeer, listPeers } from "./store.ts";
import { isOneSided, isTierAccepted } from "./trust-rules.ts";

/** `/admin/api/peers`: the known peers and their trust. Mounted behind an admin token. */
export const peerRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => {
    const [policy, rows, statuses] = await Promise.all([
      readFederationPolicy(c.env),
      listPeers(c.env.DB),
      registryForReaders(c.env).statuses(),
    ]);
    const view = (row: PeerRow) =>
      viewOf(row, policy, {
        effective: effective(row, policy),
        unavailability: statuses[row.id]?.absence ?? null,
        hasRevokedUs: statuses[row.id]?.hasRevokedUs ?? false,
      });
    return c.json({ peers: rows.map(view) });
  })

  /**
   * Registers with the pool at a URL (docs/spec/federation.md#registration). For a known peer, updates the URL and the name.
   */
  .post("/", async (c) => {
    const body = await adminBody(c, addPeerBody);
    if (body instanceof Response) return body;
    const checked = await checkFederation(c.env);
    if (!checked.open) return fail(c, checked.code);
    if (!isTierAccepted(checked.policy)) return fail(c, "federation/tier-refused");
    const added = await addPeer(c.env, { url: body.url, expected: body.atom_id, requestUrl: c.req.url });
    if (!added.ok) return fail(c, added.code, { message: added.message });
    const atomId = added.card.atom_id;
    const bond = bondForAdmin(c.env, atomId);
    const registered = await bond.add(added.card, c.var.adminTokenId, checked.policy, added.signatureVersion);
    return registered.ok ? shown(c, atomId, 201) : fail(c, registered.code);
  })

  .get("/:id", async (c) => {
    const atomId = c.req.param("id");
    // Null: D1 did not answer in time. The peer's own object then knows whether there is such a peer.
    const found = isAtomId(atomId) ? await within(LIMITS.d1TimeoutMs, findPeer(c.env.DB, atomId)) : undefined;
    return found === undefined ? fail(c, "federation/peer-not-found") : shown(c, atomId);
  })

  /** Sets the granted trust; 0 revokes (docs/spec/federation.md#trust). */
  .put("/:id/trust", async (c) => {
    const body = await adminBody(c, trustBody);
    if (body instanceof Response) return body;
    const policy = await readFederationPolicy(c.env);
    // A revocation needs no policy: it works while the switches cannot be read.
    if (policy === null && body.level > 0) return fail(c, "pool/not-ready");
    const atomId = c.req.param("id");
    if (!isAtomId(atomId)) return fail(c, "federation/peer-not-found");
    const admin = { name: c.var.admin, tokenId: c.var.adminTokenId };
    const decided = await bondForAdmin(c.env, atomId).decide(body.level, admin, policy ?? FEDERATION_POLICY_DEFAULTS);
    return decided.ok ? shown(c, atomId) : fail(c, decided.code);
  })

  /** Follows the peer's log again from its beginning, after a proof that it showed two histories. */
  .post("/:id/follow-anew", async (c) => {
    const atomId = c.req.param("id");
    if (!(await findPeer(c.env.DB, atomId))) return fail(c, "federation/peer-not-found");
    await bondForAdmin(c.env, atomId).resync();
    return shown(c, atomId);
  })

  .delete("/:id", async (c) => {
    const atomId = c.req.param("id");
    const removed = isAtomId(atomId) ? await bondForAdmin(c.env, atomId).remove(c.var.adminTokenId) : null;
    if (!removed) return fail(c, "federation/peer-not-found");
    return c.json({ atom_id: atomId, removed: true, recorded: removed.recorded });
  });

const isAtomId = (text: string) => ATOM_ID.safeParse(text).success;

/** Responds with the peer's state. It comes from the peer's `Bond`, so it is current even while D1 is unreachable. */
async function shown(c: Context<AdminEnv>, atomId: string, status: 200 | 201 = 200): Promise<Response> {
  const policy = await readFederationPolicy(c.env);
  const view = await bondForAdmin(c.env, atomId).view(policy?.min_auth_tier ?? "hardware-attested");
  if (view === null) return fail(c, "federation/peer-not-found");
  const { row, sync, waiting, recorded } = view;
  const shownSync = sync.map(({ audience, followed: { unfollowable, ...followed }, sent }) => {
    const refused = unfollowable && { reason: unfollowable.reason, since_ms: unfollowable.sinceMs };
    const { rewoundSinceMs: started_over_ms, ...position } = sent;
    return { audience, followed: { ...followed, refused }, sent: { ...position, started_over_ms } };
  });
  const body = { ...viewOf(row, policy, view), sync: shownSync, deliveries_waiting: waiting };
  return c.json({ ...body, ...(!recorded && { recorded }) }, status);
}

/** If the switches cannot be read, no trust is in effect. */
function effective(row: PeerRow, policy: FederationPolicy | null): TrustLevel {
  return policy !== null && isTierAccepted(policy) ? (row.effective as TrustLevel) : 0;
}

/** `now`: what the peer's row does not have. */
function viewOf(
  row: PeerRow,
  policy: FederationPolicy | null,
  now: Pick<PeerState, "effective" | "unavailability" | "hasRevokedUs">,
): PeerView {
  const { effective, unavailability } = now;
  const trust = { granted: row.granted as TrustLevel, received: row.received as TrustLevel };
  const signatureVersion = row.signatureVersion === 2 ? 2 : 1;
  return {
    atom_id: row.id,
    name: row.name,
    url: row.url,
    auth_tier: row.authTier,
    capabilities: JSON.parse(row.capabilities) as string[],
    ...trust,
    effective,
    awaits_admin: row.awaitsAdmin as TrustLevel | null,
    added_by: row.addedByAdmin ? "admin" : "peer",
    signature_version: signatureVersion,
    one_sided: policy !== null && effective === 2 && isOneSided(trust, policy, signatureVersion),
    revoked_us: now.hasRevokedUs,
    circuit: row.circuit,
    absent: unavailability && { reason: unavailability.reason, since_ms: unavailability.sinceMs },
    added_at_ms: row.addedAtMs,
    last_seen_ms: row.seenAtMs,
    revoked_at_ms: row.revokedAtMs,
  };
}
