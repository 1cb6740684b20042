import { LIMITS } from "../../schema/wire/limits.ts";
import { type Rig, startRig } from "./rig.ts";

/** Federation is on, peers on loopback are allowed, and the limits are high. */
export async function startFederated(entry: { main?: string } = {}): Promise<Rig> {
  const rig = await startRig(entry);
  await rig.admin.changeFederation({
    federation: "on",
    allow_private_peers: true,
    max_peers: 0,
    peer_requests_per_minute: LIMITS.peerMaxRequestsPerMinute,
    peer_event_requests_per_second: LIMITS.peerMaxEventRequestsPerSecond,
    peer_events_per_minute: LIMITS.peerMaxEventsPerMinute,
    peer_work_ms_per_second: LIMITS.peerMaxWorkMsPerSecond,
    origin_quota_mib: 0,
  });
  return rig;
}

/** Stops everything in reverse order, also when a measurement fails. */
export async function withAll<T>(use: (started: { end(stop: () => unknown): void }) => Promise<T>): Promise<T> {
  const stops: (() => unknown)[] = [];
  try {
    return await use({ end: (stop) => stops.push(stop) });
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}
