import type * as z from "zod";
import type { FederationPolicy, federationStatus } from "../../schema/wire/federation.ts";
import type { Command, Group } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { pluralize } from "../../worker-agent/cli/shared/pluralize.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { SWITCHES_HELP, switchesFrom, switchesTable } from "./federation-switches.ts";
import { addressWarning } from "./peer-words.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

type Status = z.infer<typeof federationStatus>;

const NO_ARGUMENTS = { options: COMMON_OPTIONS, positionals: { min: 0, max: 0 }, help: COMMON_HELP } as const;

const on: Command = {
  summary: "Switch federation on: this pool answers its peers, and calls them, within 100 ms.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const client = admin(values);
    const policy = await client.changeFederation({ federation: "on" });
    const { card } = await client.federation();
    const words = `Federation is on. Meet another pool with: ${hints.ligand("peers add URL")}`;
    return print(values, { policy }, words, addressWarning(card.url, hints));
  },
};

const off: Command = {
  summary:
    "The kill switch: within 100 ms every federated request is refused, in and out; open streams end within 1 s.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const policy = await admin(values).changeFederation({ federation: "off" });
    const words = `Federation is off. Peers and what is trusted are kept, for: ${hints.ligand("federation on")}`;
    return print(values, { policy }, words);
  },
};

const status: Command = {
  summary: "Show whether federation is on, what this pool says of itself, whom it knows, and the switches.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const found = await admin(values).federation();
    return print(values, found, statusWords(found, hints));
  },
};

const set: Command = {
  summary: "Change what other pools may do here.",
  usage: "NAME=VALUE… [--json]",
  help: [...SWITCHES_HELP, "", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: SWITCHES_HELP.length },
  async run(values, given, hints) {
    const change = switchesFrom(given, hints);
    const policy = await admin(values).changeFederation(change);
    return print(values, { policy }, `${switchWord(policy, hints)}\n\n${switchesTable(policy)}`);
  },
};

/** Pure: how federation stands at this pool, for people. */
export function statusWords(
  { policy, card, peers, awaiting_admin, unfollowable, events, origins = [], refused_requests }: Status,
  hints: Hints,
): string {
  const refused = Object.entries(refused_requests).filter(([, times]) => times > 0);
  const rows: [label: string, words: string][] = [
    ["Pool", `${printable(card.name)}, ${card.atom_id}`],
    ["Reached at", card.url],
    ["Peers", `${peers.known} known, of which ${peers.accepted} accepted, of which ${peers.bonded} bonded`],
    ["Log", `${pluralize(events.all, "event")}: ${events.public} public, ${events.peers} for bonded peers`],
  ];
  if (awaiting_admin.length > 0) {
    const waiting = pluralize(awaiting_admin.length, "peer");
    rows.push(["To answer", `${waiting} offered more than you answered; see: ${hints.ligand("peers list")}`]);
  }
  if (unfollowable.length > 0) {
    const ids = unfollowable.map((id) => id.slice(0, 16)).join(", ");
    rows.push(["Stuck", `the logs of ${ids} cannot be followed; see why: ${hints.ligand("peers show ID")}`]);
  }
  if (origins.length > 0) {
    const used = ({ atom_id, bytes }: (typeof origins)[number]) =>
      `${atom_id.slice(0, 16)} ${(bytes / 1024 ** 2).toFixed(1)} MiB`;
    rows.push(["Of peers", `in the log: ${origins.slice(0, 3).map(used).join(", ")}`]);
  }
  if (refused.length > 0) rows.push(["Refused", refused.map(([reason, times]) => `${times} ${reason}`).join(", ")]);
  const lines = rows.map(([label, words]) => `${label.padEnd(10)}  ${words}`);
  return [switchWord(policy, hints), "", ...lines, "", switchesTable(policy)].join("\n");
}

function switchWord({ federation }: FederationPolicy, hints: Hints): string {
  if (federation === "on") return "Federation is on.";
  return `Federation is off: other pools are neither heard nor called. Switch it on with: ${hints.ligand("federation on")}`;
}

/** `ligand federation …`: the switches of what is between pools. */
export const federation: Group = {
  summary: "Federation's switches: on, off, status, set.",
  commands: { on, off, status, set },
  standard: "status",
};
