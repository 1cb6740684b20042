import { request as httpRequest } from "node:http";
import { beforeAll, describe, expect, it } from "vitest";
import { signAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { bodyOf, expectSound, logOf, openFederation } from "./federation-support.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { type PoolProcess, startPool, startWorker, waitFor } from "./support.ts";

/**
 * The nine steps of docs/spec/federation.md#admin-requests against bonded peers that attack a pool in another process.
 * Clients are served meanwhile.
 */

const REQUEST = "/v1/federation/admin/request";
const CALLBACK = "/v1/federation/admin/callback";

let pool: PoolProcess;
let hostile: ScriptedPeer;
let other: ScriptedPeer;
/** Keys of the admins of both peers, registered here, and a key that nobody registered. */
let keys: Record<"hostile" | "other" | "nobody", Signer>;

beforeAll(async () => {
  const fresh = () => signerFrom(generateSecretKey());
  const [hostileKey, otherKey, nobody] = await Promise.all([fresh(), fresh(), fresh()]);
  keys = { hostile: hostileKey, other: otherKey, nobody };
  [pool, hostile, other] = await Promise.all([startPool(), ScriptedPeer.start(), ScriptedPeer.start()]);
  await openFederation(pool);
  for (const peer of [hostile, other]) await peer.trustEachOther(pool, 3);
  await register(hostileKey, hostile);
  await register(otherKey, other);
  await pool.admin.changeFederation({ accept_writes: true, peer_requests_per_minute: LIMITS.peerMaxRequestsPerMinute });
});

async function register(key: Signer, peer: ScriptedPeer): Promise<void> {
  const response = await fetch(`${pool.url}/admin/api/admin-keys`, {
    method: "POST",
    headers: { authorization: `Bearer ${pool.credentials.admin_token}` },
    body: JSON.stringify({ public_key: toHex(key.publicKey), peer: peer.id }),
  });
  expect(response.status).toBe(201);
}

let numbers = 0;
const nowSeconds = () => Math.floor(Date.now() / 1_000);

interface Write {
  by?: Signer;
  /** Seconds from now. */
  expiresIn?: number;
  /** What the key signs instead of what is sent. */
  signed?: { request_id?: string; action_params?: Record<string, string>; destination?: string; origin?: string };
  sent?: Record<string, unknown>;
}

/** A write request, with everything right unless the test changes it. */
async function write({ by = keys.hostile, expiresIn = 3_600, signed = {}, sent = {} }: Write = {}) {
  const request = { request_id: `write_${numbers++}`, action_type: "circuit_reset", action_params: {} };
  const contents = { ...request, origin: hostile.id, destination: pool.credentials.atom_id, ...signed };
  const admin_signature = await signAdminRequest(by, contents, nowSeconds() + expiresIn);
  return { ...request, origin_pool_id: hostile.id, from_admin_email: null, admin_signature, ...sent };
}

const read = (change: object = {}) => ({
  request_id: `read_${numbers++}`,
  origin_pool_id: hostile.id,
  action_type: "query_events",
  action_params: {},
  from_admin_email: null,
  ...change,
});

async function outcome(body: object, target = REQUEST, by = hostile): Promise<string> {
  const answer = await by.ask(pool, "POST", target, body);
  await answer.text();
  if (answer.status === 202) {
    const { request_id } = body as { request_id: string };
    landed.set(by.id, (landed.get(by.id) ?? new Set()).add(request_id));
  }
  return [answer.status, answer.headers.get("x-ligand-code")].filter(Boolean).join(" ");
}

/** The ids of requests that landed and were not decided, by peer. */
const landed = new Map<string, Set<string>>();

/** The requests of the peer that wait, in the order of D1, which gets them a moment later. */
const waitingOf = (peer: ScriptedPeer) =>
  waitFor(
    async () => {
      const { requests } = await pool.admin.requests({ peer: peer.id, waiting: "true" });
      return requests.length === (landed.get(peer.id)?.size ?? 0) && requests;
    },
    5_000,
    "D1 to have the requests",
  );

/** Leaves nothing that waits. */
async function rejectAll(peer: ScriptedPeer): Promise<void> {
  for (const request_id of landed.get(peer.id) ?? []) {
    await pool.admin.rejectRequest({ direction: "received", peer: peer.id, request_id });
  }
  landed.delete(peer.id);
}

describe("a write request", () => {
  it.each<[what: string, make: () => Promise<object>]>([
    ["without a signature", async () => ({ ...(await write()), admin_signature: undefined })],
    ["signed by the pool's key", () => write({ by: hostile.signer })],
    ["signed by the admin key of another peer", () => write({ by: keys.other })],
    ["signed by a key that nobody registered", () => write({ by: keys.nobody })],
    ["whose signature has expired", () => write({ expiresIn: -1 })],
    ["whose signature is valid for too long", () => write({ expiresIn: LIMITS.adminSignatureMs / 1_000 + 60 })],
    ["signed for other parameters", () => write({ signed: { action_params: { worker_id: "ab".repeat(32) } } })],
    ["signed for another request", () => write({ signed: { request_id: "another" } })],
    ["signed for another pool", () => write({ signed: { destination: other.id } })],
    ["signed for another origin", () => write({ signed: { origin: other.id } })],
  ])("%s is refused with 403, and stored nowhere", async (_what, make) => {
    const body = (await make()) as { request_id: string };
    expect(await outcome(body)).toBe("403 federation/admin-key-required");
    const of = { direction: "received", peer: hostile.id, request_id: body.request_id } as const;
    await expect(pool.admin.request(of)).rejects.toThrow("no such request");
  });

  it("lands with a valid signature, and is refused with other contents under its id", async () => {
    const body = await write();
    expect(await outcome(body)).toBe("202");
    expect(await outcome(body)).toBe("202");
    expect(await outcome({ ...body, from_admin_email: "x@y.example" })).toBe("409 federation/request-id-reused");
    await rejectAll(hostile);
  });

  it("that is sent as a read needs no admin key, and does what a read does", async () => {
    const body = { ...(await write()), action_type: "query_events" };
    expect(await outcome(body)).toBe("202");
    const of = { direction: "received", peer: hostile.id, request_id: body.request_id } as const;
    const done = await pool.admin.approveRequest(of);
    landed.delete(hostile.id);
    expect(done).toMatchObject({ action: "query_events", status: "executed", result: { window_days: 7 } });
  });
});

describe("what a request claims", () => {
  it("decides nothing: an email in the body, in a header, and a header of raw UTF-8", async () => {
    const email = "root@this-pool.example\u001b[2J\u202e";
    const body = read({ from_admin_email: email });
    expect(await outcome(body)).toBe("202");
    expect((await waitingOf(hostile))[0]).toMatchObject({ request_id: body.request_id, email, status: "pending" });
    await rejectAll(hostile);

    const last = read();
    const text = JSON.stringify(last);
    const signed = await hostile.signed(pool, "POST", REQUEST, Buffer.from(text));
    // fetch refuses such a header; the existing network sends it.
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const url = new URL(REQUEST, pool.url);
      const headers = { ...signed, "X-IAMINE-Admin-Email": Buffer.from("Zoé@pool.example").toString("latin1") };
      httpRequest(url, { method: "POST", headers }, (answer) => {
        answer.resume().on("end", () => resolve(answer.statusCode));
      })
        .on("error", reject)
        .end(text);
    });
    expect(status).toBe(202);
    landed.set(hostile.id, new Set([last.request_id]));
    expect((await waitingOf(hostile))[0]).toMatchObject({ email: null });
    await rejectAll(hostile);
  });

  it("names no other pool as its origin", async () => {
    expect(await outcome(read({ origin_pool_id: other.id }))).toBe("401 federation/unauthenticated");
    const callback = { request_id: "any", origin_pool_id: other.id, final_status: "executed" };
    expect(await outcome(callback, CALLBACK)).toBe("401 federation/unauthenticated");
  });
});

