import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { freshNonce, signRequest } from "../../schema/crypto/request-signature.ts";
import { signEvent } from "../../schema/crypto/signed-event.ts";
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { pushAnswer } from "../../schema/wire/events.ts";
import type { GrantableLevel } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { PeerDouble } from "../../scripts/bench/peer-double.ts";
import type { AdminClient } from "../../scripts/runtime/admin-client.ts";
import { OUR_CARD, OUR_EVENT, OUR_ID, OUR_KEY, type PeerCase } from "./cases.ts";
import type { Answer } from "./http.ts";
import { isErrorCode, wrongAnswer } from "./oracle.ts";
import { CONNECTIONS, type Target } from "./target.ts";

const BYSTANDER_EVERY = 100;

/** A bonded peer and a stranger. */
export interface FuzzedPeers {
  readonly bonded: PeerDouble;
  readonly stranger: Signer;
  readonly pool: { url: string; atomId: string };
}

/** Federation is on, limits are high, and the peer has full trust. */
export async function befriendedPeer(pool: { url: string }, admin: AdminClient): Promise<FuzzedPeers> {
  const { atom_id: atomId } = await admin.pool();
  await admin.changeFederation({
    federation: "on",
    allow_private_peers: true,
    max_peers: 0,
    peer_requests_per_minute: LIMITS.peerMaxRequestsPerMinute,
    peer_event_requests_per_second: LIMITS.peerMaxEventRequestsPerSecond,
  });
  const bonded = await PeerDouble.start();
  const level: GrantableLevel = 3;
  await admin.addPeer({ url: bonded.url, atom_id: bonded.id });
  await admin.trustPeer(bonded.id, level);
  const stranger = await signerFrom(generateSecretKey());
  return { bonded, stranger, pool: { url: pool.url, atomId } };
}

/** Sends each case once, several at a time, signed by the case's signer. */
export async function fuzzPeers(cases: PeerCase[], target: Target, peers: FuzzedPeers): Promise<void> {
  let next = 0;
  const sender = async () => {
    for (let at = next++; at < cases.length; at = next++) {
      const each = cases[at];
      if (each) await send(each, target, peers);
      if (at % BYSTANDER_EVERY === 0) await target.bystander();
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, sender));
}

/** Allowed error codes: refusals, failed calls to our double of a peer, and a late kill switch. */
const allowed = (code: ErrorCode) =>
  ERRORS[code].status < 500 || code === "federation/unreachable" || code === "federation/disabled";

async function send(each: PeerCase, target: Target, peers: FuzzedPeers): Promise<void> {
  const { method, path, how, by } = each;
  const signer = by === "stranger" ? peers.stranger : peers.bonded.signer;
  const body = each.body && (await filledIn(each, each.body, signer, peers.bonded.url));
  const sent = `by ${by} ${each.bent ? `${each.bent.header}: ${each.bent.value}` : ""} ${method} ${path.slice(0, 300)} ${body?.toString("latin1").slice(0, 1_500) ?? ""}`;
  try {
    const headers = by === "nobody" ? {} : await signed(signer, peers, method, path, body);
    const isBent = each.bent !== null && (headers[each.bent.header] ?? "") !== each.bent.value;
    if (each.bent) headers[each.bent.header] = each.bent.value;
    const answer = await target.http.ask(method, path, headers, body);
    target.count(`peer ${how} by ${by}: ${answer.status} ${answer.headers["x-ligand-code"] ?? ""}`.trim());
    const wrong = isPushRefusal(path, answer) ? null : wrongAnswer(answer, allowed);
    if (wrong !== null) target.find({ part: "peer", what: wrong, sent });
    if ((isBent || by === "nobody") && answer.status < 300 && !PUBLIC.test(path)) {
      target.find({ part: "peer", what: `answered ${answer.status} without a signature that holds`, sent });
    }
  } catch (error) {
    target.find({ part: "peer", what: error instanceof Error ? error.message : String(error), sent });
  }
}

/** A push without an accepted event must give a reason for each event (docs/spec/events.md#sync). */
function isPushRefusal(path: string, { status, body }: Answer): boolean {
  if (status !== 400 || path !== "/api/federation/events" || !body.startsWith('{"accepted"')) return false;
  const { accepted, rejected, errors } = pushAnswer.parse(JSON.parse(body));
  return accepted === 0 && rejected === errors.length && errors.every(({ code }) => isErrorCode(code));
}

/** Endpoints that need no signature. */
const PUBLIC = /^\/(v1\/federation\/info|api\/federation\/identity)/;

async function signed(
  signer: Signer,
  { pool }: FuzzedPeers,
  method: string,
  target: string,
  body: Buffer = Buffer.alloc(0),
): Promise<Record<string, string>> {
  const timestampSeconds = Math.floor(Date.now() / 1_000);
  return signRequest(signer, { method, target, body, destination: pool.atomId, timestampSeconds, nonce: freshNonce() });
}

async function filledIn(each: PeerCase, body: Buffer, { id, publicKey, sign }: Signer, url: string): Promise<Buffer> {
  const public_key = Buffer.from(publicKey).toString("hex");
  const card = { atom_id: id, public_key, name: "fuzz", url, auth_tier: "device-bound", capabilities: [] };
  let text = body.toString("latin1");
  if (text.includes(OUR_EVENT) && each.content !== null) {
    // A correctly signed event may have any content.
    const hlc = { physical_us: Date.now() * 1_000, logical: 0 };
    const event = await signEvent({ id, publicKey, sign }, { ...each.content, hlc }).catch(() => null);
    text = text.replaceAll(OUR_EVENT, Buffer.from(JSON.stringify(event)).toString("latin1"));
  }
  text = text
    .replaceAll(OUR_CARD, JSON.stringify(card))
    .replaceAll(OUR_ID, JSON.stringify(id))
    .replaceAll(OUR_KEY, JSON.stringify(public_key));
  return Buffer.from(text, "latin1");
}
