import { signAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import type { RequestDetails, RequestView } from "../../schema/wire/admin-requests.ts";
import type { DemoPool } from "./demo-pool.ts";

/**
 * The steps of `npm run demo:inbox` with two pools. Both admins' keys are made here, as `admin-keys new` makes them; a pool gets
 * a public key and signatures only.
 */

const POLL_MS = 20;
const STEP_MS = 30_000;

/** Runs all steps. Returns what each step answered; throws if a step answers anything else than the specification says. */
export async function runInboxSteps(
  asking: DemoPool,
  asked: DemoPool,
  signal: AbortSignal,
  say: (line: string) => void,
) {
  say("Starting two pools on loopback, each in its own runtime.");
  await Promise.all([asking.start(), asked.start()]);
  for (const { admin } of [asking, asked]) await admin.changeFederation({ allow_private_peers: true });
  await bond(asking, asked, signal);
  say(`${asking.name} and ${asked.name} have bonded: each may ask the other's admin.`);

  const read = await askToRead(asking, asked, signal);
  say(`A read request was asked, approved and answered: ${read.events} events came back.`);

  const [key, unknownKey, otherKey] = await Promise.all([freshKey(), freshKey(), freshKey()]);
  const switch_off = await refusedWrite(asking, asked, key, "action_disabled");
  say(`A write request was refused, because ${asked.name} accepts no writes: ${switch_off}.`);

  await register(asked, key, asking);
  await asked.admin.changeFederation({ accept_writes: true });
  const no_admin_key = await refusedWrite(asking, asked, unknownKey, "admin_key_required");
  say(
    `${asked.name} registered an admin key and accepts writes. A write signed by another key was refused: ${no_admin_key}.`,
  );

  const write = await approvedWrite(asking, asked, key, signal);
  say(`A write signed by the registered key landed, was approved and ran: ${JSON.stringify(write.result)}.`);

  const cooldown = await refusedWrite(asking, asked, key, "cooldown");
  say(`The next write met the cooldown of six hours: ${cooldown}.`);

  await register(asking, otherKey, asked);
  await asking.admin.changeFederation({ accept_writes: true });
  const overridden = await overriddenWrite(asked, asking, otherKey, signal);
  say(`A write to ${asking.name} was blocked by a slashing event, and approved with a reason that is on record.`);

  return { read, switch_off, no_admin_key, write, cooldown, overridden };
}

async function bond(a: DemoPool, b: DemoPool, signal: AbortSignal): Promise<void> {
  await a.admin.addPeer({ url: b.url, atom_id: b.atomId });
  await Promise.all([a.admin.trustPeer(b.atomId, 3), b.admin.trustPeer(a.atomId, 3)]);
  await until(signal, "the bond", async () => {
    const both = await Promise.all([a.admin.peer(b.atomId), b.admin.peer(a.atomId)]);
    return both.every(({ effective }) => effective === 3);
  });
}

async function askToRead(asking: DemoPool, asked: DemoPool, signal: AbortSignal) {
  const given = { action_type: "query_events", action_params: { limit: 10 } } as const;
  const sent = await asking.admin.sendRequest({ peer: asked.atomId, ...given });
  expectStatus(sent, "pending");
  const approved = await asked.admin.approveRequest(receivedFrom(asking, sent));
  expectStatus(approved, "executed");
  const answered = await answer(asking, asked, sent, "executed", signal);
  const { events } = answered.result as { events: unknown[] };
  return { asked: sent.status, approved: approved.status, answered: answered.status, events: events.length };
}

/** A write that the other pool refuses at once. Returns the code of the refusal. */
async function refusedWrite(from: DemoPool, to: DemoPool, key: Signer, code: string): Promise<string> {
  const sent = await sendWrite(from, to, key);
  expectStatus(sent, "refused");
  const answered = await from.event(
    ({ type, payload }) => type === "request_answered" && payload.request_id === sent.request_id,
  );
  if (answered.payload.code !== code)
    throw new Error(`refused with ${String(answered.payload.code)}, not with ${code}`);
  const { requests } = await to.admin.requests({ peer: from.atomId });
  const isStored = requests.some(({ request_id }) => request_id === sent.request_id);
  if (isStored) throw new Error("the refused request is stored");
  return code;
}

async function approvedWrite(from: DemoPool, to: DemoPool, key: Signer, signal: AbortSignal) {
  const sent = await sendWrite(from, to, key);
  expectStatus(sent, "pending");
  const approved = await to.admin.approveRequest(receivedFrom(from, sent));
  expectStatus(approved, "executed");
  const answered = await answer(from, to, sent, "executed", signal);
  return { asked: sent.status, approved: approved.status, answered: answered.status, result: answered.result };
}

async function overriddenWrite(from: DemoPool, to: DemoPool, key: Signer, signal: AbortSignal) {
  const { slashing_id } = await to.admin.addSlashing({ reason: "A demonstration." });
  const sent = await sendWrite(from, to, key);
  expectStatus(sent, "blocked");
  const of = receivedFrom(from, sent);
  const without = await to.admin.approveRequest(of).then(
    () => "approved",
    () => "refused",
  );
  if (without !== "refused") throw new Error("a blocked request was approved without a reason");
  const approved = await to.admin.approveRequest(of, "Agreed by phone.");
  expectStatus(approved, "executed");
  await answer(from, to, sent, "executed", signal);
  const decided = await to.event(
    ({ type, payload }) => type === "request_decided" && payload.request_id === sent.request_id,
  );
  const overridden = JSON.stringify(decided.payload.overridden);
  if (!overridden.includes(slashing_id)) throw new Error(`the audit does not name the slashing event: ${overridden}`);
  const settled = await to.admin.changeSlashing(slashing_id, "dismiss", "The demonstration is over.");
  return { asked: sent.status, without_reason: without, approved: approved.status, slashing: settled.status };
}

/** Signs on the admin's side, and sends by the pool. */
async function sendWrite(from: DemoPool, to: DemoPool, key: Signer): Promise<RequestDetails> {
  const request = {
    request_id: `req_${crypto.randomUUID()}`,
    action_type: "circuit_reset",
    action_params: {},
  } as const;
  const contents = { origin: from.atomId, destination: to.atomId, ...request };
  const admin_signature = await signAdminRequest(key, contents, Math.floor(Date.now() / 1_000) + 3_600);
  return from.admin.sendRequest({ peer: to.atomId, ...request, admin_signature });
}

/** Waits for the callback. */
async function answer(
  from: DemoPool,
  to: DemoPool,
  { request_id }: RequestView,
  status: RequestView["status"],
  signal: AbortSignal,
): Promise<RequestDetails> {
  const of = { direction: "sent", peer: to.atomId, request_id } as const;
  return until(signal, "the answer", async () => {
    const request = await from.admin.request(of);
    return request.status === status && request;
  });
}

function freshKey(): Promise<Signer> {
  return signerFrom(generateSecretKey());
}

function register(at: DemoPool, key: Signer, peer: DemoPool) {
  return at.admin.addAdminKey({ public_key: toHex(key.publicKey), peer: peer.atomId, label: `admin of ${peer.name}` });
}

function receivedFrom(pool: DemoPool, { request_id }: RequestView) {
  return { direction: "received", peer: pool.atomId, request_id } as const;
}

function expectStatus({ status, error }: RequestDetails, want: RequestDetails["status"]): void {
  if (status !== want) throw new Error(`the request is ${status}, not ${want}${error === null ? "" : `: ${error}`}`);
}

async function until<T>(signal: AbortSignal, what: string, found: () => Promise<T | false>): Promise<T> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(STEP_MS)]);
  for (;;) {
    const answer = await found();
    if (answer !== false) return answer;
    if (limit.aborted) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
