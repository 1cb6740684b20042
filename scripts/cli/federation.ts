import type * as z from "zod";
import type { federationStatus } from "../../schema/wire/federation.ts";
import type { Command, Group } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { formatSwitch, switchesTable } from "./federation-switches.ts";
import { addressWarning } from "./format-peer.ts";
import { setSwitches } from "./policy.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

type Status = z.infer<typeof federationStatus>;

const NO_ARGUMENTS = { options: COMMON_OPTIONS, positionals: { min: 0, max: 0 }, help: COMMON_HELP } as const;

const on: Command = {
  summary: "Turn federation on: within 100 ms this pool answers its peers and calls them.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const client = admin(values);
    const policy = await client.changeFederation({ federation: "on" });
    const { card } = await client.federation();
    const message = `Federation is on. To add another pool: ${hints.ligand("peers add URL")}`;
    return print(values, { policy }, message, addressWarning(card.url, hints));
  },
};

const off: Command = {
  summary:
    "Turn federation off: within 100 ms every federated request in and out is refused, and streams end within 1 s.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const policy = await admin(values).changeFederation({ federation: "off" });
    const message = `Federation is off. Peers and their trust are kept. To turn it on again: ${hints.ligand("federation on")}`;
    return print(values, { policy }, message);
  },
};

const status: Command = {
  summary: "Show whether federation is on, this pool's card, its peers, and the switches.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const found = await admin(values).federation();
    return print(values, found, formatStatus(found, hints));
  },
};

/** The state of federation at this pool, as text. */
export function formatStatus(
  { policy, card, peers, awaiting_admin, unfollowable, events, origins = [], refused_requests }: Status,
  hints: Hints,
): string {
  const refused = Object.entries(refused_requests).filter(([, times]) => times > 0);
  const rows: [label: string, value: string][] = [
    ["Pool", `${printable(card.name)}, ${card.atom_id}`],
    ["URL", card.url],
    ["Peers", `${peers.known} known; ${peers.accepted} of them accepted or bonded; ${peers.bonded} bonded`],
    ["Log", `${pluralize(events.all, "event")}: ${events.public} public, ${events.peers} for bonded peers`],
  ];
  if (awaiting_admin.length > 0) {
    const waiting = pluralize(awaiting_admin.length, "peer");
    rows.push([
      "Waiting",
      `${waiting} offered trust, and you have not answered. To see them: ${hints.ligand("peers list")}`,
    ]);
  }
  if (unfollowable.length > 0) {
    const ids = unfollowable.map((id) => id.slice(0, 16)).join(", ");
    rows.push(["Stuck", `this pool cannot follow the logs of ${ids}. To see why: ${hints.ligand("peers show ID")}`]);
  }
  if (origins.length > 0) {
    const used = ({ atom_id, bytes }: (typeof origins)[number]) =>
      `${atom_id.slice(0, 16)} ${(bytes / 1024 ** 2).toFixed(1)} MiB`;
    rows.push(["Storage", `most of the log comes from: ${origins.slice(0, 3).map(used).join(", ")}`]);
  }
  if (refused.length > 0) rows.push(["Refused", refused.map(([reason, times]) => `${times} ${reason}`).join(", ")]);
  const lines = rows.map(([label, value]) => `${label.padEnd(10)}  ${value}`);
  return [formatSwitch(policy, hints), "", ...lines, "", switchesTable(policy)].join("\n");
}

/** `ligand federation …`: federation as a whole. `set` is `ligand policy set`. */
export const federation: Group = {
  summary: "Control federation: on, off, status, set.",
  commands: { on, off, status, set: setSwitches },
  standard: "status",
};
