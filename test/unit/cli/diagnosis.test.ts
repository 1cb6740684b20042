import { describe, expect, it } from "vitest";
import { diagnose, type Findings } from "../../../scripts/cli/diagnosis.ts";
import { hintsOf } from "../../../worker-agent/cli/shared/hints.ts";

const HINTS = hintsOf({}, {});
const GIB = 1024 ** 3;
const NOW_MS = Date.parse("2026-11-21T00:00:00Z");
type Held = { waiting: number; refused: number } | null;
type Met = NonNullable<Extract<Findings["pool"], { ok: true }>["findings"]["peers"]>[number];
/** A healthy peer, except for `changes`. The pool's clock is at 0. */
const met = (changes: Partial<Met> = {}): Met => ({
  atom_id: "ab".repeat(32),
  name: "Birch",
  effective: 3,
  awaits_admin: null,
  last_seen_ms: -60_000,
  circuit: "closed",
  absent: null,
  waiting_since_ms: null,
  ...changes,
});
const tried = { message_id: "m", at: "2026-11-20T00:00:00.000Z", delivered: true, status: 204, failure: null };
const set = { url: "https://hooks.example/", set_by: "admin", set_at: tried.at, waiting: 0 };
type Change = NonNullable<Parameters<typeof findings>[0]>;
type LogClock = Extract<Findings["pool"], { ok: true }>["findings"]["log_clock"];
type Answered = Extract<Findings["pool"], { ok: true }>;

/** The findings about a healthy pool on this machine, except for `change`. */
function findings(change: (healthy: Findings & { pool: Answered; folder: object }) => void = () => {}): Findings {
  const healthy = {
    url: "http://127.0.0.1:8787",
    pool: {
      ok: true as const,
      findings: {
        now_ms: 0,
        atom_id: "a",
        database: { ok: true, ms: 3, migrations: ["0000_a.sql", "0001_b.sql"] as string[] | null },
        policy: { ok: true, ms: 1 },
        lanes: [{ name: "main", ok: true, ms: 1, workers: 1, queued: 0, holds: {} }],
        records: [{ of: "lane main", held: { waiting: 0, refused: 0 } as Held }],
        unfollowable: [] as string[] | null,
        peers: [met()] as Met[] | null,
        log_clock: { refused: null, last_ms: -60_000, now_ms: 0, peers_ahead: [] as string[] } as LogClock,
        untold: [{ of: "settings", waiting: 0 as number | null }],
        webhook: { webhook: { ...set, last: tried } } as Answered["findings"]["webhook"],
        allowed_hosts: ["127.0.0.1"],
        has_metrics_token: true,
        runs_on: "one-machine" as "one-machine" | "cloudflare",
      },
      clock: { aheadMs: 3, uncertaintyMs: 4, poolDriftMs: 1, localDriftMs: -1 },
    },
    shipped: ["0000_a.sql", "0001_b.sql"],
    folder: {
      path: "/srv/pool",
      folderMode: 0o40700,
      secretsMode: 0o100600 as number | null,
      credentialsMode: 0o100600,
      atomId: "a" as string | null,
      freeBytes: 50 * GIB,
      totalBytes: 100 * GIB,
    },
    certificate: null as Findings["certificate"],
    nowMs: NOW_MS,
  };
  change(healthy);
  return healthy;
}
const good = (days: number, unresolved = false) => ({ validTo: new Date(NOW_MS + days * 86_400_000), unresolved });
const held = (held: Held) => (f: Parameters<NonNullable<Parameters<typeof findings>[0]>>[0]) =>
  Object.assign(f.pool.findings.records[0] ?? {}, { held });
const logClock = (change: Partial<NonNullable<LogClock>>) => (f: Parameters<Change>[0]) =>
  Object.assign(f.pool.findings.log_clock ?? {}, change);
const webhook = (change: object) => (f: Parameters<Change>[0]) =>
  Object.assign(f.pool.findings, { webhook: { webhook: { ...set, ...change } } });
const wrong = (found: Findings) =>
  diagnose(found, HINTS).flatMap(({ name, state, todo }) => (state === "ok" ? [] : [[name, state, todo !== null]]));

it("a healthy pool has no failed check", () => {
  const checks = diagnose(findings(), HINTS);
  expect(checks.filter(({ state }) => state !== "ok")).toEqual([]);
  expect(checks.map(({ name }) => name)).toEqual([
    "pool",
    "clock",
    "clock steps",
    "database",
    "migrations",
    "settings",
    "lane main",
    "records: lane main",
    "log clock",
    "log of settings",
    "logs of peers",
    "peers",
    "webhook",
    "metrics token",
    "TLS",
    "host names",
    "secrets",
    "disk",
  ]);
});

