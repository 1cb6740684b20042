import fc from "fast-check";
import { expect, it } from "vitest";
import {
  FEDERATION_POLICY_DEFAULTS,
  type FederationPolicy,
  federationPolicy,
} from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { formatStatus } from "../../../scripts/cli/federation.ts";
import { SWITCHES_HELP, switchesFrom, switchesTable } from "../../../scripts/cli/federation-switches.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";

const HINTS = hintsOf({}, {});

it.each<[given: string[], want: Partial<FederationPolicy>]>([
  [["allow_private_peers=on"], { allow_private_peers: true }],
  [["allow_private_peers=false"], { allow_private_peers: false }],
  [["legacy_signatures=reads"], { legacy_signatures: "reads" }],
  [["max_peers=0"], { max_peers: 0 }],
  [["require_mutual=off", "min_auth_tier=device-bound"], { require_mutual: false, min_auth_tier: "device-bound" }],
  [["max_peers=1", "max_peers=2"], { max_peers: 2 }],
])("%j is parsed", (given, want) => expect(switchesFrom(given, HINTS)).toEqual(want));

it.each<[given: string, says: string]>([
  [
    "federation=on",
    "To turn federation on or off: npm run ligand -- federation on, or npm run ligand -- federation off",
  ],
  ["allow_private_peers", "allow_private_peers must be on or off, as in allow_private_peers=on."],
  ["allow_private_peers=yes", "allow_private_peers must be on or off"],
  ["allow_private_peers=", "allow_private_peers must be on or off"],
  ["legacy_signatures=some", "legacy_signatures must be off, reads or all, as in legacy_signatures=off."],
  ["max_peers=-1", "max_peers must be 0 to 100000"],
  ["max_peers=1e3", "max_peers must be 0 to 100000"],
  ["max_peers=100001", "max_peers must be 0 to 100000"],
  ["peer_requests_per_minute=0", "peer_requests_per_minute must be 1 to"],
  ["min_auth_tier=none", "min_auth_tier must be oauth-verified, device-bound or hardware-attested"],
  ["__proto__=on", 'There is no switch "__proto__"'],
  ["=on", 'There is no switch "". The switches are: accept_reads'],
])("%s is refused with an error that names the allowed values", (given, says) =>
  expect(() => switchesFrom([given], HINTS)).toThrow(says),
);

it("the value of every switch as the table shows it can be typed, and gives the same policy", () => {
  const shape = federationPolicy.shape;
  const policies: fc.Arbitrary<FederationPolicy> = fc.record({
    federation: fc.constantFrom(...shape.federation.options),
    accept_reads: fc.boolean(),
    accept_writes: fc.boolean(),
    legacy_signatures: fc.constantFrom(...shape.legacy_signatures.options),
    accept_settlement: fc.boolean(),
    allow_private_peers: fc.boolean(),
    allow_plain_http: fc.boolean(),
    allow_private_webhook: fc.boolean(),
    min_auth_tier: fc.constantFrom(...shape.min_auth_tier.options),
    require_mutual: fc.boolean(),
    auto_accept_known: fc.boolean(),
    max_peers: fc.integer({ min: 0, max: 100_000 }),
    peer_requests_per_minute: fc.integer({ min: 1, max: 100 }),
    peer_pending_requests: fc.integer({ min: 1, max: LIMITS.adminMaxRequestsPending }),
    peer_event_requests_per_second: fc.integer({ min: 1, max: 100 }),
    peer_events_per_minute: fc.integer({ min: 1, max: 100 }),
    origin_quota_mib: fc.integer({ min: 0, max: 100 }),
    peer_work_ms_per_second: fc.integer({ min: 1, max: 100 }),
  });
  fc.assert(
    fc.property(policies, ({ federation, ...switches }) => {
      const rows = switchesTable({ federation, ...switches })
        .split("\n")
        .slice(1);
      const typed = rows.map((row) => row.split(/ {2,}/)).map(([name, value]) => `${name}=${value}`);
      expect(switchesFrom(typed, HINTS)).toEqual(switches);
    }),
  );
});

it("the help names every switch with its values", () =>
  expect(SWITCHES_HELP.map((line) => line.split(/\s/)[0])).toEqual(
    Object.keys(federationPolicy.shape).filter((name) => name !== "federation"),
  ));

const id = "ab".repeat(32);
const status = {
  policy: FEDERATION_POLICY_DEFAULTS,
  card: {
    atom_id: id,
    public_key: id,
    name: "Alder",
    url: "https://alder.example",
    auth_tier: "device-bound" as const,
    capabilities: [],
  },
  peers: { known: 3, accepted: 2, bonded: 1 },
  awaiting_admin: [] as string[],
  unfollowable: [] as string[],
  events: { log_id: "x", public: 0, peers: 2, all: 9, hlc: { physical_us: 0, logical: 0 } },
  refused_requests: {},
};

it.each<[what: string, given: Partial<typeof status> & object, says: string]>([
  [
    "off",
    {},
    "Federation is off: this pool does not answer other pools and does not call them. To turn it on: npm run ligand -- federation on",
  ],
  ["on", { policy: { ...FEDERATION_POLICY_DEFAULTS, federation: "on" } }, "Federation is on.\n"],
  ["the pool's identity", {}, `Pool        Alder, ${id}\nURL         https://alder.example`],
  ["how many peers it has", {}, "3 known; 2 of them accepted or bonded; 1 bonded"],
  ["the size of its log", {}, "9 events: 0 public, 2 for bonded peers"],
  [
    "which peer's log it cannot follow",
    { unfollowable: [id] },
    `this pool cannot follow the logs of ${id.slice(0, 16)}. To see why`,
  ],
  [
    "which peers await an answer",
    { awaiting_admin: [id] },
    "1 peer offered trust, and you have not answered. To see them: npm run ligand -- peers list",
  ],
  ["which requests it refused", { refused_requests: { replayed: 2, skewed: 0 } }, "Refused     2 replayed\n"],
])("the status shows %s", (_what, given, says) => expect(formatStatus({ ...status, ...given }, HINTS)).toContain(says));
