import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { HANDLERS } from "../../edge/federation/inbox/actions.ts";
import { errorBody } from "../../edge/http/error-body.ts";
import { signAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { RequestDetails, RequestView } from "../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Bend, type Call, freshPool, type PeerDouble, peerAt, setPolicy, US } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/** docs/spec/federation.md#admin-requests: what a peer's admin asks, what our admin decides, and what the peer hears of it. */

const REQUEST = "/v1/federation/admin/request";
const CALLBACK = "/v1/federation/admin/callback";

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool({ peer_requests_per_minute: 1_000 });
});
let peer: PeerDouble;
let run: MockInstance<typeof HANDLERS.query_events.run>;
beforeEach(async () => {
  run = vi.spyOn(HANDLERS.query_events, "run");
  // Stay below the rate of registrations.
  pass(60_000);
  peer = await peerAt(3, 3);
  takesCallbacks(peer);
});
afterEach(() => {
  run.mockRestore();
});
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

function takesCallbacks(double: PeerDouble): void {
  double.answer = (request) => (request.url.endsWith(CALLBACK) ? Response.json({ ok: true }) : undefined);
}

let numbers = 0;
/** An array in an array in an array … */
const deep = (levels: number) => JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`) as unknown;
const freshId = () => `req_${numbers++}`;
const body = (change: object = {}) => ({
  request_id: freshId(),
  origin_pool_id: peer.id,
  action_type: "query_events",
  action_params: { limit: 5 },
  from_admin_email: "ops@peer.example",
  ...change,
});
const ask = (sent: object, bend?: Bend) => peer.send("POST", REQUEST, sent, bend);
const outcomeOf = (sent: object, bend?: Bend) => peer.outcomeOf("POST", REQUEST, sent, bend);
const path = (id: string, direction = "received") => `/requests/${direction}/${peer.id}/${id}`;
const seen = (id: string, direction?: string) => admin<RequestDetails>("GET", path(id, direction));
const decide = (id: string, verb: string, given: object = {}, want = 200) =>
  admin<RequestDetails>("POST", `${path(id)}/${verb}`, given, want);
const callbacks = (): Call[] => peer.called(CALLBACK);
const alarm = () => runDurableObjectAlarm(peer.bond());
/** Waits until the peer has had so many callbacks. */
const whenCalledBack = (times = 1) => eventually(async () => callbacks().length >= times && callbacks());

/** The events in our log of these types about this peer's requests. */
async function audited(...types: string[]) {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const bodies = await Promise.all(
    events.map(async ({ event }) => {
      const opened = await openEvent(event);
      if (!opened.ok) throw new Error(opened.code);
      return opened.event;
    }),
  );
  return bodies.filter(({ type, payload }) => types.includes(type) && payload.peer === peer.id);
}

async function land(change: object = {}): Promise<string> {
  const sent = body(change);
  const response = await ask(sent);
  if (response.status !== 202) throw new Error(`not landed: ${response.status} ${await response.text()}`);
  return sent.request_id;
}

describe("a request of the peer's admin", () => {
  it("lands, waits for our admin, and is on record", async () => {
    const sent = body();
    const response = await ask(sent);
    expect(response.status).toBe(202);
    const expires_at = Math.floor((Date.now() + LIMITS.adminRequestMs) / 1_000);
    expect(await response.json()).toEqual({ request_id: sent.request_id, status: "pending", expires_at });
    const { requests } = await eventually(async () => {
      const list = await admin<{ requests: RequestView[] }>("GET", `/requests?peer=${peer.id}&waiting=true`);
      return list.requests.length > 0 && list;
    });
    expect(requests).toMatchObject([
      {
        direction: "received",
        peer: peer.id,
        request_id: sent.request_id,
        status: "pending",
        email: "ops@peer.example",
      },
    ]);
    const events = await eventually(async () => (await audited("request_received")).at(-1));
    expect(events.payload).toMatchObject({ action: "query_events", params: { limit: 5 }, status: "pending" });
    expect(JSON.stringify(events)).not.toContain("ops@peer.example");
  });

  it("is answered with the stored state if it is repeated, and refused with other contents", async () => {
    const sent = body();
    const first = await (await ask(sent)).json();
    expect(await (await ask(sent)).json()).toEqual(first);
    expect(await outcomeOf({ ...sent, action_params: { limit: 6 } })).toBe("409 federation/request-id-reused");
    await decide(sent.request_id, "reject");
    const again = await ask(sent);
    expect([again.status, ((await again.json()) as RequestView).status]).toEqual([200, "rejected"]);
  });

  it.each<[what: string, change: () => object, want: string]>([
    ["another pool as its origin", () => ({ origin_pool_id: US }), "401 federation/unauthenticated"],
    ["an unknown action", () => ({ action_type: "reboot" }), "400 federation/unknown-action"],
    ["a parameter that the action does not have", () => ({ action_params: { all: true } }), "400 http/invalid-body"],
    [
      "an event type that is not on the list",
      () => ({ action_params: { event_types: ["admin_created"] } }),
      "400 http/invalid-body",
    ],
    ["too many events", () => ({ action_params: { limit: 501 } }), "400 http/invalid-body"],
    ["parameters that are too large", () => ({ action_params: { x: "y".repeat(20_000) } }), "400 http/invalid-body"],
    [
      "a write while writes are off",
      () => ({ action_type: "circuit_reset", action_params: {} }),
      "403 federation/action-disabled",
    ],
    ["parameters that are too deep", () => ({ action_params: { x: deep(40) } }), "400 http/invalid-body"],
    [
      "parameters that would overflow the stack",
      () => ({ action_params: { x: deep(5_000) } }),
      "400 http/invalid-body",
    ],
    ["a text that is not Unicode", () => ({ action_params: { x: "\ud800" } }), "400 http/invalid-body"],
    ["an id that cannot be an id", () => ({ request_id: "a/b" }), "400 http/invalid-body"],
  ])("with %s is refused and stored nowhere", async (_what, change, want) => {
    const sent = body(change());
    expect(await outcomeOf(sent)).toBe(want);
    await admin("GET", path(encodeURIComponent(sent.request_id)), undefined, 404);
  });

  it("needs trust 3 in both directions", async () => {
    pass(60_000);
    const [only2, stranger] = [await peerAt(2, 3), await peerAt(1)];
    for (const other of [only2, stranger]) {
      const sent = { ...body(), origin_pool_id: other.id };
      expect(await other.outcomeOf("POST", REQUEST, sent)).toBe("403 federation/untrusted");
    }
  });

  it("is refused while reads are off", async () => {
    await setPolicy({ accept_reads: false });
    pass(LIMITS.switchesSharedMs);
    expect(await outcomeOf(body())).toBe("403 federation/action-disabled");
    await setPolicy({ accept_reads: true });
    pass(LIMITS.switchesSharedMs);
  });

  it("is refused beyond ten that wait, with the time until the first expires", async () => {
    const first = await land();
    pass(3_600_000);
    for (let n = 1; n < LIMITS.adminRequestsPending; n++) await land();
    const refused = await ask(body());
    expect([refused.status, refused.headers.get("x-ligand-code")]).toEqual([429, "federation/too-many-pending"]);
    expect(Number(refused.headers.get("retry-after"))).toBe(23 * 3_600);
    await decide(first, "reject");
    await land();
  });

  it("that is refused is counted: one event for each code, after ten minutes", async () => {
    for (let n = 0; n < 3; n++) await outcomeOf(body({ action_type: "reboot" }));
    await outcomeOf(body({ action_params: { all: 1 } }));
    pass(LIMITS.adminRefusalsMs);
    expect(await alarm()).toBe(true);
    const events = await eventually(async () => {
      const counted = await audited("requests_refused");
      return counted.length >= 2 && counted;
    });
    expect(events.map(({ payload }) => [payload.code, payload.count])).toEqual(
      expect.arrayContaining([
        ["federation/unknown-action", 3],
        ["http/invalid-body", 1],
      ]),
    );
  });
});

describe("our admin's decision", () => {
  it("to approve runs the action once, and calls the peer back", async () => {
    const id = await land({ action_params: { event_types: ["peer_handshake"] } });
    const [first, second] = await Promise.all([decide(id, "approve"), decide(id, "approve")]);
    expect([first.status, second.status]).toEqual(["executed", "executed"]);
    expect(first.result).toMatchObject({ ok: true, window_days: 7, whitelist_applied: ["peer_handshake"] });
    const [call] = await whenCalledBack();
    expect(call?.body).toEqual({
      request_id: id,
      origin_pool_id: US,
      final_status: "executed",
      execution_result: first.result,
      execution_error: null,
    });
    await eventually(async () => (await seen(id)).callback === "delivered");
    await decide(id, "reject", {}, 409);
    expect(run).toHaveBeenCalledTimes(1);
    expect(callbacks()).toHaveLength(1);
    const events = await eventually(async () => {
      const all = await audited("request_decided", "request_executed", "request_called_back");
      return all.length >= 3 && all;
    });
    expect(events.map(({ type, payload }) => [type, payload.decision ?? payload.outcome])).toEqual([
      ["request_decided", "approved"],
      ["request_executed", "executed"],
      ["request_called_back", "delivered"],
    ]);
  });

  it("to reject calls the peer back, and keeps the note here", async () => {
    const id = await land();
    expect(await decide(id, "reject", { note: "not this week" })).toMatchObject({
      status: "rejected",
      note: "not this week",
      admin: "admin",
    });
    const [call] = await whenCalledBack();
    expect(call?.body).toMatchObject({ final_status: "rejected", execution_result: null, execution_error: null });
    await decide(id, "approve", {}, 409);
    expect(JSON.stringify(await audited("request_decided"))).not.toContain("not this week");
  });

  it("is refused after the peer lost its trust", async () => {
    const id = await land();
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
    await decide(id, "approve", {}, 403);
    expect((await seen(id)).status).toBe("pending");
  });

  it("comes too late after 24 hours: the request expires by the alarm, and the peer hears of it", async () => {
    const id = await land();
    const due = await runInDurableObject(peer.bond(), (_bond, { storage }) => storage.getAlarm());
    expect(due).not.toBeNull();
    pass(LIMITS.adminRequestMs);
    expect(await alarm()).toBe(true);
    expect((await seen(id)).status).toBe("expired");
    const [call] = await whenCalledBack();
    expect(call?.body).toMatchObject({ request_id: id, final_status: "expired" });
    await decide(id, "approve", {}, 409);
  });

  it("comes too late one millisecond after 24 hours, even before the alarm", async () => {
    const id = await land();
    pass(LIMITS.adminRequestMs);
    await decide(id, "approve", {}, 409);
    expect((await seen(id)).status).toBe("expired");
  });

  it("whose action fails is failed, with words for the peer", async () => {
    run.mockResolvedValue({ ok: false, error: "no" });
    const id = await land();
    expect(await decide(id, "approve")).toMatchObject({ status: "failed", error: "no" });
    const [call] = await whenCalledBack();
    expect(call?.body).toMatchObject({ final_status: "failed", execution_error: "no" });
  });

  it("whose action does not answer is tried again by the alarm, and fails after ten tries", async () => {
    const errors = vi.spyOn(console, "error").mockImplementation(() => {});
    run.mockRejectedValue(new Error("D1 is away"));
    const id = await land();
    expect((await decide(id, "approve")).status).toBe("approved");
    for (let n = 1; n < LIMITS.actionTries; n++) {
      pass(LIMITS.actionRetryMs);
      await alarm();
    }
    expect(await seen(id)).toMatchObject({ status: "failed", error: "The action failed repeatedly." });
    expect(run).toHaveBeenCalledTimes(LIMITS.actionTries);
    expect(errors).toHaveBeenCalledTimes(LIMITS.actionTries);
    errors.mockRestore();
    await whenCalledBack();
  });

  it("survives a crash between the decision and the action", async () => {
    run.mockReturnValueOnce(new Promise(() => {}));
    const id = await land();
    const approving = decide(id, "approve").catch(() => "lost");
    await eventually(async () => run.mock.calls.length === 1);
    await abortAllDurableObjects();
    await approving;
    expect((await seen(id)).status).toBe("approved");
    pass(LIMITS.actionRetryMs);
    await alarm();
    await eventually(async () => (await seen(id)).status === "executed");
    await whenCalledBack();
  });

  it("is shown as not called back if our admin removes the peer before it takes the callback", async () => {
    peer.answer = (request) => (request.url.endsWith(CALLBACK) ? new Response(null, { status: 500 }) : undefined);
    const id = await land();
    expect((await decide(id, "approve")).callback).toBe("waiting");
    await admin("DELETE", `/peers/${peer.id}`);
    expect(await seen(id)).toMatchObject({ status: "executed_no_callback", callback: "given-up" });
  });

  it("is final, and stays on record, if the peer never takes the callback", async () => {
    peer.answer = (request) => (request.url.endsWith(CALLBACK) ? new Response(null, { status: 404 }) : undefined);
    const id = await land();
    await decide(id, "approve");
    await eventually(async () => (await seen(id)).status === "executed_no_callback");
    expect((await seen(id)).callback).toBe("given-up");
    const { requests } = await eventually(async () => {
      const list = await admin<{ requests: RequestView[] }>("GET", "/requests?status=executed_no_callback");
      return list.requests.length > 0 && list;
    });
    expect(requests[0]?.request_id).toBe(id);
  });

  it("erases email and note, and leaves their hashes in the log", async () => {
    const id = await land();
    await decide(id, "reject", { note: "a private remark" });
    expect(await admin("POST", `${path(id)}/erase`, {}, 200)).toMatchObject({ email: null, note: null });
    await eventually(async () => {
      const rows = await env.DB.prepare("SELECT * FROM admin_requests WHERE request_id = ?").bind(id).all();
      return !/ops@peer|private remark/.test(JSON.stringify(rows.results));
    });
    const kept = await runInDurableObject(peer.bond(), (_bond, { storage }) =>
      JSON.stringify([...storage.sql.exec("SELECT * FROM requests WHERE request_id = ?", id)]),
    );
    expect(kept).not.toMatch(/ops@peer|private remark/);
    const payload = (await audited("request_decided")).at(-1)?.payload;
    expect(payload?.note_hash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("query_events", () => {
  it("shows nothing that concerns another peer, no admin, and no type that is not on the list", async () => {
    pass(60_000);
    const other = await peerAt(3, 3);
    await eventually(async () => (await audited("peer_handshake")).length > 0);
    const id = await land({ action_params: {} });
    const { result } = await decide(id, "approve");
    const text = JSON.stringify(result);
    expect(text).not.toContain(other.id);
    expect(text).not.toContain('"by"');
    const { events } = result as { events: { type: string; payload: object }[] };
    expect(new Set(events.map(({ type }) => type))).toEqual(new Set(["peer_handshake"]));
    expect(events.every(({ payload }) => "peer" in payload && payload.peer === peer.id)).toBe(true);
  });
});

describe("a request of our admin", () => {
  const send = (given: object = {}, want = 201) =>
    admin<RequestDetails>("POST", "/requests/sent", { peer: peer.id, action_type: "query_events", ...given }, want);
  const answers = (answer: () => Response) => {
    peer.answer = (request) => (request.url.endsWith(REQUEST) ? answer() : undefined);
  };
  const accepts = () =>
    answers(() => Response.json({ request_id: "any", status: "pending", expires_at: 1 }, { status: 202 }));
  const callBack = (id: string, change: object = {}, from = peer) =>
    from.send("POST", CALLBACK, {
      request_id: id,
      origin_pool_id: from.id,
      final_status: "executed",
      execution_result: { ok: true, events: [] },
      execution_error: null,
      ...change,
    });

  it("reaches the peer, waits there, and gets its answer by the peer's callback", async () => {
    accepts();
    const sent = await send({ action_params: { limit: 3 }, email: "us@pool.example" });
    expect(sent).toMatchObject({ direction: "sent", status: "pending", params: { limit: 3 }, admin: "admin" });
    expect(peer.called(REQUEST)[0]?.body).toEqual({
      request_id: sent.request_id,
      origin_pool_id: US,
      action_type: "query_events",
      action_params: { limit: 3 },
      from_admin_email: "us@pool.example",
    });
    const taken = await callBack(sent.request_id);
    expect([taken.status, await taken.json()]).toEqual([200, { ok: true, request_id: sent.request_id }]);
    expect(await seen(sent.request_id, "sent")).toMatchObject({ status: "executed", result: { ok: true, events: [] } });
    // The same callback again, and one that contradicts it.
    expect((await callBack(sent.request_id)).status).toBe(200);
    expect((await callBack(sent.request_id, { final_status: "rejected" })).status).toBe(409);
    expect((await seen(sent.request_id, "sent")).status).toBe("executed");
  });

  it.each<[what: string, answer: () => Response, want: Partial<RequestDetails>]>([
    [
      "a refusal of our form",
      () =>
        Response.json(errorBody("federation/cooldown", { retryAfterSeconds: 60 }), {
          status: 429,
          headers: { "retry-after": "60" },
        }),
      { status: "refused" },
    ],
    [
      "a refusal of the existing network",
      () => Response.json({ error: "not allowed" }, { status: 403 }),
      { status: "refused", error: "not allowed" },
    ],
    [
      "404 without words",
      () => new Response(null, { status: 404 }),
      { status: "refused", error: "The other pool answered 404." },
    ],
    [
      "409 slashing_pending: it has landed there, blocked",
      () => Response.json(errorBody("federation/slashing-pending"), { status: 409 }),
      { status: "blocked", error: null },
    ],
    ["an error of the server: it is tried again", () => new Response("oops", { status: 500 }), { status: "sending" }],
    ["something that is no answer: it is tried again", () => Response.json({ hello: 1 }), { status: "sending" }],
    [
      "a used up rate: it is tried again",
      () => Response.json(errorBody("federation/rate-limited"), { status: 429, headers: { "retry-after": "1" } }),
      { status: "sending" },
    ],
  ])("that is answered with %s", async (_what, answer, want) => {
    answers(answer);
    expect(await send()).toMatchObject(want);
  });

  it("expires here after 24 hours, and is not sent any more; a late callback still tells what happened", async () => {
    answers(() => new Response("oops", { status: 500 }));
    const { request_id } = await send();
    pass(LIMITS.adminRequestMs);
    await alarm();
    expect(await seen(request_id, "sent")).toMatchObject({ status: "expired" });
    expect((await peer.seen()).deliveries_waiting).toBe(0);
    expect((await callBack(request_id)).status).toBe(200);
    expect(await seen(request_id, "sent")).toMatchObject({ status: "executed" });
  });

  it("takes no callback from another pool, and none for a request that was not sent", async () => {
    accepts();
    const { request_id } = await send();
    pass(60_000);
    const third = await peerAt(3, 3);
    expect((await callBack(request_id, {}, third)).status).toBe(404);
    expect((await callBack("req_unknown")).status).toBe(404);
    expect((await callBack(request_id, { origin_pool_id: third.id })).status).toBe(401);
    expect((await seen(request_id, "sent")).status).toBe("pending");
  });

  it("takes no callback that is too deep to read, and still takes the next one", async () => {
    accepts();
    const { request_id } = await send();
    expect((await callBack(request_id, { execution_result: deep(5_000) })).status).toBe(400);
    expect((await callBack(request_id)).status).toBe(200);
  });

  it("is sent once if our admin sends it twice, and refused with other contents", async () => {
    accepts();
    const given = { request_id: freshId(), action_params: { limit: 1 } };
    await send(given);
    await send(given);
    await send({ ...given, action_params: { limit: 2 } }, 409);
    expect(peer.called(REQUEST)).toHaveLength(1);
  });

  it("that is a write needs the signature of an admin key", async () => {
    await send({ action_type: "circuit_reset" }, 409);
    expect(peer.called(REQUEST)).toHaveLength(0);
  });

  it("goes to peers only", async () => {
    await send({ peer: "ab".repeat(32) }, 404);
  });
});

describe("a write request", () => {
  let key: Signer;
  let reset: MockInstance<typeof HANDLERS.circuit_reset.run>;
  beforeEach(async () => {
    key = await signerFrom(generateSecretKey());
    await admin("POST", "/admin-keys", { public_key: toHex(key.publicKey), peer: peer.id });
    await setPolicy({ accept_writes: true });
    pass(LIMITS.switchesSharedMs);
    reset = vi.spyOn(HANDLERS.circuit_reset, "run").mockResolvedValue({ ok: true, result: { circuits: 0 } });
  });
  afterEach(async () => {
    reset.mockRestore();
    await admin("DELETE", `/admin-keys/${key.id}`).catch(() => "removed by the test");
  });

  async function write(change: object = {}, by = key): Promise<ReturnType<typeof body>> {
    const given = body({ action_type: "circuit_reset", action_params: {}, from_admin_email: null, ...change });
    const { request_id, origin_pool_id: origin, action_type, action_params } = given;
    const contents = { origin, destination: US, request_id, action_type, action_params };
    const signature = await signAdminRequest(by, contents as never, Math.floor(Date.now() / 1_000) + 48 * 3_600);
    return { ...given, admin_signature: signature } as ReturnType<typeof body>;
  }

  it("lands with the signature of a registered admin key, and runs when our admin approves", async () => {
    const sent = await write();
    expect(await outcomeOf(sent)).toBe("202");
    expect(await decide(sent.request_id, "approve")).toMatchObject({ status: "executed", result: { circuits: 0 } });
    expect(reset).toHaveBeenCalledWith(expect.anything(), { peer: peer.id, requestId: sent.request_id, params: {} });
    const [event] = await eventually(async () => {
      const received = await audited("request_received");
      return received.length > 0 && received;
    });
    expect(event?.payload).toMatchObject({ key_id: key.id, action: "circuit_reset" });
  });

  it("meets the cooldown until six hours have passed since the last approved one, to the second", async () => {
    const first = await write();
    await ask(first);
    await decide(first.request_id, "approve");
    pass(LIMITS.adminWriteCooldownMs - 1_000);
    const refused = await ask(await write());
    expect([refused.status, refused.headers.get("x-ligand-code")]).toEqual([429, "federation/cooldown"]);
    expect(refused.headers.get("retry-after")).toBe("1");
    // A read is not delayed by it.
    await land();
    pass(1_000);
    expect(await outcomeOf(await write())).toBe("202");
  });

  it("that landed before another was approved is refused at its approval, until the cooldown is over", async () => {
    const [first, second] = [await write(), await write()];
    await ask(first);
    await ask(second);
    await decide(first.request_id, "approve");
    await decide(second.request_id, "approve", {}, 429);
    expect((await seen(second.request_id)).status).toBe("pending");
    pass(LIMITS.adminWriteCooldownMs);
    expect((await decide(second.request_id, "approve")).status).toBe("executed");
    expect(reset).toHaveBeenCalledTimes(2);
  });

  it("keeps its cooldown if the peer is removed and comes back", async () => {
    const first = await write();
    await ask(first);
    await decide(first.request_id, "approve");
    await admin("DELETE", `/peers/${peer.id}`);
    pass(60_000);
    await peer.register();
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 3 }, 200);
    await peer.push([await peer.grant(3)]);
    expect(await outcomeOf(await write())).toBe("429 federation/cooldown");
  });

  it("is blocked while a slashing event is open, and needs an override with a reason, which is on record", async () => {
    const { slashing_id } = await admin<{ slashing_id: string }>("POST", "/slashing", { reason: "evidence" });
    const sent = await write();
    expect(await outcomeOf(sent)).toBe("409 federation/slashing-pending");
    expect(await outcomeOf(sent)).toBe("409 federation/slashing-pending");
    expect(await seen(sent.request_id)).toMatchObject({ status: "blocked", open_slashings: 1 });
    await decide(sent.request_id, "approve", {}, 409);
    const done = await decide(sent.request_id, "approve", { override_reason: "checked by phone" });
    expect(done).toMatchObject({ status: "executed", note: "checked by phone" });
    const [event] = await eventually(async () => {
      const decided = await audited("request_decided");
      return decided.length > 0 && decided;
    });
    expect(event?.payload).toMatchObject({ overridden: [{ slashing_id, status: "pending" }] });
    expect(JSON.stringify(event)).not.toContain("checked by phone");
    await admin("POST", `/slashing/${slashing_id}/dismiss`, { reason: "nothing" }, 200);
  });

  it("that was blocked needs no override once the slashing event is closed; one that was pending may need one", async () => {
    const { slashing_id } = await admin<{ slashing_id: string }>("POST", "/slashing", { reason: "evidence" });
    const blocked = await write();
    await ask(blocked);
    await admin("POST", `/slashing/${slashing_id}/settle`, { reason: "paid" }, 200);
    const pending = await write();
    expect(await outcomeOf(pending)).toBe("202");
    expect((await decide(blocked.request_id, "approve")).status).toBe("executed");
    pass(LIMITS.adminWriteCooldownMs);
    const later = await admin<{ slashing_id: string }>("POST", "/slashing", { reason: "more evidence" });
    await decide(pending.request_id, "approve", {}, 409);
    await admin("POST", `/slashing/${later.slashing_id}/contest`, { reason: "disputed" }, 200);
    await decide(pending.request_id, "approve", {}, 409);
    await admin("POST", `/slashing/${later.slashing_id}/dismiss`, { reason: "nothing" }, 200);
    expect((await decide(pending.request_id, "approve")).status).toBe("executed");
  });

  it("cannot be approved after its admin key was removed, or its signature has expired", async () => {
    const sent = await write();
    await ask(sent);
    const other = await signerFrom(generateSecretKey());
    await admin("POST", "/admin-keys", { public_key: toHex(other.publicKey), peer: peer.id });
    await admin("DELETE", `/admin-keys/${key.id}`);
    await decide(sent.request_id, "approve", {}, 403);
    await admin("POST", "/admin-keys", { public_key: toHex(key.publicKey), peer: peer.id });
    expect((await decide(sent.request_id, "approve")).status).toBe("executed");
    await admin("DELETE", `/admin-keys/${other.id}`);
  });

  it("is refused, and cannot be approved, after the last admin key was removed: writes are off then", async () => {
    const sent = await write();
    await ask(sent);
    await admin("DELETE", `/admin-keys/${key.id}`);
    pass(LIMITS.switchesSharedMs);
    expect(await outcomeOf(await write())).toBe("403 federation/action-disabled");
    await decide(sent.request_id, "approve", {}, 403);
  });

  it("in version 1 is refused with words, whatever it carries, and stored nowhere", async () => {
    await setPolicy({ legacy_signatures: "all" });
    pass(LIMITS.switchesSharedMs + 60_000);
    const old = await peerAt(1);
    old.version = 1;
    const sent = await write({ origin_pool_id: old.id });
    const answer = await old.send("POST", REQUEST, sent, { version: 1 });
    // It has signed with version 2 once, so that it is not heard in version 1 any more.
    expect(answer.status).toBe(401);
    await setPolicy({ legacy_signatures: "off" });
    pass(LIMITS.switchesSharedMs);
  });
});

// Last: the log refuses a clock that jumps so far.
describe("after a long time", () => {
  it("a decided request is forgotten by the peer's object after thirty days, and stays in D1", async () => {
    const id = await land();
    await decide(id, "reject");
    await whenCalledBack();
    await eventually(async () => (await seen(id)).callback === "delivered");
    pass(LIMITS.adminRequestKeptMs + 2);
    await alarm();
    const left = await runInDurableObject(
      peer.bond(),
      (_bond, { storage }) => [...storage.sql.exec("SELECT 1 FROM requests WHERE request_id = ?", id)].length,
    );
    expect(left).toBe(0);
    expect(await seen(id)).toMatchObject({ status: "rejected", result: null });
  });

  it("query_events shows nothing older than seven days", async () => {
    pass(LIMITS.queryEventsWindowMs + 1);
    const id = await land({ action_params: {} });
    expect((await decide(id, "approve")).result).toMatchObject({ count: 0 });
  });
});
