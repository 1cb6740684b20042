import { setTimeout as sleep } from "node:timers/promises";
import { freshNonce, signRequest } from "../../schema/crypto/request-signature.ts";
import { type PeerAudience, pullAnswer } from "../../schema/wire/events.ts";
import { walkLog } from "../cli/log-walk.ts";
import { type DemoPool, FIRST_WORKER, now } from "./demo-pool.ts";

/** The steps of `npm run demo:federation` with three pools; the first two bond. */

const STEP_MS = 30_000;
const POLL_MS = 20;

export type Three = [a: DemoPool, b: DemoPool, c: DemoPool];

/** Runs all steps. Returns what converged and how fast; throws if a step fails. */
export async function runFederationSteps(pools: Three, signal: AbortSignal, say: (line: string) => void) {
  const [a, b, c] = pools;
  const startedMs = now();
  say("Starting three pools on loopback, each in its own runtime.");
  await Promise.all(pools.map((pool) => pool.start()));
  for (const { admin } of pools) await admin.changeFederation({ allow_private_peers: true });

  const met_ms = await timed(() => addPeers(pools, signal));
  say(`Each pool proved its key to the other two in ${met_ms} ms. No pool has granted any rights yet.`);

  const bonded_ms = await timed(() => bond(pools, signal));
  say(
    `${a.name} and ${b.name} bonded and follow each other after ${bonded_ms} ms. ${a.name} accepted ${c.name} at trust 2.`,
  );

  const joined = await within("the first worker", a.join(FIRST_WORKER));
  const arrived = await within(
    `the event at ${b.name}`,
    b.event(({ contentId }) => contentId === joined.contentId),
  );
  const event_ms = Math.round(arrived.seenMs - joined.writtenMs);
  say(`A worker joined ${a.name}. ${b.name} received the event ${event_ms} ms after ${a.name} wrote it.`);

  const public_events = await checkHidden(c, a);
  const open = public_events === 0 ? "but this version writes none" : `and has all ${public_events}`;
  say(
    `${c.name} did not receive it: the event needs trust 3, and ${c.name} has 2. It may read public events, ${open}.`,
  );

  const kill_switch = await switchOffAndOn(a, b, signal);
  const { refused_endpoints, streams_ended_ms, caught_up_ms } = kill_switch;
  say(
    `${b.name} turned federation off. All ${refused_endpoints} endpoints answer 503. Its streams ended within ${streams_ended_ms} ms.`,
  );
  say(`${b.name} turned federation on. It received the missed event after ${caught_up_ms} ms.`);

  const cut_off = await cutOff(a, b);
  say(
    `${b.name} was stopped while a worker joined ${a.name}. After its start it received the event within ${cut_off.caught_up_ms} ms, without any command.`,
  );

  const converged = await converge(pools, signal);
  say("All three logs are valid: every hash, chain and signature.");
  const total_ms = Math.round(now() - startedMs);
  return { met_ms, bonded_ms, event_ms, public_events, kill_switch, cut_off, converged, total_ms };
}

async function addPeers([a, b, c]: Three, signal: AbortSignal): Promise<void> {
  for (const [one, other] of [
    [a, b],
    [a, c],
    [b, c],
  ] as const) {
    await one.admin.addPeer({ url: other.url, atom_id: other.atomId });
  }
  await until(signal, "every pool to know the other two", async () => {
    const known = await Promise.all([a, b, c].map(({ admin }) => admin.peers()));
    return known.every((peers) => peers.length === 2 && peers.every(({ effective }) => effective === 1));
  });
}

async function bond([a, b, c]: Three, signal: AbortSignal): Promise<void> {
  await Promise.all([trust(a, b, 3), trust(b, a, 3), trust(a, c, 2), trust(c, a, 2)]);
  await until(signal, "the bond", async () => {
    const [ofA, ofB, ofC] = await Promise.all([a.admin.peer(b.atomId), b.admin.peer(a.atomId), c.admin.peer(a.atomId)]);
    const isLive = [ofA, ofB].every(({ effective, sync }) => effective === 3 && sync.every(isStreaming));
    return isLive && ofC.effective === 2 && ofC.received === 2;
  });
}

