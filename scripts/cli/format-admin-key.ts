import type { AdminKey } from "../../schema/wire/admin-keys.ts";
import { ACTIONS, type ActionName, type UnsignedAdminRequest } from "../../schema/wire/admin-requests.ts";
import type { PeerView } from "../../schema/wire/federation.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";

/** How the command line shows admin keys, and what an admin signs. */

const SHORT_ID_CHARS = 16;
type KnownPeer = Pick<PeerView, "atom_id" | "name">;

export function adminKeysTable(keys: readonly AdminKey[], peers: readonly KnownPeer[], hints: Hints): string {
  return table(
    ["ID", "OWNER", "LABEL", "ADDED BY", "ADDED"],
    keys.map(({ key_id, peer, label, added_by, added_at_ms }) => [
      key_id.slice(0, SHORT_ID_CHARS),
      formatOwner(peer, peers),
      printable(label),
      printable(added_by),
      new Date(added_at_ms).toISOString(),
    ]),
    `No admin key is registered, so this pool accepts no write requests. To register one: ${hints.ligand("admin-keys add PUBLIC_KEY --peer ID")}`,
  );
}

/** Whose admin has the key. */
export function formatOwner(peer: string | null, peers: readonly KnownPeer[]): string {
  if (peer === null) return "this pool";
  const known = peers.find(({ atom_id }) => atom_id === peer);
  return `${peer.slice(0, SHORT_ID_CHARS)} ${known === undefined ? "(not a peer)" : printable(known.name)}`.trim();
}

/** What a signature would allow, in words. */
export function formatToSign(
  { origin, destination, request_id, action_type, action_params }: UnsignedAdminRequest,
  keyId: string,
  expiresAtMs: number,
  nowMs: number,
): string {
  return [
    `You ask the admin of pool ${destination}`,
    `in the name of pool       ${origin}`,
    `to run                    ${printable(action_type)}: ${describe(action_type, action_params)}`,
    `with the parameters       ${printable(JSON.stringify(action_params))}`,
    `request                   ${request_id}`,
    `signature good until      ${new Date(expiresAtMs).toISOString()} (${formatDuration(expiresAtMs - nowMs)})`,
    `your key                  ${keyId}`,
  ].join("\n");
}

type Describe = { readonly [Name in ActionName]: (params: UnsignedAdminRequest["action_params"]) => string };
const DESCRIBE: Describe = {
  query_events: () => "read events. A read needs no signature",
  circuit_reset: ({ worker_id }) =>
    `close the circuits and reset the quality scores of ${worker_id === undefined ? "all workers" : `worker ${printable(String(worker_id))}`}`,
};

function describe(action: string, params: UnsignedAdminRequest["action_params"]): string {
  if (!Object.hasOwn(ACTIONS, action)) return "this version does not know the action";
  const name = action as ActionName;
  const isValid = ACTIONS[name].params.safeParse(params).success;
  return `${DESCRIBE[name](params)}${isValid ? "" : ". The peer refuses these parameters"}`;
}
