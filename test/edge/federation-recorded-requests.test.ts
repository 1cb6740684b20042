import { listDurableObjectIds, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { fromHex } from "../../schema/crypto/bytes.ts";
import type { RequestDetails } from "../../schema/wire/admin-requests.ts";
import { ERRORS } from "../../schema/wire/errors.ts";
import { peerStatusAnswer } from "../../schema/wire/federation.ts";
import recorded from "../vectors/existing-network.json" with { type: "json" };
import vectors from "../vectors/federation-signatures.json" with { type: "json" };
import { deliver, freshPool, PeerDouble, US } from "./peer-double.ts";
import { admin, ask, eventually, invite, ScriptedAgent } from "./support.ts";

/**
 * The requests of `existing-network.json`, as an unpatched pool of the existing network sent them: byte for byte, at the
 * time that they sign. The pool is at the address and has the key of the recording.
 */

const peerOf = (name: string) => recorded.requests.find((each) => each.name === name);
const hello = JSON.parse(peerOf("handshake")?.body ?? "") as { url: string; atom_id: string };
const SPOKEN = ["/v1/federation/info", "/v1/federation/handshake", "/v1/federation/admin/", "/v1/federation/peer/"];
const unspoken = recorded.requests.filter(({ target }) => !SPOKEN.some((path) => target.startsWith(path)));

/** Sends a recorded request. The clock of this pool is then at its timestamp. */
async function send(name: string): Promise<Response> {
  const request = peerOf(name);
  if (request === undefined) throw new Error(`there is no request ${name}`);
  const { method, target, body } = request;
  const headers = request.headers.map(([name = "", value = ""]): [string, string] => [name, value]);
  const [, timestamp] = headers.find(([header]) => header === "X-IAMINE-Timestamp") ?? [];
  if (timestamp !== undefined) vi.setSystemTime(Number(timestamp) * 1_000);
  return ask(target, { method, headers, ...(body !== "" && { body }) });
}

const seen = (direction: "received" | "sent", id: string, status = 200) =>
  admin<RequestDetails>("GET", `/requests/${direction}/${hello.atom_id}/${id}`, undefined, status);

let peer: PeerDouble;
beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  vi.setSystemTime(1_796_061_650_000);
  await freshPool({ legacy_signatures: "all", allow_private_peers: true });
  peer = await PeerDouble.make(hello.url, fromHex(vectors.origin.secret_key_hex) ?? undefined);
  peer.version = 1;
});
afterAll(() => vi.useRealTimers());

describe("a pool of the existing network that is bonded", () => {
  it("has introduced itself, and is one-sided when our admin grants it 3", async () => {
    expect((await send("info")).status).toBe(200);
    expect(await (await send("handshake")).json()).toMatchObject({ ok: true, peer_trust_level: 1 });
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 3 }, 200);
    expect(await peer.seen()).toMatchObject({ granted: 3, received: 0, effective: 2, one_sided: true });
    const { peers } = await admin<{ peers: object[] }>("GET", "/peers");
    expect(peers).toMatchObject([{ atom_id: peer.id, one_sided: true }]);
    const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 100);
    const granted = events.map(({ event }) => atob(event.event_bytes)).filter((text) => text.includes("one_sided"));
    expect(granted).toHaveLength(1);
  });

  it("reads this pool's status, which its console shows", async () => {
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "m" });
    const answer = await send("peer-status");
    agent.close();
    expect(answer.status).toBe(200);
    const status = peerStatusAnswer.parse(await answer.json());
    expect(status).toMatchObject({ ok: true, workers: 1, models: ["m"] });
    expect(status.uptime_sec).toBeGreaterThanOrEqual(0);
  });

  it.each<[name: string, id: string]>([
    ["admin-request-1-query_events", "fadm_fd551cd8bae34a13"],
    ["admin-request-2-query_events", "fadm_0bdd8a46bc00405f"],
  ])("%s lands, and is answered as it expects", async (name, request_id) => {
    const answer = await send(name);
    expect(answer.status).toBe(200);
    const expires_at = Math.floor(Date.now() / 1_000) + 86_400;
    expect(await answer.json()).toEqual({ ok: true, request_id, status: "pending", expires_at });
    expect(await seen("received", request_id)).toMatchObject({ request_id, status: "pending" });
  });

  it("admin-request-3-circuit_reset is refused with words, and no request is stored", async () => {
    const answer = await send("admin-request-3-circuit_reset");
    expect(answer.status).toBe(403);
    const { message, remedy } = ERRORS["federation/admin-key-required"];
    expect(await answer.json()).toMatchObject({ error: { message: `${message} ${remedy}` } });
    await seen("received", "fadm_aef2e3fd49d14905", 404);
  });

  it.each<[name: string, id: string, status: string, events: number | null]>([
    ["callback-approved-200", "fadm_0000000000000001", "executed", 1],
    ["callback-rejected-200", "fadm_0000000000000002", "rejected", null],
    ["callback-approved-202", "fadm_0000000000000003", "executed", 1],
  ])("%s is taken for the request that this pool sent", async (name, request_id, status, events) => {
    const met = peer.version1.met.get(US);
    if (met !== undefined) met.trust = 3;
    vi.setSystemTime(1_796_061_700_000);
    const request = { peer: peer.id, action_type: "query_events", action_params: {}, request_id };
    expect(await admin<RequestDetails>("POST", "/requests/sent", request, 201)).toMatchObject({ status: "pending" });
    expect((await send(name)).status).toBe(200);
    const answered = await seen("sent", request_id);
    expect(answered.status).toBe(status);
    const result = answered.result as { events?: unknown[] } | null;
    expect(result?.events?.length ?? null).toBe(events);
  });

  it("gets no trust from the exception for anything else", async () => {
    const pull = await peer.outcomeOf("GET", "/api/federation/events?audience=peers&since=0", undefined, {
      version: 1,
    });
    // Version 1 does not sign the query, so that it is part of no signature.
    expect(pull).toMatch(/^40[13] federation\//);
  });
});

