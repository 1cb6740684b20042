import { describe, expect, it } from "vitest";
import { FEDERATION_POLICY_DEFAULTS, type PeerView } from "../../../schema/wire/federation.ts";
import {
  addressWarning,
  formatPeer,
  formatRemoved,
  formatTrust,
  nextStep,
  type PeerDetails,
  peerIdOf,
  peersTable,
  trustWord,
} from "../../../scripts/cli/format-peer.ts";
import { COMMON_OPTIONS } from "../../../scripts/cli/pool-common.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";
import { UsageError } from "../../../worker-agent/cli/shared/usage-error.ts";

const HINTS = hintsOf({}, {});
const NOW = Date.parse("2026-05-04T12:00:00Z");
const id = "ab12cd".padEnd(64, "0");
const self = "feed".padEnd(64, "1");
const peer: PeerView = {
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
  added_at_ms: NOW - 60_000,
  last_seen_ms: NOW - 12_000,
  revoked_at_ms: null,
};
const typed = (level: number) => `npm run ligand -- peers trust ${id.slice(0, 16)} ${level}`;

describe("an id", () => {
  const near = { atom_id: "ab12ce".padEnd(64, "0") };
  it.each([id, id.slice(0, 6), id.slice(0, 6).toUpperCase(), id.slice(0, 63)])(
    "%s is found by its first digits",
    (given) => expect(peerIdOf(given, [near, peer], HINTS)).toBe(id),
  );
  it.each<[what: string, given: string, says: string]>([
    ["too short", "ab12c", '"ab12c" is not a peer id, which has 6 to 64 hex digits.'],
    ["too long", `${id}0`, "is not a peer id"],
    ["not hex", "birch!", "is not a peer id"],
    ["unknown", "ffffff", "No peer id begins with ffffff. To list the peers: npm run ligand -- peers list"],
  ])("that is %s is refused, and the error says where to find one", (_what, given, says) =>
    expect(() => peerIdOf(given, [near, peer], HINTS)).toThrow(says),
  );
  it("that is malformed is a usage error; an unknown one may belong to a removed peer", () => {
    expect(() => peerIdOf("abc", [peer], HINTS)).toThrow(UsageError);
    expect(() => peerIdOf("ffffff", [peer], HINTS)).toThrow(
      "To add a removed peer again: npm run ligand -- peers add URL",
    );
  });
  it("that is the beginning of two ids is refused", () => {
    const twin = { atom_id: "ab12cd".padEnd(64, "1") };
    expect(() => peerIdOf("ab12cd", [peer, near, twin], HINTS)).toThrow(
      "2 peers have ids that begin with ab12cd. Give more",
    );
  });
});

it.each<[what: string, given: Partial<PeerView>, word: string, says: string[]]>([
  ["a new peer", {}, "known", ["it has proven its key", typed(2)]],
  ["a peer that offers trust", { received: 3, awaits_admin: 3 }, "known", ["It offers trust 3. To accept:", typed(3)]],
  ["a peer that we accepted", { granted: 2, effective: 2 }, "accepted", ["it may read public events", typed(3)]],
  [
    "an accepted peer that offers a bond",
    { granted: 2, received: 3, effective: 2, awaits_admin: 3 },
    "accepted",
    ["It offers trust 3. To accept:", typed(3)],
  ],
  [
    "a peer that has not granted trust 3 yet",
    { granted: 3, received: 1, effective: 2 },
    "accepted",
    ["you granted trust 3, and it granted 1", "when its admin runs: npm run ligand -- peers trust feed111111111111 3"],
  ],
  [
    "a peer that cannot tell its grants",
    { granted: 3, effective: 2, signature_version: 1, one_sided: true },
    "one-sided",
    ["One-sided bond: you granted trust 3", "It gets no events for peers."],
  ],
  [
    "a peer that revoked this pool",
    { granted: 2, effective: 2, revoked_us: true },
    "accepted",
    ["it may read public events", "The peer revoked this pool: it refuses every request of this pool"],
  ],
  ["a bonded peer", { granted: 3, received: 3, effective: 3 }, "bonded", ["both admins granted trust 3"]],
  [
    "a revoked peer",
    { granted: 0, received: 3, effective: 0, revoked_at_ms: NOW },
    "revoked",
    ["every request of this peer is refused", typed(1)],
  ],
  [
    "a peer that the policy refuses",
    { granted: 3, received: 3, effective: 0 },
    "refused",
    ["min_auth_tier", "federation set min_auth_tier=device-bound"],
  ],
])("%s is shown as %s", (_what, given, word, says) => {
  const view = { ...peer, ...given };
  expect(trustWord(view)).toBe(word);
  for (const words of says) expect(formatTrust(view, self, HINTS)).toContain(words);
});

