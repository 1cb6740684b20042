/** The checks of `ligand pool doctor`: they turn findings and the time into results. */

import type { PoolFindings } from "../../schema/wire/admin-api.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { START } from "../../worker-agent/cli/shared/called-as.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { leadsToLoopback } from "../runtime/listen-address.ts";
import { closeSecrets, isOpen } from "../runtime/open-secrets.ts";
import type { SeenCertificate } from "./seen-certificate.ts";

export interface Check {
  name: string;
  state: "ok" | "warn" | "fail";
  found: string;
  /** What the operator should do; null if nothing. */
  todo: string | null;
}

export interface Findings {
  url: string;
  /** The pool's own report, or why there is none. */
  pool: { ok: true; findings: PoolFindings; clock: Clock } | { ok: false; message: string };
  /** The migrations of this build, oldest first. */
  shipped: readonly string[];
  /** The state folder, if the pool runs on this machine. */
  folder: Folder | null;
  /** The certificate, if the pool serves TLS. */
  certificate: SeenCertificate | null;
  nowMs: number;
}

export interface Clock {
  /** The pool's time minus this machine's, at the middle of the exchange. The error is at most half of the exchange. */
  aheadMs: number;
  uncertaintyMs: number;
  /** How far each clock moved relative to a monotonic clock. */
  poolDriftMs: number;
  localDriftMs: number;
}

export interface Folder {
  path: string;
  /** Permission bits; null if there is no such file. */
  folderMode: number;
  secretsMode: number | null;
  credentialsMode: number | null;
  /** The atom id of the key in secrets.json; null if the file cannot be read. */
  atomId: string | null;
  freeBytes: number;
  totalBytes: number;
}

const CLOCK_WARN_MS = 2_000;
/** A signed request is valid for a minute in each direction (docs/spec/pool.md#limits). The peer's clock may use half of it. */
const CLOCK_FAIL_MS = 30_000;
const SLOW_MS = 500;
const OUTBOX_WARN_ROWS = 200;
/** A reachable peer receives a message within seconds. */
const WAITING_WARN_MS = 10 * 60_000;
const DISK_FAIL_BYTES = 256 * 1024 ** 2;
const DISK_WARN_BYTES = 2 * 1024 ** 3;
/** The share of an origin's quota. */
const ORIGIN_WARN_PART = 0.8;
const CERTIFICATE_WARN_DAYS = 14;
const DAY_MS = 86_400_000;

export function diagnose(found: Findings, hints: Hints): Check[] {
  const { pool } = found;
  return [
    pool.ok
      ? ok("pool", `${found.url} answers`)
      : fail("pool", pool.message, "Start the pool, or name another pool with --pool."),
    ...(pool.ok ? [...clockChecks(pool.clock), ...poolChecks(pool.findings, found.shipped, hints)] : []),
    ...addressChecks(found),
    ...(found.folder ? folderChecks(found.folder, pool.ok ? pool.findings : null) : []),
  ];
}

function clockChecks({ aheadMs, uncertaintyMs, poolDriftMs, localDriftMs }: Clock): Check[] {
  const off = Math.max(0, Math.abs(aheadMs) - uncertaintyMs);
  const skew = `the pool is ${seconds(Math.abs(aheadMs))} ${aheadMs < 0 ? "behind" : "ahead of"} this machine`;
  const todo = "Synchronize the clocks of both machines over the network (timedatectl set-ntp true).";
  const jumped = Math.max(Math.abs(poolDriftMs), Math.abs(localDriftMs)) > CLOCK_WARN_MS;
  return [
    off > CLOCK_FAIL_MS
      ? fail("clock", skew, todo)
      : off > CLOCK_WARN_MS
        ? warn("clock", skew, todo)
        : ok("clock", skew),
    jumped
      ? warn(
          "clock steps",
          `a clock was set during this check (${seconds(Math.max(Math.abs(poolDriftMs), Math.abs(localDriftMs)))})`,
          todo,
        )
      : ok("clock steps", "both clocks run steadily"),
  ];
}

