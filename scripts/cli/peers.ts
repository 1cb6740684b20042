import { atomId } from "../../schema/wire/events.ts";
import { type GrantableLevel, grantableLevel, normalisedPeerUrl } from "../../schema/wire/federation.ts";
import { type Command, type Group, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import type { AdminClient } from "../runtime/admin-client.ts";
import {
  addressWarning,
  formatPeer,
  formatRemoved,
  formatTrust,
  nextStep,
  type PeerDetails,
  peerIdOf,
  peersTable,
} from "./format-peer.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print, watched } from "./pool-common.ts";
import { notRecorded } from "./short-id.ts";

const ONE_ID = { options: COMMON_OPTIONS, positionals: { min: 1, max: 1 } } as const;
const ID_HELP = ["ID            the peer's atom id, or its first 6 or more hex digits", ...COMMON_HELP] as const;

const add: Command = {
  summary:
    "Add the pool at a URL as a peer. Each pool proves its key to the other. The peer has no rights until you grant trust.",
  usage: "URL [--atom-id HEX] [--json]",
  help: [
    "URL           the other pool's URL, such as https://pool.example",
    "--atom-id HEX fail unless the pool has this atom id, which its operator gave you",
    ...COMMON_HELP,
    "",
    "If the pool is already a peer, its URL and name are updated.",
  ],
  options: { ...COMMON_OPTIONS, "atom-id": { type: "string" } },
  positionals: { min: 1, max: 1 },
  async run(values, [given = ""], hints) {
    const url = urlOf(given);
    const expected = text(values, "atom-id")?.toLowerCase();
    if (expected !== undefined && !atomId.safeParse(expected).success) {
      throw new UsageError("--atom-id must be the 64 hex digits of the other pool's atom id.");
    }
    const client = admin(values);
    const before = await client.peers();
    const known = before.find((peer) => peer.url === url && peer.received === 0);
    const call = { url, isKnown: known !== undefined, hasRevokedUs: known?.revoked_us ?? false };
    const peer = await watched(values, async (show) => {
      const startedMs = Date.now();
      const tick = () => show(`Waiting for ${printable(url)}: ${Math.round((Date.now() - startedMs) / 1_000)} s`);
      const timer = setInterval(tick, 1_000);
      return client.addPeer({ url, atom_id: expected }).finally(() => clearInterval(timer));
    }).catch(withNextStep(client, hints, call));
    const { card } = await client.federation();
    const wasKnown = before.some(({ atom_id }) => atom_id === peer.atom_id);
    const note = wasKnown ? "It already was a peer. Its URL and name are updated.\n" : "";
    return printPeer(values, hints, client, peer, { note, warning: addressWarning(card.url, hints, url) });
  },
};

const list: Command = {
  summary: "List the peers, their trust, and the peers that wait for your answer.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const peers = await admin(values).peers();
    return print(values, { peers }, peersTable(peers, Date.now(), hints));
  },
};

const show: Command = {
  summary: "Show one peer: trust in both directions, delivery, and how far each pool has read the other's log.",
  usage: "ID [--json]",
  help: ID_HELP,
  ...ONE_ID,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const peer = await client.peer(await completeId(client, given, hints));
    const { card, events } = await client.federation();
    return print(values, peer, formatPeer(peer, { atomId: card.atom_id, heads: events }, Date.now(), hints));
  },
};

const trust: Command = {
  summary: "Set the trust of a peer: 0 revoked, 1 known, 2 reads public events, 3 bonded.",
  usage: "ID LEVEL [--json]",
  help: [
    ...ID_HELP.slice(0, 1),
    "LEVEL         0  revoked: it loses all rights immediately and cannot register again",
    "              1  known: it has proven its key",
    "              2  accepted: it may read public events and the list of peers",
    "              3  bonded, when its admin also grants 3: both pools exchange their events for peers",
    ...COMMON_HELP,
  ],
  options: COMMON_OPTIONS,
  positionals: { min: 2, max: 2 },
  async run(values, [given = "", level = ""], hints) {
    return grant(values, hints, given, levelOf(level, hints));
  },
};

