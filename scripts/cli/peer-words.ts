import type * as z from "zod";
import type { federationStatus, PeerView, peerDetails } from "../../schema/wire/federation.ts";
import { LIGAND } from "../../worker-agent/cli/shared/called-as.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { pluralize } from "../../worker-agent/cli/shared/pluralize.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import { leadsToLoopback } from "../runtime/listen-address.ts";

/** What the command line says of peers. Pure. */

export type PeerDetails = z.infer<typeof peerDetails>;
type Status = z.infer<typeof federationStatus>;
/** How many events of ours each audience has. */
export type Heads = Readonly<Record<"public" | "peers", number>>;

const SHORT_ID_CHARS = 16;
const LEAST_ID_CHARS = 6;

/** The peer whose id begins so: it need not be typed whole. */
export function peerIdOf(given: string, peers: readonly Pick<PeerView, "atom_id">[], hints: Hints): string {
  const see = `See them with: ${hints.ligand("peers list")}`;
  const prefix = given.toLowerCase();
  if (!/^[0-9a-f]{6,64}$/.test(prefix)) {
    throw new UsageError(`"${printable(given)}" is no peer's id: ${LEAST_ID_CHARS} to 64 hex digits. ${see}`);
  }
  const [found, ...others] = peers.filter((peer) => peer.atom_id.startsWith(prefix));
  if (found === undefined) {
    const back = `One that was removed comes back with: ${hints.ligand("peers add URL")}`;
    throw new OperatorError(`No peer's id begins with ${prefix}. ${see}\n${back}`, "federation/peer-not-found");
  }
  if (others.length > 0) {
    throw new OperatorError(
      `${pluralize(others.length + 1, "peer")} have ids that begin with ${prefix}. Say more of it.`,
    );
  }
  return found.atom_id;
}

/** Of one that is forgotten now, with the way back where that is not plain. */
export function removedWords(peer: Pick<PeerView, "atom_id" | "url" | "revoked_at_ms">, hints: Hints): string {
  const removed = `Peer ${peer.atom_id} is removed.`;
  if (peer.revoked_at_ms === null) {
    return `${removed} It is told so if it was granted anything, as soon as it answers.`;
  }
  const [add, trust] = [hints.ligand(`peers add ${peer.url}`), hints.ligand(`peers trust ${short(peer)} 1`)];
  return `${removed} It stays revoked, and cannot register. The way back: ${add}\nand then: ${trust}`;
}

/** What a peer may here, in one word (docs/spec/federation.md#trust). */
export function trustWord(peer: Pick<PeerView, "effective" | "revoked_at_ms">): string {
  if (peer.revoked_at_ms !== null) return "revoked";
  return (["refused", "known", "accepted", "bonded", "bonded"] as const)[peer.effective];
}

/** The same in a formatEvent, with what to do next. `self`: this pool's atom id. */
export function standing(peer: PeerView, self: string, hints: Hints): string {
  const { granted, received, effective, awaits_admin } = peer;
  const trust = (level: number | string) => hints.ligand(`peers trust ${short(peer)} ${level}`);
  const open =
    awaits_admin === null ? "" : ` It offers trust ${awaits_admin} and awaits your answer: ${trust(awaits_admin)}`;
  switch (trustWord(peer)) {
    case "revoked":
      return `Revoked: it may nothing here. Take that back with: ${trust(1)}`;
    case "refused":
      return `Refused: min_auth_tier asks for more than any peer can prove. ${lowerTier(hints)}`;
    case "known":
      return `Known: it has proven its key, and reads nothing yet.${open || ` Let it read public events with: ${trust(2)}`}`;
    case "accepted": {
      if (granted < 3) return `Accepted: it reads public events.${open || ` Offer it a bond with: ${trust(3)}`}`;
      // Typed over there, where our flags lead nowhere.
      const theirs = `${LIGAND} peers trust ${self.slice(0, SHORT_ID_CHARS)} 3`;
      return `Accepted: you granted 3 and it grants ${received}. It is bonded once its admin says: ${theirs}`;
    }
    default:
      return `Bonded: both admins granted 3, and events for peers go both ways.${effective > 3 ? " Settlement is on." : ""}`;
  }
}