describe("the table of peers", () => {
  it("has a line for each peer, and the command that answers an offer", () => {
    const waiting = { ...peer, name: "Oak\u001b[2J", received: 2, awaits_admin: 2, last_seen_ms: null } as const;
    expect(peersTable([peer, waiting], NOW, HINTS).split("\n")).toEqual([
      "ID                NAME     URL                    TRUST  SEEN      CIRCUIT",
      "ab12cd0000000000  Birch    https://birch.example  known  12 s ago  closed",
      "ab12cd0000000000  Oak\ufffd[2J  https://birch.example  known  never     closed",
      "",
      `Oak\ufffd[2J (ab12cd0000000000) offers trust 2. To accept: ${typed(2)}`,
    ]);
  });
  it("shows which peers revoked this pool", () =>
    expect(peersTable([{ ...peer, revoked_us: true }], NOW, HINTS)).toContain("  known, revoked this pool  "));
  it("without peers says how to add the first", () =>
    expect(peersTable([], NOW, HINTS)).toBe("This pool has no peers. To add one: npm run ligand -- peers add URL"));
});

describe("one peer", () => {
  const sync: PeerDetails["sync"] = [
    {
      audience: "public",
      followed: { seq: 0, head: null, streaming: false, equivocated: false, refused: null },
      sent: { seq: 0, streaming: false, started_over_ms: null },
    },
    {
      audience: "peers",
      followed: { seq: 4, head: 7, streaming: true, equivocated: false, refused: null },
      sent: { seq: 2, streaming: true, started_over_ms: null },
    },
  ];
  const own = { atomId: self, heads: { public: 0, peers: 3 } };
  const words = (given: Partial<PeerDetails> = {}) =>
    formatPeer({ ...peer, sync, deliveries_waiting: 0, ...given }, own, NOW, HINTS);

  it("is shown with how much of each log the other has", () => {
    const lines = words().split("\n");
    expect(lines).toContain(`Peer        Birch, ${id}`);
    expect(lines).toContain("Added       2026-05-04T11:59:00.000Z, by an admin of this pool");
    expect(lines).toContain("Signatures  version 2");
    expect(lines.slice(-3)).toEqual([
      "AUDIENCE  ITS EVENTS HERE    OUR EVENTS THERE",
      "public    0 of ?             0 of 0",
      "peers     4 of 7, streaming  2 of 3, streaming",
    ]);
  });
  it("is shown as up to date when its stream is ahead of the last checkpoint", () => {
    const followed = { seq: 9, head: 7, streaming: true, equivocated: false, refused: null };
    expect(words({ sync: sync.map((each) => ({ ...each, followed })) })).toContain("9 of 9, streaming");
  });
  it.each<[what: string, given: Partial<PeerDetails>, says: string]>([
    ["that the peer revoked this pool", { revoked_us: true }, "Its trust   The peer revoked this pool"],
    ["the number of pending messages", { deliveries_waiting: 2 }, "Queued      2 messages"],
    ["the time of its revocation", { effective: 0, revoked_at_ms: NOW }, "Revoked     2026-05-04T12:00:00.000Z"],
    [
      "an open circuit",
      { circuit: "open" },
      "Circuit     open: deliveries failed. The next attempt is within 30 min, or as soon as",
    ],
    [
      "a followed log that was restarted",
      { sync: sync.map((each) => ({ ...each, sent: { seq: 1, streaming: false, started_over_ms: NOW } })) },
      "1 of 3, restarted",
    ],
    [
      "its federation being off",
      { absent: { reason: "off", since_ms: NOW - 120_000 } },
      "Away        its federation is off since 2026-05-04T11:58:00.000Z (2 min 0 s ago); ",
    ],
    [
      "its silence",
      { absent: { reason: "silent", since_ms: NOW } },
      "Away        it does not answer since 2026-05-04T12:00:00.000Z",
    ],
    ["its errors", { absent: { reason: "error", since_ms: NOW } }, "Away        it answers with errors since"],
    [
      "a circuit that is about to be tried",
      { circuit: "half-open" },
      "Circuit     half-open: the next message decides",
    ],
    [
      "why its log cannot be followed",
      {
        sync: sync.map((each) => ({
          ...each,
          followed: { ...each.followed, refused: { reason: "rolled-back", since_ms: NOW } },
        })),
      },
      "since 2026-05-04T12:00:00.000Z: its log went backwards",
    ],
    [
      "that its log has two versions",
      { sync: sync.map((each) => ({ ...each, followed: { ...each.followed, equivocated: true } })) },
      "peers follow-anew ab12cd0000000000",
    ],
  ])("the details show %s", (_what, given, says) => expect(words(given)).toContain(says));
});

