import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { type AdminClient, adminClient } from "../../scripts/runtime/admin-client.ts";
import { type RunningPool, startPool } from "../../scripts/runtime/pool-runtime.ts";
import { parseRecord, WORKERD_RECORD } from "../../scripts/runtime/workerd-record.ts";
import { fuzzAgents } from "./agents.ts";
import { adminCases, agentCases, clientCases, FUZZ_MODEL, peerCases } from "./cases.ts";
import { Http } from "./http.ts";
import { wrongAnswer } from "./oracle.ts";
import { befriendedPeer, fuzzPeers } from "./peers.ts";
import { PLAIN_ADMIN, PLAIN_CLIENT, PLAIN_FRAME, PLAIN_PEER, PLAIN_PROOF } from "./plain.ts";
import { fuzzHttp } from "./requests.ts";
import { CONNECTIONS, type Finding, type Part, type Target } from "./target.ts";
import { WorkerSocket } from "./worker-socket.ts";

export interface FuzzOptions {
  /** The number of cases per part. */
  cases: Record<Part, number>;
  seed: number;
  progress(line: string): void;
}

export interface FuzzReport {
  seed: number;
  seconds: number;
  cases: Record<Part, number>;
  /** The number of cases by part, route and sender. */
  sent: Record<string, number>;
  /** The number of each outcome. Some depend on the speed of the machine, for example refusals by a rate. */
  outcomes: Record<string, number>;
  /** How often a bystander was served in between. */
  bystandersServed: number;
  workerdMiB: { afterWarmUp: number; atTheEnd: number };
  findings: Finding[];
}

const BATCH = 1_000;
/** An answer that takes longer counts as a hang. */
const TIMEOUT_MS = 120_000;
const FINDINGS_KEPT = 20;
/** The time for the pool to return to its initial state. */
const SETTLE_MS = 60_000;
const POLL_MS = 50;
/** The allowed growth of memory after the warm-up. */
const MEMORY_MIB = 512;