export function peersTable(peers: readonly PeerView[], nowMs: number, hints: Hints): string {
  const rows = peers.map((peer) => [
    short(peer),
    printable(peer.name),
    peer.url,
    trustWord(peer),
    `${ago(peer.last_seen_ms, nowMs)}${peer.absent === null ? "" : `; ${ABSENT[peer.absent.reason]}`}`,
    peer.circuit,
  ]);
  const waiting = peers.filter((peer) => peer.awaits_admin !== null);
  return [
    table(
      ["ID", "NAME", "URL", "TRUST", "SEEN", "CIRCUIT"],
      rows,
      `This pool knows no other. Meet one with: ${hints.ligand("peers add URL")}`,
    ),
    ...waiting.map(
      (peer) =>
        `\n${printable(peer.name)} (${short(peer)}) offers trust ${peer.awaits_admin} and awaits your answer: ` +
        hints.ligand(`peers trust ${short(peer)} ${peer.awaits_admin}`),
    ),
  ].join("\n");
}

export function peerWords(
  peer: PeerDetails,
  own: { atomId: string; heads: Heads },
  nowMs: number,
  hints: Hints,
): string {
  const rows: [label: string, words: string][] = [
    ["Peer", `${printable(peer.name)}, ${peer.atom_id}`],
    ["URL", peer.url],
    ["Trust", standing(peer, own.atomId, hints)],
    ["Since", `${iso(peer.added_at_ms)}, added by ${peer.added_by === "admin" ? "an admin" : "itself"}`],
    ["Seen", ago(peer.last_seen_ms, nowMs)],
    ["Signs", `version ${peer.signature_version}`],
    ["Circuit", circuitWords(peer)],
  ];
  if (peer.absent !== null) rows.splice(5, 0, ["Away", absenceWords(peer.absent, nowMs)]);
  if (peer.revoked_at_ms !== null) rows.push(["Revoked", iso(peer.revoked_at_ms)]);
  if (peer.deliveries_waiting > 0) rows.push(["To be told", pluralize(peer.deliveries_waiting, "message")]);
  const sync = table(
    ["AUDIENCE", "WE HAVE OF ITS LOG", "IT HAS OF OURS"],
    peer.sync.map(({ audience, followed, sent }) => [
      audience,
      followed.equivocated
        ? "not followed: it told two stories"
        : `${followed.seq} of ${headOf(followed)}${streaming(followed)}`,
      `${sent.seq} of ${own.heads[audience]}${streaming(sent)}${sent.started_over_ms === null ? "" : ", started over"}`,
    ]),
    "",
  );
  const refused = peer.sync.flatMap(({ audience, followed: { refused } }) =>
    refused === null
      ? []
      : [`\nIts log (${audience}) leads nowhere since ${iso(refused.since_ms)}: ${refusalWords(refused.reason)}`],
  );
  const followAnew = hints.ligand(`peers follow-anew ${short(peer)}`);
  const stuck = `Ask its operator; once that is mended, or to take it as it is now: ${followAnew}`;
  const lied = peer.sync.some(({ followed }) => followed.equivocated);
  const anew = `\nThe proof is in the log: ${hints.ligand("events tail")}\nTo follow it from its beginning all the same: ${followAnew}`;
  const notes = [...refused, ...(refused.length > 0 ? [stuck] : []), ...(lied ? [anew] : [])];
  return [...rows.map(([label, words]) => `${label.padEnd(10)}  ${words}`), "", sync, ...notes].join("\n");
}

/** Of a newer pool's reasons the word itself. */
function refusalWords(reason: string): string {
  return REFUSALS[reason] ?? printable(reason);
}

const REFUSALS: Readonly<Record<string, string>> = {
  "rolled-back": "its head went backwards under the same name, as that of a backup that was restored by hand.",
  "chain-mismatch": "its events do not lead to the checkpoint that it signed.",
  "out-of-step": "its numbers have gaps or repeats.",
  "new-log": "it says another name each time it is asked.",
  "quota-spent": "this pool's log keeps no more of its events; raise origin_quota_mib, or revoke the peer.",
  malformed: "what it answers is no page of a log, or its checkpoint is not its own.",
};

