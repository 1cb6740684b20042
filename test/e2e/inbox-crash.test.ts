import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { signAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { adminClient } from "../../scripts/runtime/admin-client.ts";
import { type RunningPool, startPool } from "../../scripts/runtime/pool-runtime.ts";
import { parseRecord } from "../../scripts/runtime/workerd-record.ts";
import { processIdentity, signal } from "../../worker-agent/state/processes.ts";
import { bodyOf, expectSound, logOf, openFederation } from "./federation-support.ts";
import { type Pool, ScriptedPeer } from "./scripted-peer.ts";
import { temporaryFolder, waitFor } from "./support.ts";

/**
 * An approved request runs once and is answered, wherever the runtime is killed. The points are between the steps: before the
 * action runs, after it ran and before its result is stored, while the callback is under way, and after the peer has answered
 * the callback.
 */

const REQUEST = "/v1/federation/admin/request";
const CALLBACK = "/v1/federation/admin/callback";
const ENTRY = fileURLToPath(new URL("worker/crash-entry.ts", import.meta.url));

const POINTS = ["before-action", "after-action", "callback-arrives", "callback-answered"] as const;
type Point = (typeof POINTS)[number];

let running: RunningPool;
let pool: Pool;
let peer: ScriptedPeer;
/** The key of the peer's admin, registered here. */
let key: Signer;
let stateDir: string;
/** What the peer heard: the bodies of the callbacks, by request. */
const callbacks: { request_id: string; final_status: string }[] = [];
/** The point at which the runtime is killed next, and how often. */
let killAt: { point: Point; left: number } | null = null;
let reports: Awaited<ReturnType<typeof listen>>;

beforeAll(async () => {
  stateDir = temporaryFolder();
  reports = await listen();
  running = await startPool({ stateDir, port: 0, log: () => {}, main: ENTRY });
  const admin = adminClient(running.url, running.secrets.admin_token);
  const { atom_id } = await admin.pool();
  pool = {
    url: running.url,
    credentials: { atom_id, admin_token: running.secrets.admin_token, public_url: running.url },
    admin,
  };
  await openFederation(pool);
  await bondNewPeer();
});
afterAll(async () => {
  await running?.stop();
  reports.close();
});

/** The server that the actions report to. It never answers a point at which the runtime is killed. */
async function listen() {
  const seen: string[] = [];
  const server = createServer(async (request, response) => {
    const [, point = "", requestId = ""] = (request.url ?? "").split("/");
    seen.push(`${point} ${requestId}`);
    if (await killedAt(point as Point)) return;
    response.end("go on");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    seen,
    port: typeof address === "object" && address !== null ? address.port : 0,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

function takesCallbacks(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.url !== CALLBACK) return false;
  void (async () => {
    const chunks: Buffer[] = await request.toArray();
    callbacks.push(JSON.parse(Buffer.concat(chunks).toString()));
    if (await killedAt("callback-arrives")) return response.destroy();
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ ok: true }));
    return killedAt("callback-answered");
  })();
  return true;
}

async function killedAt(point: Point): Promise<boolean> {
  if (killAt?.point !== point || killAt.left === 0) return false;
  killAt.left -= 1;
  await killRuntime();
  return true;
}

/** Ends workerd only; its runner starts it again. */
async function killRuntime(): Promise<void> {
  const { pid } = parseRecord(readFileSync(join(stateDir, "workerd.pid"), "utf8")) ?? { pid: 0 };
  const identity = processIdentity(pid);
  signal(pid, "SIGKILL");
  await waitFor(() => processIdentity(pid) !== identity, 5_000, "the runtime to be gone");
}

let numbers = 0;
const freshId = () => `req_${numbers++}.${reports.port}`;
/** A read, which has no cooldown. */
const body = (request_id: string): object => ({
  request_id,
  origin_pool_id: peer.id,
  action_type: "query_events",
  action_params: { limit: 1 },
  from_admin_email: null,
});
/** A write with an effect. Its peer is new, because a peer's next write would meet the cooldown. */
async function write(request_id: string): Promise<object> {
  const contents = { request_id, action_type: "circuit_reset", action_params: {} };
  const signed = { ...contents, origin: peer.id, destination: pool.credentials.atom_id };
  const admin_signature = await signAdminRequest(key, signed, Math.floor(Date.now() / 1_000) + 3_600);
  return { ...contents, origin_pool_id: peer.id, from_admin_email: null, admin_signature };
}
async function bondNewPeer(): Promise<void> {
  peer = await ScriptedPeer.start();
  await peer.trustEachOther(pool, 3);
  peer.script = takesCallbacks;
  key = await signerFrom(generateSecretKey());
  await pool.admin.addAdminKey({ public_key: toHex(key.publicKey), peer: peer.id });
  await pool.admin.changeFederation({ accept_writes: true });
}
const seen = (request_id: string) => pool.admin.request({ direction: "received", peer: peer.id, request_id });
const approve = (request_id: string) =>
  pool.admin.approveRequest({ direction: "received", peer: peer.id, request_id }).then(
    ({ status }) => status,
    () => "no answer",
  );

