import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { Lane } from "../../edge/inference/lane-object.ts";
import { MAIN_LANE } from "../../edge/object-names.ts";
import { RecordOutbox } from "../../edge/record/record-outbox.ts";
import { HandshakeRates } from "../../edge/workers/handshake-rate-tracker.ts";
import { WorkerTokens } from "../../edge/workers/worker-tokens.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { CLOSE, LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import type { AgentFrame } from "../../schema/wire/worker-frames.ts";
import { admin, ask, chat, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

describe("a revoked token", () => {
  it("closes its socket, its job goes to another worker, and it is refused from then on", async () => {
    const key = await createKey();
    const { id, token } = await invite();
    const agent = await ScriptedAgent.serving(token, { model: "revoked-test" });
    const asking = chat(key, { model: "revoked-test" });
    await agent.next("job");
    const heir = await ScriptedAgent.serving((await invite()).token, { model: "revoked-test" });
    const { revoked_at } = await admin<{ revoked_at: string }>("DELETE", `/workers/tokens/${id}`);
    expect(await agent.closed).toMatchObject({ code: CLOSE.tokenRefused });
    await heir.done(await heir.next("job"), "taken over");
    expect((await asking).status).toBe(200);

    expect(await refusalOf(token)).toEqual([401, "workers/token-refused", "token_refused", atomId(token)]);
    const { tokens } = await admin<{ tokens: { id: string; revoked_at: string }[] }>("GET", "/workers");
    expect(tokens.find((row) => row.id === id)?.revoked_at).toBe(revoked_at);
  });
});

describe("an expired token", () => {
  it("closes its socket at its expiry, and is refused from then on", async () => {
    const { token } = await invite({ expires_in_days: 1 / 86_400 });
    const agent = await ScriptedAgent.serving(token, { model: "one-second" });
    expect(await agent.closed).toMatchObject({ code: CLOSE.tokenExpired });
    expect(await refusalOf(token)).toEqual([403, "workers/token-expired", "token_expired", atomId(token)]);
  });
});

describe("a token that was refused", () => {
  it("opens no socket, and after a few attempts the lane is not called", async () => {
    const { id, token } = await invite();
    await admin("DELETE", `/workers/tokens/${id}`);
    const asked = vi.spyOn(Lane.prototype, "fetch");
    const statuses = await Promise.all(Array.from({ length: 50 }, () => refusalOf(token)));
    // The lane answers attempts that arrive before the first refusal is remembered, six of a token at most.
    expect(new Set(statuses.map(([status]) => status))).toEqual(new Set([401, 429]));
    asked.mockClear();
    await Promise.all(Array.from({ length: 50 }, () => refusalOf(token)));
    expect(asked).not.toHaveBeenCalled();
    asked.mockRestore();
    expect(await socketsOf(id)).toBe(0);
  });
});

describe("a token that connects again and again", () => {
  it("is admitted six times and then refused with Retry-After, before its token is read or a row is written", async () => {
    const { id, token } = await invite();
    const signer = await signerFrom(generateSecretKey());
    for (let i = 0; i < LIMITS.handshakesPerMinute; i++) await ScriptedAgent.serving(token, { signer });
    const found = vi.spyOn(WorkerTokens.prototype, "find");
    const response = await connect(token);
    expect([response.status, response.headers.get("x-ligand-code")]).toEqual([429, "workers/connects-too-often"]);
    const retryAfter = Number(response.headers.get("retry-after"));
    expect(retryAfter).toBeGreaterThan(0);
    expect(retryAfter).toBeLessThanOrEqual(60 / LIMITS.handshakesPerMinute);
    expect(found).not.toHaveBeenCalled();
    found.mockRestore();
    // Its last socket still serves, and another token is not affected.
    const { workers } = await admin<{ workers: { token_id: string }[] }>("GET", "/workers");
    expect(workers.filter((worker) => worker.token_id === id)).toHaveLength(1);
    (await ScriptedAgent.serving((await invite()).token)).close();
  });

  it("writes one row of its worker, not one for each connection", async () => {
    const put = vi.spyOn(RecordOutbox.prototype, "put");
    const { token } = await invite();
    const signer = await signerFrom(generateSecretKey());
    await ScriptedAgent.serving(token, { signer });
    const tables = () => put.mock.calls.map(([table]) => table).sort();
    // The token, the token with its worker id, and the worker.
    expect(tables()).toEqual(["worker_tokens", "worker_tokens", "workers"]);
    await ScriptedAgent.serving(token, { signer });
    await ScriptedAgent.serving(token, { signer });
    expect(tables()).toHaveLength(3);
    await ScriptedAgent.serving(token, { signer, model: "another" });
    expect(tables()).toHaveLength(4);
    put.mockRestore();
  });
});

describe("closed sockets whose worker never answers the close", () => {
  it("count: at the bound the token gets no more sockets, until they are gone", async () => {
    const { id, token } = await invite();
    const lane = env.LANE.getByName(MAIN_LANE);
    const rate = vi.spyOn(HandshakeRates.prototype, "take").mockReturnValue(0);
    const silent: WebSocket[] = [];
    for (let i = 0; i < LIMITS.socketsPerToken; i++) {
      const response = await connect(token);
      expect(response.status).toBe(101);
      // The socket is never accepted, so no frame of the pool is read, its close frame included.
      if (response.webSocket) silent.push(response.webSocket);
    }
    // The pool has closed all but a few of them, because too many sockets of this token were half open.
    expect(await runInDurableObject(lane, (_, state) => state.getWebSockets(id).length)).toBe(LIMITS.socketsPerToken);
    const refused = await connect(token);
    expect([refused.status, refused.headers.get("x-ligand-code")]).toEqual([429, "workers/too-many-sockets"]);
    expect(refused.headers.get("retry-after")).toBe(String(LIMITS.socketsRetrySeconds));
    for (const socket of silent) {
      socket.accept();
      socket.close();
    }
    await eventually(async () => (await socketsOf(id)) === 0);
    rate.mockRestore();
  });
});

describe("the handshake", () => {
  it("binds a token to the first worker that uses it", async () => {
    const { id, token } = await invite();
    const first = await ScriptedAgent.serving(token);
    await eventually(async () => {
      const { tokens } = await admin<{ tokens: { id: string; worker_id: string }[] }>("GET", "/workers");
      return tokens.find((row) => row.id === id)?.worker_id === first.workerId;
    });
    const thief = await ScriptedAgent.open(token);
    await thief.hello(token);
    expect(await thief.closed).toMatchObject({ code: CLOSE.tokenRefused, reason: "token belongs to another worker" });
  });

  it.each<[offered: string, want: string | null]>([
    ["ligand.worker.v1", "ligand.worker.v1"],
    ["ligand.worker.v1.1, ligand.worker.v1", "ligand.worker.v1.1"],
    ["ligand.worker.v1, ligand.worker.v9,ligand.worker.v1.1", "ligand.worker.v1.1"],
    ["ligand.worker.v1, ligand.worker.v1.2, ligand.worker.v1.1", "ligand.worker.v1.2"],
    ["ligand.worker.v9", null],
  ])("chooses, of %s, the newest that it speaks", async (offered, want) => {
    const { token } = await invite();
    const response = await ask("/v1/workers/connect", {
      headers: { upgrade: "websocket", authorization: `Bearer ${token}`, "sec-websocket-protocol": offered },
    });
    expect([response.status, response.headers.get("sec-websocket-protocol")]).toEqual([want ? 101 : 426, want]);
    response.webSocket?.accept();
    response.webSocket?.close();
  });

  it("replaces the old socket of a worker by its new one", async () => {
    const { token } = await invite();
    const signer = await signerFrom(generateSecretKey());
    const old = await ScriptedAgent.serving(token, { signer });
    await ScriptedAgent.serving(token, { signer });
    expect(await old.closed).toMatchObject({ code: CLOSE.normal });
  });

  it.each<[what: string, change: (hello: AgentFrame) => AgentFrame, code: number]>([
    [
      "a proof for another nonce",
      (hello) => ({ ...hello, signature: flip(hello, "signature") }) as AgentFrame,
      CLOSE.policyViolation,
    ],
    [
      "an unsigned manifest",
      (hello) => ({ ...hello, manifestSignature: flip(hello, "manifestSignature") }) as AgentFrame,
      CLOSE.policyViolation,
    ],
    [
      "the key of another worker",
      (hello) => ({ ...hello, publicKey: "ab".repeat(32) }) as AgentFrame,
      CLOSE.policyViolation,
    ],
    ["an extra field", (hello) => Object.assign({}, hello, { extra: 1 }), CLOSE.policyViolation],
  ])("refuses %s", async (_what, change, code) => {
    const { token } = await invite();
    const agent = await ScriptedAgent.open(token);
    await agent.hello(token, { change });
    expect((await agent.closed).code).toBe(code);
  });

  it.each<[what: string, text: string | ArrayBuffer, code: number]>([
    ["text that is not JSON", "{", CLOSE.policyViolation],
    ["an unknown type", '{"type":"gossip"}', CLOSE.policyViolation],
    ["binary", new Uint8Array([1, 2, 3]).buffer, CLOSE.policyViolation],
    ["a job's frame before hello", '{"type":"ready","received":0,"slots":[]}', CLOSE.policyViolation],
    ["more than a megabyte", `"${"x".repeat(1024 * 1024)}"`, CLOSE.tooBig],
  ])("closes on %s, and serves others meanwhile", async (_what, text, code) => {
    const other = await ScriptedAgent.serving((await invite()).token, { model: "bystander" });
    const hostile = await ScriptedAgent.open((await invite()).token);
    hostile.sendText(text);
    expect((await hostile.closed).code).toBe(code);
    const asking = chat(await createKey(), { model: "bystander" });
    await other.done(await other.next("job"), "fine");
    expect((await asking).status).toBe(200);
    other.close();
  });

  it("keeps at most four half-open sockets of one token", async () => {
    const { token } = await invite();
    const [oldest] = await Promise.all(Array.from({ length: 5 }, () => ScriptedAgent.open(token)));
    expect(await oldest?.closed).toMatchObject({ code: CLOSE.policyViolation });
  });
});

it("a worker without jobs learns how many requests arrive for other models, if its version has that frame", async () => {
  const speaks = "ligand.worker.v1.1";
  const idle = await ScriptedAgent.serving((await invite()).token, { model: "not-asked-for", speaks });
  const older = await ScriptedAgent.serving((await invite()).token, { model: "asked-for" });
  const key = await createKey();
  const ask = async (model: string, agent?: ScriptedAgent) => {
    const asking = chat(key, { model });
    if (agent) await agent.done(await agent.next("job"), "Hello");
    return (await asking).status;
  };
  expect([await ask("asked-for", older), await ask("never-heard-of")]).toEqual([200, 404]);
  expect(await idle.next("elsewhere")).toEqual({ type: "elsewhere", jobs: 2 });
  // Requests for its own model do not count. The next frame of a worker that does not know this frame is a job.
  expect([await ask("not-asked-for", idle), await ask("never-heard-of")]).toEqual([200, 404]);
  expect(await idle.next("elsewhere")).toEqual({ type: "elsewhere", jobs: 1 });
  expect(await ask("asked-for", older)).toBe(200);
  for (const agent of [idle, older]) agent.close();
});

describe("disconnected workers", () => {
  it("are not listed", async () => {
    const { id, token } = await invite();
    const agent = await ScriptedAgent.serving(token);
    const listed = async () => {
      const { workers } = await admin<{ workers: { token_id: string }[] }>("GET", "/workers");
      return workers.some((worker) => worker.token_id === id);
    };
    expect(await listed()).toBe(true);
    agent.close();
    await eventually(async () => !(await listed()));
  });
});

function connect(token: string): Promise<Response> {
  return ask("/v1/workers/connect", {
    headers: {
      upgrade: "websocket",
      authorization: `Bearer ${token}`,
      "sec-websocket-protocol": "ligand.worker.v1",
    },
  });
}

/** Status, code, the code in the body, and the pool's atom id. */
async function refusalOf(token: string): Promise<unknown[]> {
  const response = await connect(token);
  const { error } = await response.json<{ error: { code: string } }>();
  const { status, headers } = response;
  return [status, headers.get("x-ligand-code"), error.code, headers.get(WORKER_PROTOCOL.poolHeader)];
}

/** The sockets of the runtime, also those that the pool has closed. */
function socketsOf(tokenId: string): Promise<number> {
  return runInDurableObject(env.LANE.getByName(MAIN_LANE), (_, state) => state.getWebSockets(tokenId).length);
}

const atomId = (token: string) => token.split("_").at(-1);

function flip(hello: AgentFrame, field: "signature" | "manifestSignature"): string {
  const value = hello.type === "hello" ? hello[field] : "";
  return (value.startsWith("A") ? "B" : "A") + value.slice(1);
}