/** Remedies depend on where the pool runs. */
const REMEDIES = {
  "one-machine": {
    migrate: "Stop the pool and start it again. A start applies missing migrations.",
    restart: `Read the output of ${START}, and restart the pool.`,
    database: `Read the output of ${START}, and check the disk.`,
    metricsToken: "Stop the pool and start it again. A start creates the token.",
    refused: `The rows are kept. The output of ${START} has a line with outbox-row-refused and the reason for each row. Report these lines to Ligand's maintainers.`,
  },
  cloudflare: {
    migrate: "Apply them: npx wrangler d1 migrations apply ligand --remote",
    restart: "Read its log (npx wrangler tail), and deploy again.",
    database: "Read its log (npx wrangler tail), and check www.cloudflarestatus.com.",
    refused:
      "The rows are kept. The log (npx wrangler tail) has a line with outbox-row-refused and the reason for each row. Report these lines to Ligand's maintainers.",
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
          ? warn(name, load, `To invite a worker: ${hints.ligand("pool invite")}`)
          : lane.queued > LIMITS.queuePerModel / 2
            ? warn(name, load, "Add workers or slots. The queue is more than half full.")
            : ok(name, load),
      ];
    }),
    ...findings.records.map((each) => recordsCheck(each, todo)),
    ...logClock(findings.log_clock, todo, hints),
    ...findings.untold.map((each) => pendingEventsOf(each, todo)),
    followedLogs(findings.unfollowable, todo, hints),
    ...(findings.origins === undefined ? [] : [originsCheck(findings.origins, todo, hints)]),
    ...peerChecks(findings, todo, hints),
    ...webhookCheck(findings.webhook, todo, hints),
    findings.has_metrics_token ? ok("metrics token", "set") : warn("metrics token", "not set", todo.metricsToken),
  ];
}

function recordsCheck({ of, held }: PoolFindings["records"][number], todo: Remedies): Check {
  const name = `records: ${of}`;
  if (held === null) return fail(name, "does not answer", todo.restart);
  if (held.refused > 0) return fail(name, `D1 rejects ${pluralize(held.refused, "row")} permanently`, todo.refused);
  const waiting = `${pluralize(held.waiting, "row")} waiting for D1`;
  return held.waiting > OUTBOX_WARN_ROWS
    ? warn(name, waiting, `The rows are kept and retried. If their number grows: ${todo.database}`)
    : ok(name, waiting);
}

/** An older pool does not report its clock; then there is no check. */
function logClock(clock: PoolFindings["log_clock"], todo: Remedies, hints: Hints): Check[] {
  const name = "log clock";
  if (clock === undefined) return [];
  if (clock === null) return [fail(name, "the event log does not answer", todo.restart)];
  const { refused, last_ms, now_ms, peers_ahead } = clock;
  const confirm = `Set the clock of the pool's machine. If the clock is right: ${hints.ligand("pool confirm-clock")}`;
  if (refused === "pool/clock-jumped") {
    const finding = `the clock is ${formatDuration(now_ms - last_ms)} after the log's last event, so the log has stopped`;
    return [fail(name, finding, confirm)];
  }
  if (refused === "pool/clock-ahead") {
    const finding = `the clock is ahead of the time of ${pluralize(peers_ahead.length, "peer")}, so the log has stopped`;
    return [fail(name, finding, confirm)];
  }
  if (last_ms - now_ms > LIMITS.clockDriftMs) {
    const finding = `the log is ${formatDuration(last_ms - now_ms)} ahead of the clock; peers refuse its events`;
    return [fail(name, finding, `If the clock is right: ${hints.ligand("pool new-log --clock-anew")}`)];
  }
  return [ok(name, "the log agrees with the clock")];
}

/** An older pool does not report its webhook. Most pools have none. */
function webhookCheck(found: PoolFindings["webhook"], todo: Remedies, hints: Hints): Check[] {
  const name = "webhook";
  if (found === undefined) return [];
  if (found === null) return [fail(name, "does not answer", todo.restart)];
  const { webhook } = found;
  if (webhook === null) return [];
  const waiting = `${pluralize(webhook.waiting, "message")} waiting`;
  if (webhook.last === null || webhook.last.delivered) return [ok(name, waiting)];
  const { status, failure } = webhook.last;
  const why = status === null ? `no answer (${printable(failure)})` : `it answered ${status}`;
  const remedy = `Check the receiver, and then: ${hints.ligand("webhook test")}`;
  return [warn(name, `the last message was not delivered: ${why}; ${waiting}`, remedy)];
}