async function land(request_id: string, sent = body(request_id)): Promise<void> {
  await waitFor(async () => (await peer.ask(pool, "POST", REQUEST, sent)).status === 202, 20_000, "it to land");
}

/** The events of this request in the log, in their order. */
async function audited(request_id: string): Promise<string[]> {
  const events = (await logOf(pool, "all")).map(bodyOf);
  return events
    .filter(({ payload }) => payload.request_id === request_id && payload.peer === peer.id)
    .map(({ type, payload }) => [type, payload.decision ?? payload.outcome ?? payload.status].join(" "));
}

/** How often the action had its effect. */
async function resets(request_id: string): Promise<number> {
  const events = (await logOf(pool, "all")).map(bodyOf).filter(({ type }) => type === "circuits_reset");
  const ours = { peer: peer.id, request_id };
  return events.filter(({ payload }) => JSON.stringify(payload.request) === JSON.stringify(ours)).length;
}

const WHOLE = [
  "request_received pending",
  "request_decided approved",
  "request_executed executed",
  "request_called_back delivered",
];

async function expectDoneOnce(request_id: string): Promise<void> {
  await waitFor(async () => (await seen(request_id)).callback === "delivered", 90_000, "the callback to be delivered");
  expect(await seen(request_id)).toMatchObject({ status: "executed", result: { ok: true } });
  await waitFor(async () => (await audited(request_id)).length >= WHOLE.length, 20_000, "the log to have all steps");
  expect(await audited(request_id)).toEqual(WHOLE);
  const heard = callbacks.filter((each) => each.request_id === request_id);
  expect(heard.length).toBeGreaterThan(0);
  // A callback that was answered and not noted is sent again, and says the same.
  expect(new Set(heard.map((each) => JSON.stringify(each))).size).toBe(1);
}

describe("an approved request", () => {
  /** The pool may have noted an answered callback before it is killed; then there is no second one. */
  const times = (point: Point) => (point === "callback-answered" ? [1] : [1, 2]);

  it.each(POINTS.flatMap((point) => times(point).map((count) => [point, count] as const)))(
    "runs once and is answered if the runtime is killed at the point %s, %i times",
    async (point, count) => {
      await bondNewPeer();
      const request_id = freshId();
      await land(request_id, await write(request_id));
      killAt = { point, left: count };
      // Double clicks, in parallel. Those whose answer is lost are repeated, as a person would do.
      const clicks = await Promise.all([approve(request_id), approve(request_id), approve(request_id)]);
      if (clicks.includes("no answer")) {
        await waitFor(async () => ["approved", "executed"].includes(await approve(request_id)), 30_000, "an answer");
      }
      await waitFor(() => killAt?.left === 0, 90_000, "the runtime to be killed so often");
      await expectDoneOnce(request_id);
      expect(await resets(request_id)).toBe(1);
      killAt = null;
    },
  );

  it("of ours reaches the peer if the runtime is killed while it is being sent, under the same id", async () => {
    const heard: string[] = [];
    const killed = { left: 2 };
    peer.script = (request, response) => {
      if (request.url !== REQUEST) return false;
      void (async () => {
        const chunks: Buffer[] = await request.toArray();
        heard.push(Buffer.concat(chunks).toString());
        if (killed.left > 0) {
          killed.left -= 1;
          await killRuntime();
          response.destroy();
          return;
        }
        const { request_id } = JSON.parse(heard.at(-1) ?? "{}") as { request_id: string };
        const answer = { request_id, status: "pending", expires_at: Math.floor(Date.now() / 1_000) + 60 };
        response.writeHead(202, { "content-type": "application/json" }).end(JSON.stringify(answer));
      })();
      return true;
    };
    const request_id = freshId();
    const given = { peer: peer.id, action_type: "query_events" as const, action_params: {}, request_id };
    await pool.admin.sendRequest(given).catch(() => "the answer is lost with the runtime");
    const ours = () => pool.admin.request({ direction: "sent", peer: peer.id, request_id });
    await waitFor(async () => (await ours()).status === "pending", 90_000, "the peer to have it");
    expect(heard).toHaveLength(3);
    expect(new Set(heard).size).toBe(1);
    // A click that is repeated changes nothing.
    expect((await pool.admin.sendRequest(given)).status).toBe("pending");
    expect(heard).toHaveLength(3);
    peer.script = takesCallbacks;
  });

  it("is still one request if the peer repeats it, whatever its state", async () => {
    const request_id = freshId();
    await land(request_id);
    const repeat = async () =>
      (await (await peer.ask(pool, "POST", REQUEST, body(request_id))).json()) as { status: string };
    expect((await repeat()).status).toBe("pending");
    await killRuntime();
    await waitFor(async () => (await repeat()).status === "pending", 20_000, "the pool to be back");
    expect(await approve(request_id)).toBe("executed");
    await expectDoneOnce(request_id);
    expect((await repeat()).status).toBe("executed");
    expect(reports.seen.filter((each) => each === `before-action ${request_id}`)).toHaveLength(1);
  });

  it("and all others leave a sound log", async () => {
    await expectSound(pool);
  });
});
