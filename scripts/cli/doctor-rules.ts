/** What `ligand pool doctor` makes of what was found. Pure: the findings and the time come in. */
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { pluralize } from "../../worker-agent/cli/shared/pluralize.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import type { PoolFindings } from "../runtime/admin-client.ts";
import { leadsToLoopback } from "../runtime/listen-address.ts";
import { closeSecrets, isOpen } from "../runtime/open-secrets.ts";
import type { SeenCertificate } from "./seen-certificate.ts";

export interface Check {
  name: string;
  state: "ok" | "warn" | "fail";
  found: string;
  /** What to do, where there is something. */
  todo: string | null;
}

export interface Findings {
  url: string;
  /** What the pool said of itself, or why it said nothing. */
  pool: { ok: true; findings: PoolFindings; clock: Clock } | { ok: false; message: string };
  /** Migrations of this build, oldest first. */
  shipped: readonly string[];
  /** The state folder, where the pool runs on this machine. */
  folder: Folder | null;
  /** Where it serves TLS. */
  certificate: SeenCertificate | null;
  nowMs: number;
}

export interface Clock {
  /** The pool's time less this machine's, at the middle of the exchange; half the exchange is how wrong that can be. */
  aheadMs: number;
  uncertaintyMs: number;
  /** How far the pool's clock, and this machine's, went against a clock that nobody sets. */
  poolDriftMs: number;
  localDriftMs: number;
}

export interface Folder {
  path: string;
  /** Permission bits, or null where there is no such file. */
  folderMode: number;
  secretsMode: number | null;
  credentialsMode: number | null;
  /** Of the identity in secrets.json; null when it cannot be read. */
  atomId: string | null;
  freeBytes: number;
  totalBytes: number;
}

const CLOCK_WARN_MS = 2_000;
/** Signed requests are good for a minute either way (docs/spec/pool.md#limits): half of it is left to the other side. */
const CLOCK_FAIL_MS = 30_000;
const SLOW_MS = 500;
const OUTBOX_WARN_ROWS = 200;
/** A message to a peer that is there is told within seconds. */
const WAITING_WARN_MS = 10 * 60_000;
const DISK_FAIL_BYTES = 256 * 1024 ** 2;
const DISK_WARN_BYTES = 2 * 1024 ** 3;
/** Of its quota. */
const ORIGIN_WARN_PART = 0.8;
const CERTIFICATE_WARN_DAYS = 14;
const DAY_MS = 86_400_000;

export function diagnose(found: Findings, hints: Hints): Check[] {
  const { pool } = found;
  return [
    pool.ok ? ok("pool", `${found.url} answers`) : fail("pool", pool.message, "Start it, or name another with --pool."),
    ...(pool.ok ? [...clockChecks(pool.clock), ...poolChecks(pool.findings, found.shipped, hints)] : []),
    ...addressChecks(found),
    ...(found.folder ? folderChecks(found.folder, pool.ok ? pool.findings : null) : []),
  ];
}

function clockChecks({ aheadMs, uncertaintyMs, poolDriftMs, localDriftMs }: Clock): Check[] {
  const off = Math.max(0, Math.abs(aheadMs) - uncertaintyMs);
  const said = `the pool is ${seconds(Math.abs(aheadMs))} ${aheadMs < 0 ? "behind" : "ahead of"} this machine`;
  const todo = "Let both machines take the time from the network (timedatectl set-ntp true).";
  const jumped = Math.max(Math.abs(poolDriftMs), Math.abs(localDriftMs)) > CLOCK_WARN_MS;
  return [
    off > CLOCK_FAIL_MS
      ? fail("clock", said, todo)
      : off > CLOCK_WARN_MS
        ? warn("clock", said, todo)
        : ok("clock", said),
    jumped
      ? warn(
          "clock steps",
          `a clock was set while this ran (${seconds(Math.max(Math.abs(poolDriftMs), Math.abs(localDriftMs)))})`,
          todo,
        )
      : ok("clock steps", "both clocks run evenly"),
  ];
}

