import type * as z from "zod";
import type { federationStatus, PeerView, peerDetails } from "../../schema/wire/federation.ts";
import { LIGAND } from "../../worker-agent/cli/shared/called-as.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { leadsToLoopback } from "../runtime/listen-address.ts";

/** How the command line shows peers. */

export type PeerDetails = z.infer<typeof peerDetails>;
type Status = z.infer<typeof federationStatus>;
/** The number of this pool's events per audience. */
export type Heads = Readonly<Record<"public" | "peers", number>>;

const SHORT_ID_CHARS = 16;
const LEAST_ID_CHARS = 6;

/** Finds the peer whose id begins with the given digits. */
export function peerIdOf(given: string, peers: readonly Pick<PeerView, "atom_id">[], hints: Hints): string {
  const see = `To list the peers: ${hints.ligand("peers list")}`;
  const prefix = given.toLowerCase();
  if (!/^[0-9a-f]{6,64}$/.test(prefix)) {
    throw new UsageError(
      `"${printable(given)}" is not a peer id, which has ${LEAST_ID_CHARS} to 64 hex digits. ${see}`,
    );
  }
  const [match, ...others] = peers.filter((peer) => peer.atom_id.startsWith(prefix));
  if (match === undefined) {
    const addAgain = `To add a removed peer again: ${hints.ligand("peers add URL")}`;
    throw new OperatorError(`No peer id begins with ${prefix}. ${see}\n${addAgain}`, "federation/peer-not-found");
  }
  if (others.length > 0) {
    throw new OperatorError(
      `${pluralize(others.length + 1, "peer")} have ids that begin with ${prefix}. Give more digits.`,
    );
  }
  return match.atom_id;
}

/** The result of a removal. For a revoked peer it includes the commands that undo the revocation. */
export function formatRemoved(peer: Pick<PeerView, "atom_id" | "url" | "revoked_at_ms">, hints: Hints): string {
  const removed = `Removed peer ${peer.atom_id}.`;
  if (peer.revoked_at_ms === null) {
    return `${removed} If this pool had granted it trust, it is notified as soon as it answers.`;
  }
  const [add, trust] = [hints.ligand(`peers add ${peer.url}`), hints.ligand(`peers trust ${shortId(peer)} 1`)];
  return `${removed} It stays revoked and cannot register. To undo that: ${add}\nand then: ${trust}`;
}

/** The peer's trust in one word (docs/spec/federation.md#trust). */
export function trustWord(peer: Pick<PeerView, "effective" | "revoked_at_ms" | "one_sided">): string {
  if (peer.revoked_at_ms !== null) return "revoked";
  if (peer.one_sided) return "one-sided";
  return (["refused", "known", "accepted", "bonded", "bonded"] as const)[peer.effective];
}

/** The peer's trust in both directions, with the next step. @param self this pool's atom id */
export function formatTrust(peer: PeerView, self: string, hints: Hints): string {
  const given = formatGivenTrust(peer, self, hints);
  return peer.revoked_us ? `${given}\n${REVOKED_US}` : given;
}

const REVOKED_US =
  "The peer revoked this pool: it refuses every request of this pool until its admin grants trust again.";

function formatGivenTrust(peer: PeerView, self: string, hints: Hints): string {
  const { granted, received, effective, awaits_admin } = peer;
  const trust = (level: number | string) => hints.ligand(`peers trust ${shortId(peer)} ${level}`);
  const offer = awaits_admin === null ? "" : ` It offers trust ${awaits_admin}. To accept: ${trust(awaits_admin)}`;
  switch (trustWord(peer)) {
    case "revoked":
      return `Revoked: every request of this peer is refused. To undo that: ${trust(1)}`;
    case "refused":
      return `Refused: min_auth_tier demands more than any peer can prove. ${lowerTier(hints)}`;
    case "known":
      return `Known: it has proven its key, and may not read events yet.${offer || ` To let it read public events: ${trust(2)}`}`;
    case "accepted": {
      if (granted < 3) return `Accepted: it may read public events.${offer || ` To offer it a bond: ${trust(3)}`}`;
      // The other admin runs this command, so our --pool and --state must not be in it.
      const theirs = `${LIGAND} peers trust ${self.slice(0, SHORT_ID_CHARS)} 3`;
      return `Accepted: you granted trust 3, and it granted ${received}. The bond begins when its admin runs: ${theirs}`;
    }
    case "one-sided":
      return "One-sided bond: you granted trust 3, and a pool with signature version 1 cannot tell what it grants. It may send read requests, answer this pool's requests and ask for this pool's status. It gets no events for peers.";
    default:
      return `Bonded: both admins granted trust 3, so both pools exchange their events for peers.${effective > 3 ? " Settlement is on." : ""}`;
  }
}

