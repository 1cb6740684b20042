/**
 * What is between pools, for Prometheus: sums over all peers. Only what their events fill of the log is told by origin, of
 * which there are few. Pure.
 */
import { SIGNATURE_REFUSALS } from "../../schema/crypto/request-signature.ts";
import type { LogCounts } from "../events/event-log-rpc.ts";
import type { OriginUse } from "../events/origin-quota-rules.ts";
import type { Census } from "../federation/peering/peer-registry-object.ts";
import { family, type Sample } from "./exposition.ts";

export interface MeasuredFederation {
  readonly census: Census;
  readonly log: LogCounts;
  readonly origins: readonly OriginUse[];
}

export function federationText({ census, log, origins }: MeasuredFederation): string {
  const { trust, circuits, deliveries, givenUp, behind, untold, records, refused } = census;
  const each = (label: string, values: Readonly<Record<string, number>>): Sample[] =>
    Object.entries(values).map(([name, value]): Sample => ["", { [label]: name }, value]);
  const reasons = { ...Object.fromEntries(SIGNATURE_REFUSALS.map((reason) => [reason, 0])), ...refused };
  return [
    family(
      "ligand_federation_requests_refused_total",
      "counter",
      "Requests of pools that were refused: by code, and those that were not authenticated by reason.",
      each("reason", reasons),
    ),
    family("ligand_federation_peers", "gauge", "Peers, by the trust that is in effect.", each("trust", trust)),
    family("ligand_federation_circuits", "gauge", "Peers, by the state of their circuit.", each("state", circuits)),
    family("ligand_federation_deliveries_waiting", "gauge", "Messages that wait for a peer.", [["", {}, deliveries]]),
    family("ligand_federation_deliveries_given_up_total", "counter", "Messages that a peer never took.", [
      ["", {}, givenUp],
    ]),
    family(
      "ligand_federation_events_behind",
      "gauge",
      "Events of peers' logs that are known of and not here yet, by audience.",
      each("audience", behind),
    ),
    family("ligand_federation_untold", "gauge", "What was decided of peers and the event log has not heard of.", [
      ["", {}, untold],
    ]),
    family("ligand_federation_outbox_rows", "gauge", "Records of peers that wait to be written to D1.", [
      ["", {}, records.waiting],
    ]),
    family(
      "ligand_log_events_total",
      "counter",
      "Events that came into the log: this pool's own, and those of peers.",
      [
        ["", { from: "here" }, log.appended],
        ["", { from: "peers" }, log.received],
      ],
    ),
    family(
      "ligand_log_origin_bytes",
      "gauge",
      "What the events of one other pool fill of the log, by the first 16 digits of its atom id.",
      origins.map(({ atomId, bytes }): Sample => ["", { origin: atomId.slice(0, 16) }, bytes]),
    ),
    family("ligand_log_events_relayed_total", "counter", "Events of peers that other peers may read here.", [
      ["", {}, log.relayed],
    ]),
  ].join("");
}