/**
 * Checks that the third pool received no event for bonded peers: its pull is refused, and a later event for it arrived
 * without them. Returns the number of public events, which it may read.
 */
async function checkHidden(c: DemoPool, a: DemoPool): Promise<number> {
  const peers = await pull(c, a, "peers");
  if (peers.status !== 403)
    throw new Error(`${c.name} requested events for bonded peers and got status ${peers.status}, not 403`);
  const open = await pull(c, a, "public");
  if (open.status !== 200) throw new Error(`${c.name} requested public events and got status ${open.status}`);
  const { events, head } = pullAnswer.parse(await open.json());
  if (events.length !== head) throw new Error(`${c.name} got ${events.length} of ${head} public events`);
  const before = new Set(c.events.map(({ contentId }) => contentId));
  await trust(a, c, 2);
  await within(
    `a later event of ${a.name} at ${c.name}`,
    c.event(({ type, origin, contentId }) => type === "trust_granted" && origin === a.atomId && !before.has(contentId)),
  );
  checkNothingSeen(c, a);
  return head;
}

function checkNothingSeen(c: DemoPool, a: DemoPool): void {
  const seen = c.events.find(({ origin, visibility }) => origin === a.atomId && visibility !== "direct");
  if (seen !== undefined) throw new Error(`${c.name} received the event ${seen.type} of ${a.name}`);
}

async function switchOffAndOn(a: DemoPool, b: DemoPool, signal: AbortSignal) {
  await b.admin.changeFederation({ federation: "off" });
  const offMs = now();
  const ended = until(signal, "the streams to end", async () => {
    const [ofA, ofB] = await Promise.all([a.admin.peer(b.atomId), b.admin.peer(a.atomId)]);
    // The other pool still serves a stream to the stopped one. It notices at its next write.
    return !ofB.sync.some(isStreaming) && !ofA.sync.some(({ followed }) => followed.streaming);
  }).then(() => Math.round(now() - offMs));
  const [streams_ended_ms, ...refusals] = await Promise.all([ended, ...ENDPOINTS.map((each) => refusalOf(a, b, each))]);
  const answered = refusals.find((each) => each !== "503 federation/disabled");
  if (answered !== undefined) throw new Error(`the federation of ${b.name} is off, but it answered ${answered}`);

  const missed = await within("the second worker", a.join("worker-2"));
  if (b.events.some(({ contentId }) => contentId === missed.contentId))
    throw new Error(`the federation of ${b.name} is off, but it received an event`);
  await b.admin.changeFederation({ federation: "on" });
  const onMs = now();
  const received = await within(
    `${b.name} to catch up`,
    b.event(({ contentId }) => contentId === missed.contentId),
  );
  return { refused_endpoints: ENDPOINTS.length, streams_ended_ms, caught_up_ms: Math.round(received.seenMs - onMs) };
}

/** The endpoints between pools (docs/spec/federation.md#endpoints). */
const ENDPOINTS = [
  "GET /v1/federation/info",
  "POST /v1/federation/handshake",
  "POST /v1/federation/verify",
  "GET /v1/federation/molecule",
  "POST /v1/federation/peer/status",
  "POST /v1/federation/admin/request",
  "POST /v1/federation/admin/callback",
  "GET /api/federation/identity",
  "POST /api/federation/register",
  "POST /api/federation/register/confirm",
  "GET /api/federation/peers",
  "POST /api/federation/events",
  "GET /api/federation/events",
  "GET /api/federation/stream",
  "GET /api/federation/status",
] as const;