export function peersTable(peers: readonly PeerView[], nowMs: number, hints: Hints): string {
  const rows = peers.map((peer) => [
    shortId(peer),
    printable(peer.name),
    peer.url,
    peer.revoked_us ? `${trustWord(peer)}, revoked this pool` : trustWord(peer),
    `${ago(peer.last_seen_ms, nowMs)}${peer.absent === null ? "" : `; ${ABSENT[peer.absent.reason]}`}`,
    peer.circuit,
  ]);
  const waiting = peers.filter((peer) => peer.awaits_admin !== null);
  return [
    table(
      ["ID", "NAME", "URL", "TRUST", "SEEN", "CIRCUIT"],
      rows,
      `This pool has no peers. To add one: ${hints.ligand("peers add URL")}`,
    ),
    ...waiting.map(
      (peer) =>
        `\n${printable(peer.name)} (${shortId(peer)}) offers trust ${peer.awaits_admin}. To accept: ` +
        hints.ligand(`peers trust ${shortId(peer)} ${peer.awaits_admin}`),
    ),
  ].join("\n");
}

export function formatPeer(
  peer: PeerDetails,
  own: { atomId: string; heads: Heads },
  nowMs: number,
  hints: Hints,
): string {
  const rows: [label: string, value: string][] = [
    ["Peer", `${printable(peer.name)}, ${peer.atom_id}`],
    ["URL", peer.url],
    ["Trust", formatGivenTrust(peer, own.atomId, hints)],
    ...(peer.revoked_us ? [["Its trust", REVOKED_US] as [string, string]] : []),
    ["Added", `${iso(peer.added_at_ms)}, by ${peer.added_by === "admin" ? "an admin of this pool" : "the peer"}`],
    ["Last seen", ago(peer.last_seen_ms, nowMs)],
    ["Signatures", `version ${peer.signature_version}`],
    ["Circuit", formatCircuit(peer)],
  ];
  if (peer.absent !== null)
    rows.splice(
      rows.findIndex(([label]) => label === "Signatures"),
      0,
      ["Away", formatAbsence(peer.absent, nowMs)],
    );
  if (peer.revoked_at_ms !== null) rows.push(["Revoked", iso(peer.revoked_at_ms)]);
  if (peer.deliveries_waiting > 0) rows.push(["Queued", pluralize(peer.deliveries_waiting, "message")]);
  const sync = table(
    ["AUDIENCE", "ITS EVENTS HERE", "OUR EVENTS THERE"],
    peer.sync.map(({ audience, followed, sent }) => [
      audience,
      followed.equivocated
        ? "not followed: it signed two versions of its log"
        : `${followed.seq} of ${headOf(followed)}${streaming(followed)}`,
      `${sent.seq} of ${own.heads[audience]}${streaming(sent)}${sent.started_over_ms === null ? "" : ", restarted"}`,
    ]),
    "",
  );
  const refused = peer.sync.flatMap(({ audience, followed: { refused } }) =>
    refused === null
      ? []
      : [
          `\nThis pool cannot follow its log (${audience}) since ${iso(refused.since_ms)}: ${formatRefusal(refused.reason)}`,
        ],
  );
  const resyncCommand = hints.ligand(`peers follow-anew ${shortId(peer)}`);
  const stuck = `Ask its operator. When the fault is repaired, or to accept the log as it is: ${resyncCommand}`;
  const isEquivocated = peer.sync.some(({ followed }) => followed.equivocated);
  const equivocated = `\nThe log holds the proof: ${hints.ligand("events tail")}\nTo follow the peer's log from the beginning anyway: ${resyncCommand}`;
  const notes = [...refused, ...(refused.length > 0 ? [stuck] : []), ...(isEquivocated ? [equivocated] : [])];
  return [...rows.map(([label, value]) => `${label.padEnd(10)}  ${value}`), "", sync, ...notes].join("\n");
}

/** A newer pool may give a reason that is not listed here; it is shown as it is. */
function formatRefusal(reason: string): string {
  return REFUSALS[reason] ?? printable(reason);
}

const REFUSALS: Readonly<Record<string, string>> = {
  "rolled-back": "its log went backwards without a new log id, as after a backup restored by hand.",
  "chain-mismatch": "its events do not match the checkpoint that it signed.",
  "out-of-step": "its sequence numbers have gaps or repeats.",
  "new-log": "it gives a different log id each time.",
  "quota-spent": "this pool's quota for its events is used up. Raise origin_quota_mib, or revoke the peer.",
  malformed: "its answer is not a page of a log, or another pool signed its checkpoint.",
};

/**
 * The warning when this pool's card names a loopback address: a peer on another machine would call itself instead of this
 * pool.
 *
 * @param peerUrl the peer that got the card; undefined for all future peers
 */