describe("a callback", () => {
  it("from a third pool is refused, whatever it knows of the request", async () => {
    let asked: string | null = null;
    other.script = (request, response) => {
      if (request.url !== REQUEST) return false;
      asked = request.url;
      const answer = { request_id: "any", status: "pending", expires_at: nowSeconds() + 60 };
      response.writeHead(202, { "content-type": "application/json" }).end(JSON.stringify(answer));
      return true;
    };
    const sent = await pool.admin.sendRequest({ peer: other.id, action_type: "query_events", action_params: {} });
    expect([asked, sent.status]).toEqual([REQUEST, "pending"]);
    const callback = (origin_pool_id: string) => ({
      request_id: sent.request_id,
      origin_pool_id,
      final_status: "executed",
      execution_result: { planted: true },
      execution_error: null,
    });
    expect(await outcome(callback(hostile.id), CALLBACK)).toBe("404 federation/callback-unknown");
    expect(await outcome(callback(other.id), CALLBACK, other)).toBe("200");
    const of = { direction: "sent", peer: other.id, request_id: sent.request_id } as const;
    expect(await pool.admin.request(of)).toMatchObject({ status: "executed", result: { planted: true } });
  });
});

describe("a flood", () => {
  it("of requests fills ten places and no more; the eleventh is refused with the time to wait", async () => {
    await rejectAll(hostile);
    for (let n = 0; n < LIMITS.adminRequestsPending; n++) expect(await outcome(read())).toBe("202");
    const eleventh = await hostile.ask(pool, "POST", REQUEST, read());
    expect([eleventh.status, eleventh.headers.get("x-ligand-code")]).toEqual([429, "federation/too-many-pending"]);
    expect(Number(eleventh.headers.get("retry-after"))).toBeGreaterThan(LIMITS.adminRequestMs / 1_000 - 600);
    expect(await outcome(await write())).toBe("429 federation/too-many-pending");
    // Another peer has its own places.
    expect(await outcome({ ...read(), origin_pool_id: other.id }, REQUEST, other)).toBe("202");
    await rejectAll(hostile);
    await rejectAll(other);
  });

  it("of 10,000 requests costs the peer its rate, stores ten, and clients are served meanwhile", async () => {
    await pool.admin.changeFederation({ peer_requests_per_minute: LIMITS.peerRequestsPerMinute });
    await startWorker(pool);
    const before = (await logOf(pool, "all")).length;
    const chat = async () => {
      const answer = await fetch(`${pool.url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${pool.credentials.client_key}`, "content-type": "application/json" },
        body: JSON.stringify({ model: "auto", max_tokens: 1, messages: [{ role: "user", content: "hi" }] }),
      });
      await answer.text();
      return answer.status;
    };
    const outcomes = new Map<string, number>();
    const served: Promise<number>[] = [];
    let sent = 0;
    const flooding = Array.from({ length: 16 }, async () => {
      while (sent < 10_000) {
        if (sent++ % 1_000 === 0) served.push(chat());
        const answered = await outcome(read());
        outcomes.set(answered, (outcomes.get(answered) ?? 0) + 1);
      }
    });
    await Promise.all(flooding);
    expect(await Promise.all(served)).toEqual(Array.from({ length: 10 }, () => 200));
    expect([...outcomes.keys()].sort()).toEqual(
      expect.arrayContaining(["202", "429 federation/rate-limited", "429 federation/too-many-pending"]),
    );
    expect(outcomes.get("202")).toBe(LIMITS.adminRequestsPending);
    expect(await waitingOf(hostile)).toHaveLength(LIMITS.adminRequestsPending);
    // The log grew by what landed, not by what was refused.
    const events = (await logOf(pool, "all")).slice(before).map(bodyOf);
    expect(events.filter(({ type }) => type === "request_received")).toHaveLength(LIMITS.adminRequestsPending);
    expect(events.length).toBeLessThan(2 * LIMITS.adminRequestsPending + 10);
    await expectSound(pool);
  });

  it("leaves a pool that answers an honest peer", async () => {
    const body = { ...read(), origin_pool_id: other.id };
    expect(await outcome(body, REQUEST, other)).toBe("202");
    let heard: string | null = null;
    other.script = (request, response) => {
      if (request.url !== CALLBACK) return false;
      heard = request.url;
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
      return true;
    };
    await pool.admin.approveRequest({ direction: "received", peer: other.id, request_id: body.request_id });
    await waitFor(() => heard !== null, 10_000, "the callback");
  });
});