/** Where to look and what to do, which differs by what the pool runs on. */
const REMEDIES = {
  "one-machine": {
    migrate: "Stop the pool and start it again: a start applies what is missing.",
    restart: "Look at what npm start printed, and restart it.",
    database: "Look at what npm start printed, and at the disk.",
    metricsToken: "Stop the pool and start it again: a start sets one.",
    refused: "They are kept. npm start printed outbox-row-refused for each, with why; tell Ligand's maintainers.",
  },
  cloudflare: {
    migrate: "Apply them: npx wrangler d1 migrations apply ligand --remote",
    restart: "Look at its log (npx wrangler tail), and deploy again.",
    database: "Look at its log (npx wrangler tail), and at www.cloudflarestatus.com.",
    refused:
      "They are kept. The log (npx wrangler tail) has outbox-row-refused for each, with why; tell Ligand's maintainers.",
    metricsToken:
      "Set one, so that Prometheus needs no admin token: openssl rand -hex 24 | npx wrangler secret put METRICS_TOKEN",
  },
} as const satisfies Record<PoolFindings["runs_on"], Record<string, string>>;
type Remedies = (typeof REMEDIES)[PoolFindings["runs_on"]];

function poolChecks(findings: PoolFindings, shipped: readonly string[], hints: Hints): Check[] {
  const { database, policy, lanes, runs_on } = findings;
  const todo = REMEDIES[runs_on];
  return [
    answering("database", database, "D1 does not answer", todo.database),
    migrations(database.migrations, shipped, todo),
    answering("settings", policy, "PoolPolicy does not answer", todo.restart),
    ...lanes.flatMap((lane): Check[] => {
      const name = `lane ${lane.name}`;
      if (!lane.ok) return [fail(name, "does not answer", todo.restart)];
      const load = `${pluralize(lane.workers, "worker")}, ${pluralize(lane.queued, "request")} waiting, answers in ${lane.ms} ms`;
      return [
        lane.workers === 0
          ? warn(name, load, `Invite a worker: ${hints.ligand("pool invite")}`)
          : lane.queued > LIMITS.queuePerModel / 2
            ? warn(name, load, "Add workers or slots: the queue is half full.")
            : ok(name, load),
      ];
    }),
    ...findings.records.map((each) => recordsOf(each, todo)),
    ...logClock(findings.log_clock, todo, hints),
    ...findings.untold.map((each) => untoldOf(each, todo)),
    followed(findings.unfollowable, todo, hints),
    ...(findings.origins === undefined ? [] : [originsCheck(findings.origins, todo, hints)]),
    ...peerChecks(findings, todo, hints),
    findings.has_metrics_token ? ok("metrics token", "set") : warn("metrics token", "not set", todo.metricsToken),
  ];
}

function recordsOf({ of, held }: PoolFindings["records"][number], todo: Remedies): Check {
  const name = `records: ${of}`;
  if (held === null) return fail(name, "does not answer", todo.restart);
  if (held.refused > 0) return fail(name, `D1 takes ${held.refused} of them never`, todo.refused);
  const said = `${held.waiting} wait for D1`;
  return held.waiting > OUTBOX_WARN_ROWS
    ? warn(name, said, "They are kept and tried again; see to D1.")
    : ok(name, said);
}

/** Nothing of an older pool, which does not say. */
function logClock(clock: PoolFindings["log_clock"], todo: Remedies, hints: Hints): Check[] {
  const name = "log clock";
  if (clock === undefined) return [];
  if (clock === null) return [fail(name, "the event log does not answer", todo.restart)];
  const { refused, last_ms, now_ms, peers_ahead } = clock;
  const confirm = `Set the clock of the pool's machine. If it is right: ${hints.ligand("pool confirm-clock")}`;
  if (refused === "pool/clock-jumped") {
    const said = `the clock is ${formatDuration(now_ms - last_ms)} past the log's last event; nothing is written to the log`;
    return [fail(name, said, confirm)];
  }
  if (refused === "pool/clock-ahead") {
    const said = `the time of ${pluralize(peers_ahead.length, "peer")} puts the clock ahead; nothing is written to the log`;
    return [fail(name, said, confirm)];
  }
  if (last_ms - now_ms > LIMITS.clockDriftMs) {
    const said = `the log is ${formatDuration(last_ms - now_ms)} ahead of the clock; peers refuse its events`;
    return [fail(name, said, `If the clock is right: ${hints.ligand("pool new-log --clock-anew")}`)];
  }
  return [ok(name, "the log goes on with the clock")];
}