/** A signed request with an admin token. Without the token, one endpoint would refuse before it checks the kill switch. */
async function refusalOf(from: DemoPool, at: DemoPool, endpoint: (typeof ENDPOINTS)[number]): Promise<string> {
  const [method = "", target = ""] = endpoint.split(" ");
  const authorization = `Bearer ${at.adminToken}`;
  const response = await ask(from, at, method, target, { authorization }, method === "POST" ? "{}" : undefined);
  await response.body?.cancel();
  return `${response.status} ${response.headers.get("x-ligand-code") ?? endpoint}`;
}

async function cutOff(a: DemoPool, b: DemoPool) {
  await b.stop();
  const missed = await within("the third worker", a.join("worker-3"));
  await b.start();
  const backMs = now();
  const received = await within(
    `${b.name} to catch up`,
    b.event(({ contentId }) => contentId === missed.contentId),
  );
  return { caught_up_ms: Math.max(0, Math.round(received.seenMs - backMs)) };
}

/** Checks that both bonded pools have the same events of the first pool, and the third has none. */
async function converge([a, b, c]: Three, signal: AbortSignal) {
  await until(signal, "both pools to have the same events", async () => {
    const { sync } = await b.admin.peer(a.atomId);
    const { events } = await a.admin.federation();
    return sync.every(({ audience, followed }) => followed.seq === events[audience] && followed.streaming);
  });
  const ofA = ({ events }: DemoPool) =>
    events.filter(({ origin, visibility }) => origin === a.atomId && visibility === "peers").map((e) => e.contentId);
  const [atA, atB] = [ofA(a), ofA(b)];
  if (atA.length < 3 || atA.join() !== atB.join())
    throw new Error(`${b.name} has ${atB.length} of ${atA.length} events`);
  checkNothingSeen(c, a);
  for (const pool of [a, b, c]) {
    const walk = await walkLog(pool.admin, () => {});
    if (!("walked" in walk)) throw new Error(`the log of ${pool.name} is not valid: ${walk.what}`);
  }
  return { events: atA.length, at: { [a.name]: atA.length, [b.name]: atB.length, [c.name]: ofA(c).length } };
}

function pull(from: DemoPool, at: DemoPool, audience: PeerAudience): Promise<Response> {
  return ask(from, at, "GET", `/api/federation/events?audience=${audience}&since=0`, {});
}

/** Sends a signed request from one pool to another. */
async function ask(
  from: DemoPool,
  at: DemoPool,
  method: string,
  target: string,
  others: Record<string, string>,
  body?: string,
): Promise<Response> {
  const signed = await signRequest(await from.signer(), {
    method,
    target,
    body: new TextEncoder().encode(body ?? ""),
    destination: at.atomId,
    timestampSeconds: Math.floor(Date.now() / 1_000),
    nonce: freshNonce(),
  });
  const signal = AbortSignal.timeout(STEP_MS);
  const headers = { ...others, ...signed };
  return fetch(`${at.url}${target}`, { method, headers, signal, ...(body !== undefined && { body }) });
}

async function trust(one: DemoPool, other: DemoPool, level: 2 | 3): Promise<void> {
  await one.admin.trustPeer(other.atomId, level);
}

function isStreaming({ followed, sent }: { followed: { streaming: boolean }; sent: { streaming: boolean } }): boolean {
  return followed.streaming || sent.streaming;
}

async function until(signal: AbortSignal, what: string, condition: () => Promise<boolean>): Promise<void> {
  const tooLateMs = now() + STEP_MS;
  while (!(await condition())) {
    if (now() > tooLateMs) throw new Error(`waited ${STEP_MS / 1_000} s for ${what}`);
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function within<T>(what: string, work: Promise<T>): Promise<T> {
  const done = new AbortController();
  const tooLate = sleep(STEP_MS, undefined, { signal: done.signal, ref: false }).then(() => {
    throw new Error(`waited ${STEP_MS / 1_000} s for ${what}`);
  });
  tooLate.catch(() => undefined);
  return Promise.race([work, tooLate]).finally(() => done.abort());
}

async function timed(work: () => Promise<void>): Promise<number> {
  const fromMs = now();
  await work();
  return Math.round(now() - fromMs);
}