function pendingEventsOf({ of, waiting }: PoolFindings["untold"][number], todo: Remedies): Check {
  const name = `log of ${of}`;
  if (waiting === null) return fail(name, "does not answer", todo.restart);
  const pending = `${pluralize(waiting, "change")} not yet in the event log`;
  return waiting > 0
    ? warn(
        name,
        pending,
        `The changes are in force, and the pool retries until the event log has them. If they stay: ${todo.restart}`,
      )
    : ok(name, pending);
}

/** One result per peer with a problem. Only the first problem is shown, because the others usually follow from it. */
function peerChecks({ peers, now_ms }: PoolFindings, todo: Remedies, hints: Hints): Check[] {
  if (peers === null) return [fail("peers", "cannot be read", todo.restart)];
  const wrong = peers.flatMap((peer): Check[] => {
    const name = `peer ${printable(peer.name)}`;
    const id = peer.atom_id.slice(0, 16);
    const show = `For details: ${hints.ligand(`peers show ${id}`)}`;
    const isReachable = peer.last_seen_ms !== null && now_ms - peer.last_seen_ms <= LIMITS.peerSeenMs;
    const unseen = peer.effective >= 2 && !isReachable;
    const isStuck = peer.waiting_since_ms !== null && now_ms - peer.waiting_since_ms > WAITING_WARN_MS;
    if (peer.awaits_admin !== null) {
      const answer = hints.ligand(`peers trust ${id} ${peer.awaits_admin}`);
      return [warn(name, `offers trust ${peer.awaits_admin} and waits for your answer`, `To accept: ${answer}`)];
    }
    if (peer.absent?.reason === "off" && (unseen || isStuck)) {
      return [warn(name, "its federation is off", `Ask its operator. ${show}`)];
    }
    if (peer.circuit === "open") return [warn(name, "deliveries to it fail", `Ask its operator. ${show}`)];
    if (unseen) {
      const since = peer.last_seen_ms === null ? "" : ` for ${formatDuration(now_ms - peer.last_seen_ms)}`;
      return [warn(name, `was not reachable${since}`, `Ask its operator whether it runs. ${show}`)];
    }
    if (!isStuck || peer.waiting_since_ms === null) return [];
    return [warn(name, `has had messages queued for ${formatDuration(now_ms - peer.waiting_since_ms)}`, show)];
  });
  return wrong.length > 0 ? wrong : [ok("peers", `${pluralize(peers.length, "peer")}, no problems`)];
}

function followedLogs(unfollowable: readonly string[] | null, todo: Remedies, hints: Hints): Check {
  const name = "logs of peers";
  if (unfollowable === null) return fail(name, "peers do not answer", todo.restart);
  if (unfollowable.length === 0) return ok(name, "all match their signed checkpoints");
  const [first = ""] = unfollowable;
  const finding = `the logs of ${pluralize(unfollowable.length, "peer")} cannot be followed`;
  return warn(name, finding, `To see why: ${hints.ligand(`peers show ${first.slice(0, 16)}`)}`);
}

/** A quota of 0 means no quota. */
function originsCheck(origins: (PoolFindings["origins"] & object) | null, todo: Remedies, hints: Hints): Check {
  const name = "events of peers";
  if (origins === null) return fail(name, "the event log does not answer", todo.restart);
  const { quota_bytes: quota, largest } = origins;
  const [first] = largest;
  if (first === undefined) return ok(name, "the log has none");
  const of = quota === 0 ? "without a quota" : `of ${mebibytes(quota)}`;
  const largestOrigin = `most come from ${first.atom_id.slice(0, 16)}: ${mebibytes(first.bytes)} ${of}, ${pluralize(first.events, "event")}`;
  if (quota === 0 || first.bytes < ORIGIN_WARN_PART * quota) return ok(name, largestOrigin);
  const raise = hints.ligand(`federation set origin_quota_mib=${2 * Math.ceil(quota / 1024 ** 2)}`);
  return warn(
    name,
    largestOrigin,
    `When the quota is used up, the log takes no more events of that pool. To raise it: ${raise}`,
  );
}