function untoldOf({ of, waiting }: PoolFindings["untold"][number], todo: Remedies): Check {
  const name = `log of ${of}`;
  if (waiting === null) return fail(name, "does not answer", todo.restart);
  const said = `${pluralize(waiting, "change")} untold`;
  return waiting > 0
    ? warn(name, said, "They hold, and the event log is told until it has them; see to it.")
    : ok(name, said);
}

/** One line for each peer with which something is wrong, the first thing first: what follows from it is the same. */
function peerChecks({ peers, now_ms }: PoolFindings, todo: Remedies, hints: Hints): Check[] {
  if (peers === null) return [fail("peers", "they cannot be read", todo.restart)];
  const wrong = peers.flatMap((peer): Check[] => {
    const name = `peer ${printable(peer.name)}`;
    const id = peer.atom_id.slice(0, 16);
    const show = `See how it stands: ${hints.ligand(`peers show ${id}`)}`;
    const isThere = peer.last_seen_ms !== null && now_ms - peer.last_seen_ms <= LIMITS.peerSeenMs;
    const unseen = peer.effective >= 2 && !isThere;
    const isStuck = peer.waiting_since_ms !== null && now_ms - peer.waiting_since_ms > WAITING_WARN_MS;
    if (peer.awaits_admin !== null) {
      const answer = hints.ligand(`peers trust ${id} ${peer.awaits_admin}`);
      return [warn(name, `offers trust ${peer.awaits_admin} and awaits your answer`, `Accept it with: ${answer}`)];
    }
    if (peer.absent?.reason === "off" && (unseen || isStuck)) {
      return [warn(name, "its federation is off", `Ask its operator. ${show}`)];
    }
    if (peer.circuit === "open") return [warn(name, "fails to take what it is sent", `Ask its operator. ${show}`)];
    if (unseen) {
      const since = peer.last_seen_ms === null ? "" : ` for ${formatDuration(now_ms - peer.last_seen_ms)}`;
      return [warn(name, `was not seen${since}`, `Ask its operator whether it runs. ${show}`)];
    }
    if (!isStuck || peer.waiting_since_ms === null) return [];
    return [warn(name, `was not told what waits for it for ${formatDuration(now_ms - peer.waiting_since_ms)}`, show)];
  });
  return wrong.length > 0 ? wrong : [ok("peers", `${pluralize(peers.length, "peer")}, nothing wrong with any`)];
}

function followed(unfollowable: readonly string[] | null, todo: Remedies, hints: Hints): Check {
  const name = "logs of peers";
  if (unfollowable === null) return fail(name, "peers do not answer", todo.restart);
  if (unfollowable.length === 0) return ok(name, "all lead to what was signed of them");
  const [first = ""] = unfollowable;
  const said = `${pluralize(unfollowable.length, "peer")} whose log cannot be followed`;
  return warn(name, said, `See why: ${hints.ligand(`peers show ${first.slice(0, 16)}`)}`);
}

/** A quota of 0 is none. */
function originsCheck(origins: (PoolFindings["origins"] & object) | null, todo: Remedies, hints: Hints): Check {
  const name = "events of peers";
  if (origins === null) return fail(name, "the event log does not answer", todo.restart);
  const { quota_bytes: quota, largest } = origins;
  const [first] = largest;
  if (first === undefined) return ok(name, "the log has none");
  const of = quota === 0 ? "without a quota" : `of ${mebibytes(quota)}`;
  const said = `${first.atom_id.slice(0, 16)} fills most: ${mebibytes(first.bytes)} ${of}, ${pluralize(first.events, "event")}`;
  if (quota === 0 || first.bytes < ORIGIN_WARN_PART * quota) return ok(name, said);
  const raise = hints.ligand(`federation set origin_quota_mib=${2 * Math.ceil(quota / 1024 ** 2)}`);
  return warn(name, said, `When it is spent, no more is kept of that pool. To allow more: ${raise}`);
}

function migrations(applied: readonly string[] | null, shipped: readonly string[], { migrate }: Remedies): Check {
  if (applied === null) return fail("migrations", "cannot be read", migrate);
  const missing = shipped.filter((name) => !applied.includes(name));
  const unknown = applied.filter((name) => !shipped.includes(name));
  if (missing.length > 0) return fail("migrations", `${missing.join(", ")} not applied`, migrate);
  if (unknown.length > 0)
    return warn("migrations", `${unknown.join(", ")} not known here`, "Update this copy of Ligand.");
  return ok("migrations", `all ${applied.length} applied`);
}