export function addressWarning(ownUrl: string, hints: Hints, peerUrl?: string): string | undefined {
  if (!leadsToLoopback(ownUrl) || (peerUrl !== undefined && leadsToLoopback(peerUrl))) return undefined;
  return (
    `This pool's card says ${ownUrl}, which works only on this machine. ` +
    `If peers are on other machines, restart the pool with the URL at which they reach it: ${hints.start("--public-url URL")}`
  );
}

/** The call that another pool refused. */
interface RefusedCall {
  /** The URL of the pool that refused. */
  url?: string;
  /** The pool is already a peer, and grants this pool nothing. */
  isKnown?: boolean;
  /** The pool is a peer that is known to have revoked this pool. */
  hasRevokedUs?: boolean;
}

/** The command that helps after a refusal; undefined if the refusal itself says enough. */
export function nextStep(
  code: string,
  { policy, card }: Pick<Status, "policy" | "card">,
  hints: Hints,
  call: RefusedCall = {},
): string | undefined {
  switch (code) {
    case "federation/disabled":
      return `To turn it on: ${hints.ligand("federation on")}`;
    case "federation/legacy-off":
      return `To allow it: ${hints.ligand("federation set legacy_signatures=reads")}`;
    case "federation/private-address":
      return allowAddress(hints, call.url);
    case "federation/too-many-peers":
      return `To allow more than ${policy.max_peers}: ${hints.ligand("federation set max_peers=N")}`;
    case "federation/tier-refused":
      return lowerTier(hints);
    case "federation/registration-refused":
      return registrationRefused(card, hints, call);
    default:
      return undefined;
  }
}

/** A URL does not show whether its address is private, so plain HTTP has two commands. */
function allowAddress(hints: Hints, url: string | undefined): string {
  const isPrivate = hints.ligand("federation set allow_private_peers=on");
  if (url === undefined || !url.startsWith("http:") || leadsToLoopback(url)) return `To allow it: ${isPrivate}`;
  const isPlain = hints.ligand("federation set allow_plain_http=on");
  return `To allow plain HTTP at public addresses: ${isPlain}\nTo allow private addresses too: ${isPrivate}`;
}

/** The other pool does not say why it refuses. Commands for its operator are shown without our --pool and --state. */
function registrationRefused(card: Status["card"], hints: Hints, call: RefusedCall): string {
  const { url, isKnown = false, hasRevokedUs = false } = call;
  if (isKnown) {
    const undo = `${LIGAND} peers trust ${shortId(card)} 1`;
    const what = hasRevokedUs
      ? "That pool has revoked this one."
      : "That pool accepted this one before, so its operator has probably revoked it.";
    return `${what} Its operator can undo that with: ${undo}`;
  }
  const loopback = url === undefined ? undefined : addressWarning(card.url, hints, url);
  if (loopback !== undefined) return loopback;
  const allow = (setting: string) => `that pool's operator can allow it with: ${LIGAND} federation set ${setting}=on`;
  if (card.url.startsWith("https:")) {
    return `This pool's card says ${card.url}. If that is a private address, ${allow("allow_private_peers")}`;
  }
  const plain = `This pool's card says ${card.url}, which is plain HTTP;`;
  if (leadsToLoopback(card.url)) return `${plain} ${allow("allow_private_peers")}`;
  return `${plain} ${allow("allow_plain_http")}, or at a private address with allow_private_peers=on`;
}

function lowerTier(hints: Hints): string {
  return `To accept the tier that peers have: ${hints.ligand("federation set min_auth_tier=device-bound")}`;
}

const ABSENT: Readonly<Record<NonNullable<PeerView["absent"]>["reason"], string>> = {
  off: "its federation is off",
  silent: "it does not answer",
  error: "it answers with errors",
};

function formatAbsence({ reason, since_ms }: NonNullable<PeerView["absent"]>, nowMs: number): string {
  return `${ABSENT[reason]} since ${iso(since_ms)} (${ago(since_ms, nowMs)}); this pool retries automatically`;
}

function formatCircuit({ circuit }: PeerView): string {
  if (circuit === "closed") return "closed";
  if (circuit === "half-open") return "half-open: the next message decides whether deliveries resume";
  return "open: deliveries failed. The next attempt is within 30 min, or as soon as the peer is reachable again";
}

/** A stream can be ahead of the last checkpoint. */
function headOf({ seq, head }: PeerDetails["sync"][number]["followed"]): string {
  return head === null ? "?" : String(Math.max(seq, head));
}

function streaming(side: { streaming: boolean }): string {
  return side.streaming ? ", streaming" : "";
}

export function shortId({ atom_id }: Pick<PeerView, "atom_id">): string {
  return atom_id.slice(0, SHORT_ID_CHARS);
}

function ago(atMs: number | null, nowMs: number): string {
  return atMs === null ? "never" : `${formatDuration(nowMs - atMs)} ago`;
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString();
}