/** Runs all parts against one real pool in workerd over real sockets. The same seed sends the same input. */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const stateDir = mkdtempSync(join(tmpdir(), "ligand-fuzz-"));
  const findings: Finding[] = [];
  const find = (finding: Finding) => {
    if (findings.length < FINDINGS_KEPT) findings.push(finding);
  };
  const log = (line: string) => {
    // The runtime's note about a blocked address. The caller got an error code.
    if (/: connecting to \S+ is not allowed\n/.test(line)) return;
    // The pool's log counts too: a bug behind a proper error answer is still a bug.
    find({ part: "pool", what: "the pool logged", sent: line.slice(0, 2_000) });
  };
  const ready: { pool?: RunningPool } = {};
  const pool = await startPool({ stateDir, port: 0, log: (line) => ready.pool && log(line) });
  ready.pool = pool;
  try {
    return await against(pool, stateDir, options, findings, find);
  } finally {
    await pool.stop();
    rmSync(stateDir, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function against(
  pool: RunningPool,
  stateDir: string,
  { cases, seed, progress }: FuzzOptions,
  findings: Finding[],
  find: (finding: Finding) => void,
): Promise<FuzzReport> {
  const startedMs = performance.now();
  const outcomes: Record<string, number> = {};
  let bystandersServed = 0;
  const admin = adminClient(pool.url, pool.secrets.admin_token);
  const { key } = await admin.createKey({ label: "fuzz", requests_per_minute: 1_000_000, streams: 10_000 });
  const http = new Http(pool.url, CONNECTIONS * 2, TIMEOUT_MS);
  const invite = async () => (await admin.invite({ label: "fuzz" })).token;
  const socket = { url: pool.url, signer: await signerFrom(generateSecretKey()), timeoutMs: TIMEOUT_MS };
  const worker = await WorkerSocket.serving({ ...socket, token: await invite() }, [
    { name: FUZZ_MODEL, slots: 256, kinds: ["chat", "completion", "embedding"] },
  ]);
  worker.onJob = (job) => {
    worker.answer(job, "at your service");
    worker.ready(FUZZ_MODEL, 256);
  };
  worker.ready(FUZZ_MODEL, 256);
  const peers = await befriendedPeer(pool, admin);
  const heartbeat = setInterval(() => worker.socket.send("ping"), 10_000);

  const target: Target = {
    url: pool.url,
    http,
    key,
    adminToken: pool.secrets.admin_token,
    peerId: peers.bonded.id,
    invite,
    timeoutMs: TIMEOUT_MS,
    count: (outcome) => {
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    },
    find,
    async bystander() {
      const body = { model: FUZZ_MODEL, messages: [{ role: "user", content: "hello" }] };
      const answer = await http.ask("POST", "/v1/chat/completions", key, Buffer.from(JSON.stringify(body)));
      if (answer.status === 200 && answer.body.includes("at your service")) bystandersServed += 1;
      else find({ part: "pool", what: `a bystander got ${answer.status}`, sent: answer.body.slice(0, 2_000) });
    },
  };
  await target.bystander();

  const classes: Record<string, number> = {};
  const add = (name: string) => {
    classes[name] = (classes[name] ?? 0) + 1;
  };
  let warmMiB = 0;
  let sent = 0;
  const parts: FuzzedPart[] = [
    {
      part: "client",
      plain: { "client valid: 200": () => fuzzHttp("client", [PLAIN_CLIENT], target) },
      fuzz: fuzzer(
        clientCases,
        (batch) => fuzzHttp("client", batch, target),
        ({ how }) => add(`client ${how}`),
      ),
    },
    {
      part: "peer",
      plain: { "peer valid by peer: 200": () => fuzzPeers([PLAIN_PEER], target, peers) },
      fuzz: fuzzer(
        peerCases,
        (batch) => fuzzPeers(batch, target, peers),
        ({ how, by }) => {
          add(`peer ${how}`);
          add(`peer by ${by}`);
        },
      ),
    },
    {
      part: "admin",
      plain: { "admin valid: 201": () => fuzzHttp("admin", [PLAIN_ADMIN], target) },
      fuzz: fuzzer(
        adminCases,
        (batch) => fuzzHttp("admin", batch, target),
        ({ how }) => add(`admin ${how}`),
      ),
    },
    {
      part: "agent",
      plain: {
        "proof: welcome": () => fuzzAgents([PLAIN_PROOF], target),
        "worker valid: taken": () => fuzzAgents([PLAIN_FRAME], target),
      },
      fuzz: fuzzer(
        agentCases,
        (batch) => fuzzAgents(batch, target),
        ({ on, how }) => add(`${on} ${how}`),
      ),
    },
  ];
  const total = Object.values(cases).reduce((sum, each) => sum + each);
  try {
    for (const { part, plain, fuzz: send } of parts) {
      for (const [outcome, ask] of cases[part] > 0 ? Object.entries(plain) : []) {
        const before = outcomes[outcome] ?? 0;
        // The kill switch refuses while its answer is late, as on a busy machine. Try again.
        const taken = await until(async () => {
          await ask();
          return (outcomes[outcome] ?? 0) > before;
        });
        if (!taken) find({ part, what: `no plain case ends with "${outcome}"`, sent: "" });
      }
      for (let done = 0; done < cases[part] && findings.length < FINDINGS_KEPT; done += BATCH) {
        const size = Math.min(BATCH, cases[part] - done);
        const sending = send(size, seed + done);
        http.forgetIdle();
        await sending();
        sent += size;
        warmMiB ||= residentMiB(stateDir);
        progress(`${part}: ${sent} of ${total} cases, ${findings.length} findings, ${residentMiB(stateDir)} MiB`);
      }
    }
    if (worker.misspoken !== null)
      find({ part: "pool", what: "a frame that its schema refuses", sent: worker.misspoken });
    if (worker.isClosed)
      find({ part: "pool", what: "the bystander's worker was closed", sent: worker.isClosed.reason });
    await settled(pool, http, admin, find);
  } finally {
    clearInterval(heartbeat);
    worker.vanish();
    http.close();
    peers.bonded.stop();
  }
  const endMiB = residentMiB(stateDir);
  if (endMiB > warmMiB + MEMORY_MIB) find({ part: "pool", what: "memory", sent: `${warmMiB} → ${endMiB} MiB` });
  return {
    seed,
    seconds: Math.round((performance.now() - startedMs) / 1_000),
    cases,
    sent: classes,
    outcomes: Object.fromEntries(Object.entries(outcomes).sort(([a], [b]) => (a < b ? -1 : 1))),
    bystandersServed,
    workerdMiB: { afterWarmUp: warmMiB, atTheEnd: endMiB },
    findings,
  };
}

interface FuzzedPart {
  readonly part: Part;
  /** Valid cases, by their required outcome. */
  readonly plain: Readonly<Record<string, () => Promise<void>>>;
  readonly fuzz: (size: number, seed: number) => () => Promise<void>;
}

/** Generates a batch, which takes some time, then sends it. */
function fuzzer<T>(cases: fc.Arbitrary<T>, send: (batch: T[]) => Promise<void>, classify: (each: T) => void) {
  return (numRuns: number, seed: number) => {
    const batch = fc.sample(cases, { seed, numRuns });
    for (const each of batch) classify(each);
    return () => send(batch);
  };
}

/** Polls until the condition is true. False if it is not true within `SETTLE_MS`. */
async function until(probe: () => Promise<boolean>): Promise<boolean> {
  const startedMs = performance.now();
  while (!(await probe())) {
    if (performance.now() - startedMs > SETTLE_MS) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** Checks that the pool returns to its initial state: ready, with its one worker and without jobs. */
async function settled(
  pool: RunningPool,
  http: Http,
  admin: AdminClient,
  find: (finding: Finding) => void,
): Promise<void> {
  let left = await leftOver(pool, http, admin);
  await until(async () => {
    left = await leftOver(pool, http, admin);
    return left === null;
  });
  if (left !== null) find({ part: "pool", ...left });
  const wrong = wrongAnswer(await http.ask("GET", "/v1/nothing", ""), (code) => code === "http/not-found");
  if (wrong !== null) find({ part: "pool", what: wrong, sent: "GET /v1/nothing" });
}

/** Records and tokens are written in groups, some time after the last answer. */
async function leftOver(pool: RunningPool, http: Http, admin: AdminClient): Promise<Omit<Finding, "part"> | null> {
  const readiness = await http.ask("GET", "/readyz", "");
  if (readiness.status !== 200) return { what: `/readyz says ${readiness.status}`, sent: readiness.body };
  const metrics = await http.ask("GET", "/metrics", pool.secrets.metrics_token);
  for (const name of ["ligand_num_requests_running", "ligand_num_requests_waiting"]) {
    const left = metricSum(metrics.body, name);
    if (left !== 0) return { what: `${name} is ${left}`, sent: "" };
  }
  const held = await heldByLanes(admin);
  return Object.keys(held).length > 0 ? { what: "its lane still holds", sent: JSON.stringify(held) } : null;
}

/** What the pool's lanes hold for jobs and answers, without zeros. */
export async function heldByLanes(admin: AdminClient): Promise<Record<string, number>> {
  const { lanes } = await admin.doctor();
  const all = lanes.flatMap(({ name, holds }) =>
    Object.entries(holds ?? { unknown: 1 }).map(([what, n]) => [`${name} ${what}`, n] as const),
  );
  return Object.fromEntries(all.filter(([, n]) => n !== 0));
}

/** The sum of a metric over its labels. */
export function metricSum(exposition: string, name: string): number {
  const values = exposition
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => Number(line.slice(line.lastIndexOf(" ") + 1)));
  return values.reduce((sum, value) => sum + value, 0);
}

/** The resident memory of workerd. */
export function residentMiB(stateDir: string): number {
  const record = parseRecord(readFileSync(join(stateDir, WORKERD_RECORD), "utf8"));
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${record?.pid}/status`, "utf8"))?.[1];
  return Math.round(Number(kib) / 1024);
}