function addressChecks({ url, pool, certificate, nowMs }: Findings): Check[] {
  const { protocol, hostname } = new URL(url);
  const local = leadsToLoopback(url);
  const checks: Check[] = [];
  if (protocol === "https:") {
    checks.push(certificateCheck(hostname, certificate, nowMs));
  } else {
    checks.push(
      local
        ? ok("TLS", "plain HTTP, on loopback")
        : warn(
            "TLS",
            `plain HTTP to ${hostname}`,
            "Start the pool with --cert and --key: others on the way can read all.",
          ),
    );
  }
  if (pool.ok) {
    const hosts = pool.findings.allowed_hosts;
    // What Cloudflare routes to a Worker is the Worker's own name; a pool on a machine is reached under any.
    checks.push(
      hosts.length > 0
        ? ok("host names", hosts.join(", "))
        : local
          ? fail(
              "host names",
              "any name is answered",
              "Set ALLOWED_HOSTS: a web page could rebind its own name to this pool.",
            )
          : ok("host names", "those that are routed here"),
    );
  }
  return checks;
}

function certificateCheck(name: string, seen: SeenCertificate | null, nowMs: number): Check {
  const nowhere = `${name} leads nowhere from this machine`;
  const validTo = seen?.validTo ?? null;
  if (validTo === null) {
    return seen?.unresolved
      ? warn("TLS", nowhere, "Look from a machine where it does: whether the certificate is good was not seen.")
      : warn("TLS", `no certificate could be seen at ${name}`, "Check the URL and what stands in front.");
  }
  const days = (validTo.getTime() - nowMs) / DAY_MS;
  const until = `the certificate is good until ${validTo.toISOString()}`;
  const said = seen?.unresolved ? `${until}; seen on loopback, for ${nowhere}` : until;
  const todo = "Renew it; a one-machine pool takes it on SIGHUP.";
  if (days <= 0) return fail("TLS", said, todo);
  return days < CERTIFICATE_WARN_DAYS ? warn("TLS", said, todo) : ok("TLS", said);
}

function folderChecks(folder: Folder, findings: PoolFindings | null): Check[] {
  const secrets = (): Check => {
    if (folder.secretsMode === null || folder.atomId === null) {
      return fail(
        "secrets",
        `${folder.path}/secrets.json cannot be read`,
        "Restore it from a backup: it is the pool's identity.",
      );
    }
    if (isOpen(folder.secretsMode) || isOpen(folder.credentialsMode)) {
      return fail("secrets", "others on this machine can read them", closeSecrets(folder.path));
    }
    if (findings && findings.atom_id !== folder.atomId) {
      return fail(
        "secrets",
        "the pool that answers has another identity",
        "Check --pool and --state: they do not belong together.",
      );
    }
    return isOpen(folder.folderMode)
      ? warn("secrets", "their owner's alone, in a folder that others can list", `chmod 700 ${folder.path}`)
      : ok("secrets", "their owner's alone");
  };
  const free = `${gigabytes(folder.freeBytes)} of ${gigabytes(folder.totalBytes)} free at ${folder.path}`;
  const todo = "Make room: without it the pool can keep no records.";
  const disk =
    folder.freeBytes < DISK_FAIL_BYTES
      ? fail("disk", free, todo)
      : folder.freeBytes < DISK_WARN_BYTES
        ? warn("disk", free, todo)
        : ok("disk", free);
  return [secrets(), disk];
}

function answering(
  name: string,
  { ok: answers, ms }: { ok: boolean; ms: number },
  silent: string,
  todo: string,
): Check {
  if (!answers) return fail(name, silent, todo);
  const said = `answers in ${ms} ms`;
  return ms > SLOW_MS ? warn(name, said, "It is slow now; look again, and at the machine's load.") : ok(name, said);
}

const ok = (name: string, found: string): Check => ({ name, state: "ok", found, todo: null });
const warn = (name: string, found: string, todo: string): Check => ({ name, state: "warn", found, todo });
const fail = (name: string, found: string, todo: string): Check => ({ name, state: "fail", found, todo });
const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;
const mebibytes = (bytes: number) => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
const gigabytes = (bytes: number) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
