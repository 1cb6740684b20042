/**
 * The metrics of federation: sums over all peers. Only the space in the log is reported for each origin, because there are
 * few large origins.
 */
import { SIGNATURE_REFUSALS } from "../../schema/crypto/request-signature.ts";
import type { LogCounts } from "../events/event-log-rpc.ts";
import type { OriginUse } from "../events/origin-quota-rules.ts";
import type { Census } from "../federation/peering/peer-registry-rpc.ts";
import { family, type Sample } from "./exposition.ts";

export interface MeasuredFederation {
  readonly census: Census;
  readonly log: LogCounts;
  readonly origins: readonly OriginUse[];
}

/** The metrics of federation, in the Prometheus text exposition format 0.0.4. */
export function federationText({ census, log, origins }: MeasuredFederation): string {
  const { trust, circuits, deliveries, givenUp, behind, untold, records, refused } = census;
  const each = (label: string, values: Readonly<Record<string, number>>): Sample[] =>
    Object.entries(values).map(([name, value]): Sample => ["", { [label]: name }, value]);
  const reasons = { ...Object.fromEntries(SIGNATURE_REFUSALS.map((reason) => [reason, 0])), ...refused };
  return [
    family(
      "ligand_federation_requests_refused_total",
      "counter",
      "Refused requests of pools, by code; unauthenticated ones by reason.",
      each("reason", reasons),
    ),
    family("ligand_federation_peers", "gauge", "Peers, by effective trust.", each("trust", trust)),
    family("ligand_federation_circuits", "gauge", "Peers, by circuit state.", each("state", circuits)),
    family("ligand_federation_deliveries_waiting", "gauge", "Messages pending for a peer.", [["", {}, deliveries]]),
    family("ligand_federation_deliveries_given_up_total", "counter", "Messages whose delivery was given up.", [
      ["", {}, givenUp],
    ]),
    family(
      "ligand_federation_events_behind",
      "gauge",
      "Events of peers' logs that this pool does not have yet, by audience.",
      each("audience", behind),
    ),
    family("ligand_federation_untold", "gauge", "Events about peers that the event log has not confirmed.", [
      ["", {}, untold],
    ]),
    family("ligand_federation_outbox_rows", "gauge", "Rows about peers that are pending for D1.", [
      ["", {}, records.waiting],
    ]),
    family("ligand_log_events_total", "counter", "Events added to the log, by source.", [
      ["", { from: "here" }, log.appended],
      ["", { from: "peers" }, log.received],
    ]),
    family(
      "ligand_log_origin_bytes",
      "gauge",
      "Bytes of the log that events of one other pool fill, by the first 16 digits of its atom id.",
      origins.map(({ atomId, bytes }): Sample => ["", { origin: atomId.slice(0, 16) }, bytes]),
    ),
    family("ligand_log_events_relayed_total", "counter", "Events of peers that other peers may read here.", [
      ["", {}, log.relayed],
    ]),
  ].join("");
}