function migrations(applied: readonly string[] | null, shipped: readonly string[], { migrate }: Remedies): Check {
  if (applied === null) return fail("migrations", "cannot be read", migrate);
  const missing = shipped.filter((name) => !applied.includes(name));
  const unknown = applied.filter((name) => !shipped.includes(name));
  if (missing.length > 0) return fail("migrations", `${missing.join(", ")} not applied`, migrate);
  if (unknown.length > 0)
    return warn("migrations", `${unknown.join(", ")} unknown to this version`, "Update this copy of Ligand.");
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
            "Start the pool with --cert and --key. Without TLS, others on the network can read everything.",
          ),
    );
  }
  if (pool.ok) {
    const hosts = pool.findings.allowed_hosts;
    // Cloudflare routes only the Worker's own names to it. A pool on a machine can be reached under any name.
    checks.push(
      hosts.length > 0
        ? ok("host names", hosts.join(", "))
        : local
          ? fail(
              "host names",
              "the pool answers any host name",
              "Set ALLOWED_HOSTS. Otherwise a web page can reach this pool through its own host name (DNS rebinding).",
            )
          : ok("host names", "those that Cloudflare routes here"),
    );
  }
  return checks;
}

function certificateCheck(name: string, seen: SeenCertificate | null, nowMs: number): Check {
  const unresolved = `this machine cannot resolve ${name}`;
  const validTo = seen?.validTo ?? null;
  if (validTo === null) {
    return seen?.unresolved
      ? warn("TLS", unresolved, "The certificate was not checked. Run this on a machine that can resolve the name.")
      : warn("TLS", `no certificate found at ${name}`, "Check the URL and the proxy in front of the pool.");
  }
  const days = (validTo.getTime() - nowMs) / DAY_MS;
  const until = `the certificate is valid until ${validTo.toISOString()}`;
  const validity = seen?.unresolved ? `${until} (read on loopback: ${unresolved})` : until;
  const todo = "Renew it. A pool on one machine reads the new certificate on SIGHUP.";
  if (days <= 0) return fail("TLS", validity, todo);
  return days < CERTIFICATE_WARN_DAYS ? warn("TLS", validity, todo) : ok("TLS", validity);
}

function folderChecks(folder: Folder, findings: PoolFindings | null): Check[] {
  const secrets = (): Check => {
    if (folder.secretsMode === null || folder.atomId === null) {
      return fail(
        "secrets",
        `${folder.path}/secrets.json cannot be read`,
        "Restore it from a backup. It holds the pool's identity.",
      );
    }
    if (isOpen(folder.secretsMode) || isOpen(folder.credentialsMode)) {
      return fail("secrets", "other users of this machine can read them", closeSecrets(folder.path));
    }
    if (findings && findings.atom_id !== folder.atomId) {
      return fail(
        "secrets",
        "the pool that answers has another identity than this folder",
        "Check --pool and --state. They name different pools.",
      );
    }
    return isOpen(folder.folderMode)
      ? warn("secrets", "only their owner can read them, but others can list the folder", `chmod 700 ${folder.path}`)
      : ok("secrets", "only their owner can read them");
  };
  const free = `${gigabytes(folder.freeBytes)} of ${gigabytes(folder.totalBytes)} free at ${folder.path}`;
  const todo = "Free some space. Without it the pool cannot store its records.";
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
  const answered = `answers in ${ms} ms`;
  return ms > SLOW_MS
    ? warn(name, answered, "This is slow. Check again, and check the machine's load.")
    : ok(name, answered);
}

const ok = (name: string, found: string): Check => ({ name, state: "ok", found, todo: null });
const warn = (name: string, found: string, todo: string): Check => ({ name, state: "warn", found, todo });
const fail = (name: string, found: string, todo: string): Check => ({ name, state: "fail", found, todo });
const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;
const mebibytes = (bytes: number) => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
const gigabytes = (bytes: number) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
