import { describe, expect, it, vi } from "vitest";
import type * as z from "zod";
import {
  FEDERATION_POLICY_DEFAULTS,
  type FederationPolicy,
  type federationStatus,
  type PeerView,
  type peerDetails,
} from "../../../schema/wire/federation.ts";
import { formatStatus } from "../../../scripts/cli/federation.ts";
import {
  addressWarning,
  formatPeer,
  formatRemoved,
  formatTrust,
  nextStep,
  peerIdOf,
  peersTable,
} from "../../../scripts/cli/format-peer.ts";
import { ligand } from "../../../scripts/cli/ligand.ts";
import { workersTables } from "../../../scripts/cli/pool.ts";
import { COMMON_OPTIONS } from "../../../scripts/cli/pool-common.ts";
import { formatName } from "../../../scripts/cli/pool-name.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";
import { runCommand } from "../../../worker-agent/cli/shared/run-command.ts";
import { flagsOf } from "../../../worker-agent/cli/shared/settings.ts";

it.each<[given: Record<string, unknown>, ligand: string, start: string]>([
  [{}, "npm run ligand -- peers list", "npm start -- --insecure"],
  [{ json: true }, "npm run ligand -- peers list", "npm start -- --insecure"],
  [
    { state: "/srv/birch" },
    "npm run ligand -- peers list --state /srv/birch",
    "npm start -- --insecure --state /srv/birch",
  ],
  [
    { state: "/srv/my pool" },
    "npm run ligand -- peers list --state '/srv/my pool'",
    "npm start -- --insecure --state '/srv/my pool'",
  ],
  [
    { pool: "https://birch.example" },
    "npm run ligand -- peers list --pool https://birch.example",
    "npm start -- --insecure",
  ],
])("the hint after %j is for the same pool", (given, command, start) => {
  const hints = hintsOf(COMMON_OPTIONS, given);
  expect(hints.ligand("peers list")).toBe(command);
  expect(hints.start("--insecure")).toBe(start);
});

it("the hint for a worker's folder does not name a pool", () =>
  expect(hintsOf(flagsOf("worker"), { state: "/srv/w" }).ligand("worker status")).toBe(
    "npm run ligand -- worker status",
  ));

describe("every hint about this pool names the pool", () => {
  const hints = hintsOf(COMMON_OPTIONS, { state: "/srv/birch" });
  const id = "ab12cd".padEnd(64, "0");
  const own = "feed".padEnd(64, "1");
  const peer: z.infer<typeof peerDetails> = {
    atom_id: id,
    name: "Birch",
    url: "https://birch.example",
    auth_tier: "device-bound",
    capabilities: [],
    granted: 1,
    received: 0,
    effective: 1,
    awaits_admin: null,
    added_by: "admin",
    signature_version: 2,
    one_sided: false,
    revoked_us: false,
    circuit: "closed",
    absent: null,
    added_at_ms: 0,
    last_seen_ms: null,
    revoked_at_ms: null,
    sync: [true, false].map((equivocated) => ({
      audience: "public",
      followed: { seq: 0, head: null, streaming: false, equivocated, refused: { reason: "rolled-back", since_ms: 0 } },
      sent: { seq: 0, streaming: false, started_over_ms: null },
    })),
    deliveries_waiting: 0,
  };
  const status = (policy: Partial<FederationPolicy>): z.infer<typeof federationStatus> => ({
    policy: { ...FEDERATION_POLICY_DEFAULTS, ...policy },
    card: { ...peer, public_key: id, url: "http://127.0.0.1:8787" },
    peers: { known: 1, accepted: 0, bonded: 0 },
    awaiting_admin: [id],
    unfollowable: [id],
    events: { log_id: "x", public: 0, peers: 0, all: 0, hlc: { physical_us: 0, logical: 0 } },
    refused_requests: {},
  });
  const codes = ["disabled", "legacy-off", "private-address", "too-many-peers", "registration-refused", "tier-refused"];
  const statuses: [string, Partial<PeerView>][] = [
    ["revoked", { revoked_at_ms: 1 }],
    ["refused", { effective: 0 }],
    ["known", {}],
    ["offering", { awaits_admin: 3 }],
    ["accepted", { granted: 2, effective: 2 }],
  ];
  const thrown = (make: () => unknown): string => {
    try {
      return String(make());
    } catch (error) {
      return (error as Error).message;
    }
  };

  it.each<[what: string, words: string | undefined]>([
    ...statuses.map(([what, given]): [string, string] => [what, formatTrust({ ...peer, ...given }, own, hints)]),
    ["no peers", peersTable([], 0, hints)],
    ["an offer", peersTable([{ ...peer, awaits_admin: 2 }], 0, hints)],
    ["one peer", formatPeer(peer, { atomId: own, heads: { public: 0, peers: 0 } }, 0, hints)],
    ["an unknown id", thrown(() => peerIdOf("ffffff", [peer], hints))],
    ["a malformed id", thrown(() => peerIdOf("f", [peer], hints))],
    ["a loopback address", addressWarning("http://127.0.0.1:8787", hints)],
    ["federation on", formatStatus(status({ federation: "on" }), hints)],
    ["federation off", formatStatus(status({}), hints)],
    ["a removed peer", formatRemoved({ ...peer, revoked_at_ms: 1 }, hints)],
    ["a pool without a name", formatName({ atom_id: id, name: "Ligand pool" }, false, hints)],
    ["a pool with another name", formatName({ atom_id: id, name: "Birch" }, true, hints)],
    ["no workers", workersTables({ tokens: [], workers: [] }, 0, hints)],
    ...codes.map((code): [string, string | undefined] => [
      code,
      nextStep(`federation/${code}`, status({}), hints, { url: "https://birch.example" }),
    ]),
  ])("%s", (_what, words) => {
    const named = words?.split(/(?=npm (?:run ligand|start) --)/).slice(1) ?? [];
    expect(named.length).toBeGreaterThan(0);
    for (const each of named) expect(each).toContain(" --state /srv/birch");
  });

  it.each<[args: string[]]>([[["federation", "set", "federation=on"]], [["peers", "trust", "abcdef", "9"]]])(
    "ligand %j, as it was given",
    async (args) => {
      const errors = vi.spyOn(console, "error").mockImplementation(() => {});
      expect(await runCommand(ligand, "ligand", [...args, "--state", "/srv/birch"])).toBe(2);
      expect(errors.mock.calls.join("\n")).toContain(" --state /srv/birch");
      errors.mockRestore();
    },
  );
});