describe("each fault fails or warns under its name, and says what to do", () => {
  it.each<[what: string, change: Parameters<typeof findings>[0], name: string, state: "warn" | "fail"]>([
    ["a clock off by 3 s", (f) => Object.assign(f.pool.clock, { aheadMs: -3_000 }), "clock", "warn"],
    ["a clock off by a minute", (f) => Object.assign(f.pool.clock, { aheadMs: 60_000 }), "clock", "fail"],
    [
      "a clock that was set meanwhile",
      (f) => Object.assign(f.pool.clock, { poolDriftMs: -5_000 }),
      "clock steps",
      "warn",
    ],
    ["an unreachable D1", (f) => Object.assign(f.pool.findings.database, { ok: false }), "database", "fail"],
    ["a slow D1", (f) => Object.assign(f.pool.findings.database, { ms: 900 }), "database", "warn"],
    ["a missing migration", (f) => f.pool.findings.database.migrations?.pop(), "migrations", "fail"],
    [
      "unreadable migrations",
      (f) => Object.assign(f.pool.findings.database, { migrations: null }),
      "migrations",
      "fail",
    ],
    [
      "a migration of a newer version",
      (f) => f.pool.findings.database.migrations?.push("0002_c.sql"),
      "migrations",
      "warn",
    ],
    ["settings that do not answer", (f) => Object.assign(f.pool.findings.policy, { ok: false }), "settings", "fail"],
    [
      "a lane that does not answer",
      (f) => Object.assign(f.pool.findings.lanes[0] ?? {}, { ok: false }),
      "lane main",
      "fail",
    ],
    ["no worker", (f) => Object.assign(f.pool.findings.lanes[0] ?? {}, { workers: 0 }), "lane main", "warn"],
    ["a long queue", (f) => Object.assign(f.pool.findings.lanes[0] ?? {}, { queued: 501 }), "lane main", "warn"],
    ["records that wait", held({ waiting: 201, refused: 0 }), "records: lane main", "warn"],
    ["records that D1 refused", held({ waiting: 0, refused: 1 }), "records: lane main", "fail"],
    ["records that no lane reports", held(null), "records: lane main", "fail"],
    [
      "changes of settings that the log lacks",
      (f) => Object.assign(f.pool.findings.untold[0] ?? {}, { waiting: 2 }),
      "log of settings",
      "warn",
    ],
    [
      "changes of settings whose state is unknown",
      (f) => Object.assign(f.pool.findings.untold[0] ?? {}, { waiting: null }),
      "log of settings",
      "fail",
    ],
    [
      "a peer whose log went backwards",
      (f) => Object.assign(f.pool.findings, { unfollowable: ["ab".repeat(32)] }),
      "logs of peers",
      "warn",
    ],
    ["a clock that jumped", logClock({ refused: "pool/clock-jumped", last_ms: -9e9 }), "log clock", "fail"],
    ["a clock ahead of peers", logClock({ refused: "pool/clock-ahead", peers_ahead: ["a", "b"] }), "log clock", "fail"],
    ["a log ahead of the clock", logClock({ last_ms: 9e9 }), "log clock", "fail"],
    [
      "a log that does not report its clock",
      (f) => Object.assign(f.pool.findings, { log_clock: null }),
      "log clock",
      "fail",
    ],
    [
      "peers whose followed logs are unknown",
      (f) => Object.assign(f.pool.findings, { unfollowable: null }),
      "logs of peers",
      "fail",
    ],
    ["a webhook that failed", webhook({ last: { ...tried, delivered: false, status: 500 } }), "webhook", "warn"],
    [
      "a silent webhook",
      webhook({ last: { ...tried, delivered: false, status: null, failure: "silent" } }),
      "webhook",
      "warn",
    ],
    ["a webhook that cannot be read", (f) => Object.assign(f.pool.findings, { webhook: null }), "webhook", "fail"],
    ["peers that cannot be read", (f) => Object.assign(f.pool.findings, { peers: null }), "peers", "fail"],
    ...(
      [
        ["whose circuit is open", { circuit: "open" }],
        ["for which a message has waited long", { waiting_since_ms: -601_000 }],
        ["that was not seen for over two minutes", { last_seen_ms: -121_000 }],
        ["that was never seen", { last_seen_ms: null }],
        ["whose federation is off", { last_seen_ms: -121_000, absent: { reason: "off", since_ms: -121_000 } }],
        ["that awaits an admin's answer", { awaits_admin: 3, effective: 1 }],
      ] as [what: string, changes: Partial<Met>][]
    ).map(([what, changes]): [string, Change, string, "warn"] => [
      `a peer ${what}`,
      (f) => Object.assign(f.pool.findings, { peers: [met(), met(changes)] }),
      "peer Birch",
      "warn",
    ]),
    ["no metrics token", (f) => Object.assign(f.pool.findings, { has_metrics_token: false }), "metrics token", "warn"],
    [
      "a pool that accepts any host name",
      (f) => Object.assign(f.pool.findings, { allowed_hosts: [] }),
      "host names",
      "fail",
    ],
    ["plain HTTP beyond loopback", (f) => Object.assign(f, { url: "http://pool.example" }), "TLS", "warn"],
    ["a certificate that cannot be read", (f) => Object.assign(f, { url: "https://pool.example" }), "TLS", "warn"],
    [
      "a certificate that is valid for 13 days",
      (f) => Object.assign(f, { url: "https://pool.example", certificate: good(13) }),
      "TLS",
      "warn",
    ],
    [
      "an expired certificate",
      (f) => Object.assign(f, { url: "https://pool.example", certificate: good(-1) }),
      "TLS",
      "fail",
    ],
    ["missing secrets", (f) => Object.assign(f.folder, { secretsMode: null }), "secrets", "fail"],
    ["secrets that all users can read", (f) => Object.assign(f.folder, { secretsMode: 0o100644 }), "secrets", "fail"],
    [
      "credentials that all users can read",
      (f) => Object.assign(f.folder, { credentialsMode: 0o100640 }),
      "secrets",
      "fail",
    ],
    ["secrets of another pool", (f) => Object.assign(f.folder, { atomId: "b" }), "secrets", "fail"],
    ["a folder that all users can list", (f) => Object.assign(f.folder, { folderMode: 0o40755 }), "secrets", "warn"],
    ["little disk space", (f) => Object.assign(f.folder, { freeBytes: GIB }), "disk", "warn"],
    ["no disk space", (f) => Object.assign(f.folder, { freeBytes: GIB / 8 }), "disk", "fail"],
  ])("%s", (_what, change, name, state) => expect(wrong(findings(change))).toEqual([[name, state, true]]));

  it.each<[runsOn: "one-machine" | "cloudflare", says: string[], saysNot: string]>([
    ["one-machine", ["Stop the pool and start it again", "npm start"], "wrangler"],
    ["cloudflare", ["npx wrangler d1 migrations apply ligand --remote", "npx wrangler tail"], "npm start"],
  ])("on %s the remedy is one that works there", (runsOn, says, saysNot) => {
    const checks = diagnose(
      findings((f) => {
        const away = { database: { ok: false, ms: 1, migrations: null }, policy: { ok: false, ms: 1 } };
        Object.assign(f.pool.findings, { runs_on: runsOn, ...away, has_metrics_token: false });
      }),
      HINTS,
    );
    const todo = checks.map((check) => check.todo).join("\n");
    for (const each of says) expect(todo).toContain(each);
    expect(todo).not.toContain(saysNot);
  });

  it.each<[what: string, certificate: Findings["certificate"], state: string, says: string]>([
    ["that was read", good(30), "ok", "the certificate is valid until 2026-12-21T00:00:00.000Z"],
    ["that was read on loopback", good(30, true), "ok", "(read on loopback: this machine cannot resolve pool.lan)"],
    [
      "of a name that does not resolve",
      { validTo: null, unresolved: true },
      "warn",
      "this machine cannot resolve pool.lan",
    ],
    ["that could not be read", { validTo: null, unresolved: false }, "warn", "no certificate found at pool.lan"],
  ])("a certificate %s", (_what, certificate, state, says) => {
    const checks = diagnose({ ...findings(), url: "https://pool.lan:8787", certificate }, HINTS);
    const check = checks.find(({ name }) => name === "TLS");
    expect(check?.state).toBe(state);
    expect(check?.found.endsWith(says)).toBe(true);
  });

  it("if the pool does not answer, the checks on this machine still run", () => {
    const silent: Findings = { ...findings(), pool: { ok: false, message: "does not answer" } };
    expect(wrong(silent)).toEqual([["pool", "fail", true]]);
    expect(diagnose(silent, HINTS).map(({ name }) => name)).toEqual(["pool", "TLS", "secrets", "disk"]);
  });
});