describe("a request that this pool does not speak", () => {
  const spies = (["log", "info", "warn", "error", "debug"] as const).map((level) => vi.spyOn(console, level));
  beforeEach(() => {
    for (const spy of spies) spy.mockClear();
  });

  /** Everything that is stored anywhere, as text: all tables of D1, and the storage of each object. */
  async function everything(): Promise<string> {
    const namespaces = Object.values(env as unknown as Record<string, unknown>).filter(isNamespace);
    const objects = namespaces.map(async (namespace) => {
      const ids = await listDurableObjectIds(namespace);
      return Promise.all(ids.map((id) => runInDurableObject(namespace.get(id), (_, state) => stored(state))));
    });
    const tables = await tableNames((sql) =>
      env.DB.prepare(sql)
        .all<{ name: string }>()
        .then(({ results }) => results),
    );
    const rows = tables.map((name) => env.DB.prepare(`SELECT * FROM "${name}"`).all());
    const all = [await Promise.all(objects), (await Promise.all(rows)).map(({ results }) => results)];
    return JSON.stringify(all, (_, value) =>
      value instanceof ArrayBuffer || ArrayBuffer.isView(value) ? new TextDecoder().decode(value) : value,
    );
  }

  async function stored({ storage }: DurableObjectState): Promise<unknown> {
    const names = await tableNames(async (sql) => storage.sql.exec<{ name: string }>(sql).toArray());
    const tables = names.map((name) => storage.sql.exec(`SELECT * FROM "${name}"`).toArray());
    return [tables, [...(await storage.list())]];
  }

  async function tableNames(read: (sql: string) => Promise<{ name: string }[]>): Promise<string[]> {
    const tables = await read("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    return tables.map(({ name }) => name).filter((name) => !name.startsWith("_") && !name.startsWith("sqlite_"));
  }

  const isNamespace = (value: unknown): value is DurableObjectNamespace =>
    // A service binding has any member, so ask for the class.
    typeof value === "object" && value?.constructor.name === "DurableObjectNamespace";

  /** The values in its body and the headers that sign it, except for what this pool knows of its peer anyway. */
  const partsOf = ({ headers, body }: (typeof unspoken)[number]) => {
    const values = body === "" ? [] : Object.values(JSON.parse(body) as object).map(String);
    const signed = headers.flatMap(([name = "", value = ""]) => (/-(Nonce|Signature)$/.test(name) ? [value] : []));
    return [...values, ...signed].filter((each) => each.length > 8 && each !== hello.atom_id);
  };
  async function expectNoTrace(parts: string[]): Promise<void> {
    const kept = (await everything()) + JSON.stringify(spies.flatMap((spy) => spy.mock.calls));
    for (const part of parts) expect(kept).not.toContain(part);
  }

  it.each(unspoken)("$name is answered 404, and no part of it is stored or logged", async (request) => {
    expect((await send(request.name)).status).toBe(404);
    await expectNoTrace(partsOf(request));
  });

  it("a forwarded job is answered 404, and its prompt is kept nowhere", async () => {
    const prompt = "a prompt that nobody may keep";
    const job = { origin_pool_id: peer.id, model: "m", messages: [{ role: "user", content: prompt }] };
    const request = await peer.request("POST", "/v1/federation/job", job, { version: 1 });
    const nonce = request.headers.get("x-iamine-nonce") ?? "";
    expect((await deliver(request)).status).toBe(404);
    await expectNoTrace([prompt, nonce]);
  });

  it("the recording has such requests, with credentials in them, and what is stored would be found", async () => {
    expect(unspoken.map(({ name }) => name)).toEqual([
      "accounts-ingest",
      "ledger-merkle-root",
      "memory-forget",
      "memory-since",
      "worker-known-Stand-in-1",
    ]);
    expect(JSON.stringify(unspoken)).toContain("password_hash");
    expect(unspoken.flatMap(partsOf).length).toBeGreaterThan(10);
    // The nonce of a request that was admitted is in the peer's object; D1 has the email of its admin.
    expect(await everything()).toContain("f1a8224613f1ac2f");
    await eventually(async () => (await everything()).includes("ops@alder.example"));
  });
});