const revoke: Command = {
  summary: "Withdraw all trust from a peer immediately; the same as trust ID 0.",
  usage: "ID [--json]",
  help: ID_HELP,
  ...ONE_ID,
  run: (values, [given = ""], hints) => grant(values, hints, given, 0),
};

const remove: Command = {
  summary: "Delete a peer. It may register again as a new peer, unless it was revoked.",
  usage: "ID [--json]",
  help: ID_HELP,
  ...ONE_ID,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const peer = await client.peer(await completeId(client, given, hints));
    const removed = await client.removePeer(peer.atom_id);
    return print(values, { atom_id: peer.atom_id, ...removed }, formatRemoved(peer, hints) + notRecorded(removed));
  },
};

const resync: Command = {
  summary: "Follow a peer's log from the beginning again, for example after it signed two versions of its log.",
  usage: "ID [--json]",
  help: ID_HELP,
  ...ONE_ID,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const peer = await client.resyncPeer(await completeId(client, given, hints));
    return print(values, peer, `This pool now follows the log of ${printable(peer.name)} from the beginning.`);
  },
};

async function grant(values: Values, hints: Hints, given: string, level: GrantableLevel): Promise<number> {
  const client = admin(values);
  const id = await completeId(client, given, hints);
  const peer = await client.trustPeer(id, level).catch(withNextStep(client, hints));
  return printPeer(values, hints, client, peer, {
    note: peer.recorded === false ? `${notRecorded(peer).trim()}\n` : "",
  });
}

async function printPeer(
  values: Values,
  hints: Hints,
  client: AdminClient,
  peer: PeerDetails,
  { note = "", warning }: { note?: string; warning?: string | undefined } = {},
): Promise<number> {
  const { atom_id: self } = await client.pool();
  return print(
    values,
    peer,
    `${printable(peer.name)}, ${peer.atom_id}\n${note}${formatTrust(peer, self, hints)}`,
    warning,
  );
}

const COMPLETE_ID = /^[0-9a-f]{64}$/;

async function completeId(client: AdminClient, given: string, hints: Hints): Promise<string> {
  const peers = await client.peers().catch((error: unknown) => {
    // If the pool cannot list its peers, a complete id still works.
    if (!COMPLETE_ID.test(given)) throw error;
    return [{ atom_id: given }];
  });
  return peerIdOf(given, peers, hints);
}

function urlOf(given: string): string {
  const url = normalisedPeerUrl(given);
  if (url !== null) return url;
  throw new UsageError(`"${printable(given)}" is not the URL of a pool, such as https://pool.example, without a path.`);
}

function levelOf(given: string, hints: Hints): GrantableLevel {
  const level = grantableLevel.safeParse(/^\d$/.test(given) ? Number(given) : undefined);
  if (level.success) return level.data;
  throw new UsageError(
    `LEVEL must be 0, 1, 2 or 3, not "${printable(given)}". For their meaning: ${hints.ligand("peers trust --help")}`,
  );
}

/** Adds the command that helps to the pool's refusal. */
function withNextStep(client: AdminClient, hints: Hints, call?: Parameters<typeof nextStep>[3]) {
  return async (error: unknown): Promise<never> => {
    if (!(error instanceof OperatorError)) throw error;
    const next = nextStep(error.code, await client.federation(), hints, call);
    throw next === undefined ? error : new OperatorError(`${error.message} ${next}`, error.code);
  };
}

/** `ligand peers …`: other pools and their trust. */
export const peers: Group = {
  summary: "Manage other pools: add, list, show, trust, revoke, remove, follow-anew.",
  commands: { add, list, show, trust, revoke, remove, "follow-anew": resync },
  standard: "list",
};