it.each<[own: string, peer: string | undefined, warned: boolean]>([
  ["http://127.0.0.1:8787", undefined, true],
  ["http://127.0.0.1:8787", "https://birch.example", true],
  ["http://[::1]:8787", "http://192.168.1.2:8787", true],
  ["https://localhost:8787", "https://birch.example", true],
  ["http://127.0.0.1:8787", "http://127.0.0.1:8788", false],
  ["http://localhost:8787", "http://[::1]:8788", false],
  ["http://192.168.1.2:8787", "https://birch.example", false],
  ["https://alder.example", undefined, false],
])("when a pool at %s adds a peer at %s, its operator is warned: %s", (own, other, warned) => {
  const words = addressWarning(own, HINTS, other);
  if (warned) expect(words).toContain(`${own}, which works only on this machine`);
  else expect(words).toBeUndefined();
  const card = { ...peer, public_key: id, url: own };
  const next = nextStep(
    "federation/registration-refused",
    { policy: FEDERATION_POLICY_DEFAULTS, card },
    HINTS,
    other === undefined ? {} : { url: other },
  );
  expect(next?.includes("--public-url")).toBe(warned && other !== undefined);
});

it.each<[code: string, allow: boolean, says: string | undefined]>([
  ["federation/disabled", false, "To turn it on: npm run ligand -- federation on"],
  ["federation/private-address", false, "To allow it: npm run ligand -- federation set allow_private_peers=on"],
  ["federation/legacy-off", false, "To allow it: npm run ligand -- federation set legacy_signatures=reads"],
  ["federation/unreachable", false, undefined],
  ["federation/too-many-peers", false, "To allow more than 10: npm run ligand -- federation set max_peers=N"],
  [
    "federation/registration-refused",
    false,
    "https://alder.example. If that is a private address, that pool's operator",
  ],
  ["federation/tier-refused", false, "npm run ligand -- federation set min_auth_tier=device-bound"],
  ["federation/wrong-peer", false, undefined],
])("the error %s comes with the next step", (code, allow_private_peers, says) => {
  const card = { ...peer, public_key: id, url: "https://alder.example" };
  const found = nextStep(code, { policy: { ...FEDERATION_POLICY_DEFAULTS, allow_private_peers }, card }, HINTS);
  if (says === undefined) expect(found).toBeUndefined();
  else expect(found).toContain(says);
});

it.each<[url: string, settings: string[]]>([
  ["https://birch.example", ["allow_private_peers"]],
  ["http://127.0.0.1:8787", ["allow_private_peers"]],
  ["http://birch.example", ["allow_plain_http", "allow_private_peers"]],
])("for a peer at %s that this pool may not call, the next step names %j", (url, settings) => {
  const card = { ...peer, public_key: id, url: "https://alder.example" };
  const policy = FEDERATION_POLICY_DEFAULTS;
  const says = nextStep("federation/private-address", { policy, card }, HINTS, { url });
  expect(says?.match(/allow_\w+/g)).toEqual(settings);
});

describe("a pool that another pool refuses without a reason,", () => {
  const next = (url: string, asked: NonNullable<Parameters<typeof nextStep>[3]>) =>
    nextStep(
      "federation/registration-refused",
      { policy: FEDERATION_POLICY_DEFAULTS, card: { ...peer, public_key: id, url } },
      hintsOf(COMMON_OPTIONS, { state: "/srv/alder" }),
      asked,
    );
  it("and that was admitted before, was likely revoked; the command for the other operator has none of our flags", () => {
    const says = next("http://127.0.0.1:8787", { url: "https://birch.example", isKnown: true });
    expect(says).toContain("has probably revoked it");
    expect(says).toMatch(/npm run ligand -- peers trust ab12cd0000000000 1$/);
    expect(says).not.toContain("http://127.0.0.1:8787");
  });
  it("and that is known to have revoked it, is told so", () => {
    const says = next("https://alder.example", { url: "https://birch.example", isKnown: true, hasRevokedUs: true });
    expect(says).toMatch(/^That pool has revoked this one\. .*peers trust ab12cd0000000000 1$/);
  });
  it("and that uses plain http, is told that the other pool may refuse http", () =>
    expect(next("http://192.168.1.2:8787", { url: "https://birch.example" })).toMatch(
      /which is plain HTTP; that pool's operator can allow it with: npm run ligand -- federation set allow_plain_http=on, or/,
    ));
});

it("after a removal it is shown whether the peer is notified, and for a revoked peer how to add it again", () => {
  expect(formatRemoved(peer, HINTS)).toBe(
    `Removed peer ${id}. If this pool had granted it trust, it is notified as soon as it answers.`,
  );
  const words = formatRemoved({ ...peer, revoked_at_ms: NOW }, HINTS);
  expect(words).toContain("It stays revoked");
  expect(words).toContain(`npm run ligand -- peers add https://birch.example\nand then: ${typed(1)}`);
});