/**
 * What to do where this pool tells others an address at which they find themselves: their grants, verifications and
 * pulls would never come here. `peerUrl`: of the one that was told; undefined: of all that will be.
 */
export function addressWarning(ownUrl: string, hints: Hints, peerUrl?: string): string | undefined {
  if (!leadsToLoopback(ownUrl) || (peerUrl !== undefined && leadsToLoopback(peerUrl))) return undefined;
  return (
    `This pool tells others that it is at ${ownUrl}, where only this machine finds it. ` +
    `For peers elsewhere, start it again with where they reach it: ${hints.start("--public-url URL")}`
  );
}

interface Asked {
  /** Where the pool is that refused. */
  url?: string;
  /** This pool has met it before, and is granted nothing there. */
  isKnown?: boolean;
}

/** The command that helps where the pool refused; undefined where its own words are enough. */
export function nextStep(
  code: string,
  { policy, card }: Pick<Status, "policy" | "card">,
  hints: Hints,
  asked: Asked = {},
): string | undefined {
  const allow = hints.ligand("federation set allow_private_peers=on");
  switch (code) {
    case "federation/disabled":
      return `Switch it on with: ${hints.ligand("federation on")}`;
    case "federation/legacy-off":
      return `To allow it: ${hints.ligand("federation set legacy_signatures=reads")}`;
    case "federation/private-address":
      return `To allow it: ${allow}`;
    case "federation/too-many-peers":
      return `For more than ${policy.max_peers}: ${hints.ligand("federation set max_peers=N")}`;
    case "federation/tier-refused":
      return lowerTier(hints);
    case "federation/registration-refused":
      return notAdmitted(card, hints, asked);
    default:
      return undefined;
  }
}

/** The other pool says to nobody why. What its operator would type is said without our flags, which mean nothing there. */
function notAdmitted(card: Status["card"], hints: Hints, { url, isKnown = false }: Asked): string {
  if (isKnown) {
    const wayBack = `${LIGAND} peers trust ${short(card)} 1`;
    return `It admitted this pool before: its operator has likely revoked it since, and takes that back with: ${wayBack}`;
  }
  const loopback = url === undefined ? undefined : addressWarning(card.url, hints, url);
  if (loopback !== undefined) return loopback;
  const allow = `its operator allows that with: ${LIGAND} federation set allow_private_peers=on`;
  return card.url.startsWith("https:")
    ? `This pool says that it is at ${card.url}; if that leads to a private address, ${allow}`
    : `This pool says that it is at ${card.url}, over plain http; ${allow}`;
}

function lowerTier(hints: Hints): string {
  return `To let it be as strong as peers are: ${hints.ligand("federation set min_auth_tier=device-bound")}`;
}

const ABSENT: Readonly<Record<NonNullable<PeerView["absent"]>["reason"], string>> = {
  off: "its federation is off",
  silent: "it does not answer",
  error: "it answers with errors",
};

function absenceWords({ reason, since_ms }: NonNullable<PeerView["absent"]>, nowMs: number): string {
  return `${ABSENT[reason]} since ${iso(since_ms)}, ${ago(since_ms, nowMs)}; it is asked again by itself`;
}

function circuitWords({ circuit }: PeerView): string {
  if (circuit === "closed") return "closed";
  if (circuit === "half-open") return "half-open: the next message shows whether it takes what it is sent";
  return "open: it failed to take what it was sent, and is tried again within 30 min; at once if it was away and answers";
}

/** A stream goes on past the last checkpoint. */
function headOf({ seq, head }: PeerDetails["sync"][number]["followed"]): string {
  return head === null ? "?" : String(Math.max(seq, head));
}

function streaming(side: { streaming: boolean }): string {
  return side.streaming ? ", streaming" : "";
}

export function short({ atom_id }: Pick<PeerView, "atom_id">): string {
  return atom_id.slice(0, SHORT_ID_CHARS);
}

function ago(atMs: number | null, nowMs: number): string {
  return atMs === null ? "never" : `${formatDuration(nowMs - atMs)} ago`;
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString();
}
