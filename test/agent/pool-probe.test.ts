import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ERRORS } from "../../schema/wire/errors.ts";
import { CLOSE } from "../../schema/wire/limits.ts";
import { type Probed, probePool } from "../../worker-agent/session/pool-probe.ts";
import { workerSocketUrl } from "../../worker-agent/session/pool-url.ts";
import { STOPPED, type StopCode } from "../../worker-agent/session/refusal.ts";
import { PoolDouble } from "./pool-double.ts";

let pool: PoolDouble;
let stop: AbortController;
beforeEach(async () => {
  pool = await PoolDouble.listen();
  stop = new AbortController();
});
afterEach(() => pool.close());

function probe(url = pool.url, about: { pool?: string; timeoutMs?: number } = {}): Promise<Probed> {
  const address = workerSocketUrl(url);
  if (!address.ok) throw new Error(address.message);
  return probePool({ url: address.url, token: pool.token, pool: pool.atomId, signal: stop.signal, ...about });
}

/** A server that does not speak HTTP: a test says what it does with each connection. */
async function listener(onConnection: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on("error", () => {}));
    onConnection(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

describe("the pool of the invite", () => {
  it("is recognised by its challenge; the probe proves nothing and closes the socket", async () => {
    const probed = probe();
    const side = await pool.connection();
    expect(side.authorization).toBe(`Bearer ${pool.token}`);
    side.challenge();
    expect(await probed).toEqual({ ok: true });
    expect(await side.frame()).toBeNull();
    expect(await side.closed).toMatchObject({ code: 1005 });
  });

  it.each([
    [CLOSE.tokenRefused, "token-refused"],
    [CLOSE.tokenExpired, "token-expired"],
    [CLOSE.protocolTooOld, "protocol-too-old"],
    [CLOSE.restarting, "unreachable"],
  ])("that closes with %i: %s", async (code, want) => {
    const probed = probe();
    (await pool.connection()).socket.close(code);
    expect(await probed).toMatchObject({ ok: false, code: want });
  });

  const refusal = (code: keyof typeof ERRORS) => {
    const { status, message, openAiCode } = ERRORS[code];
    return {
      status,
      body: JSON.stringify({ error: { message, code: openAiCode } }),
      headers: { "x-ligand-code": code },
    };
  };
  it.each<[code: keyof typeof ERRORS, want: StopCode]>([
    ["workers/token-refused", "token-refused"],
    ["workers/token-expired", "token-expired"],
  ])("that answers with %s: %s, with the message of the matching close code", async (code, want) => {
    pool.refuseWith = refusal(code);
    expect(await probe()).toEqual({ ok: false, code: want, message: STOPPED[want] });
  });

  it("that asks this worker to wait exists, and accepts the token", async () => {
    pool.refuseWith = refusal("workers/connects-too-often");
    expect(await probe()).toEqual({ ok: true });
  });

  it.each<[code: keyof typeof ERRORS, want: string]>([
    ["workers/too-many", "unreachable"],
    ["workers/too-many-sockets", "unreachable"],
    ["http/unknown-host", "wrong-pool"],
  ])("that answers with %s: %s, with its own message", async (code, want) => {
    pool.refuseWith = refusal(code);
    const message = expect.stringContaining(ERRORS[code].message.replace(/\.$/, ""));
    expect(await probe()).toEqual({ ok: false, code: want, message });
  });

  it("differs from another pool that refuses the token, which names itself", async () => {
    const refused = refusal("workers/token-refused");
    pool.refuseWith = { ...refused, headers: { ...refused.headers, "x-ligand-pool": pool.atomId } };
    expect(await probe()).toMatchObject({ code: "token-refused" });
    pool.refuseWith = { ...refused, headers: { ...refused.headers, "x-ligand-pool": "another" } };
    expect(await probe()).toMatchObject({ code: "wrong-pool", message: expect.stringContaining("Check --pool") });
  });
});

describe("a server that is not the pool of the invite", () => {
  it("is another pool, whose challenge names it", async () => {
    const probed = probe(undefined, { pool: "another" });
    (await pool.connection()).challenge();
    expect(await probed).toMatchObject({ code: "wrong-pool", message: expect.stringContaining("Check --pool") });
  });

  it("is absent if the port is closed", async () => {
    const closedServer = await listener(() => {});
    closedServer.close();
    const message = `No pool answers at ${closedServer.url}: nothing listens there (ECONNREFUSED). Check --pool, and check that the pool is running.`;
    expect(await probe(closedServer.url)).toEqual({ ok: false, code: "unreachable", message });
  });

  it("is a host name that does not exist", async () => {
    const message = expect.stringMatching(/^No pool answers at https:\/\/pool\.invalid: .*\b(ENOTFOUND|EAI_AGAIN)\b/);
    expect(await probe("https://pool.invalid")).toEqual({ ok: false, code: "unreachable", message });
  });

  it.each<[what: string, status: number, headers: Record<string, string>, code: string, says: string]>([
    ["a web site", 404, {}, "wrong-pool", "is not a Ligand pool: it answered 404."],
    [
      "a web site that redirects",
      301,
      { location: "https://a.example/" },
      "wrong-pool",
      "redirects to https://a.example/",
    ],
    ["a login gate in front", 401, {}, "wrong-pool", "is not a Ligand pool"],
    ["a proxy whose pool is unreachable", 502, {}, "unreachable", "it answered 502"],
    ["a proxy that is overloaded", 429, {}, "unreachable", "it answered 429"],
  ])("is %s", async (_what, status, headers, code, says) => {
    pool.refuseWith = { status, headers, body: "<html>" };
    expect(await probe()).toEqual({ ok: false, code, message: expect.stringContaining(says) });
  });

  it("is a WebSocket server of another kind", async () => {
    const probed = probe();
    (await pool.connection()).socket.send("Welcome to the chat!");
    expect(await probed).toMatchObject({ code: "wrong-pool", message: expect.stringContaining("no challenge") });
  });

  it.each<[what: string, says: Buffer]>([
    ["a protocol other than HTTP", Buffer.from("220 mail.example ESMTP\r\n")],
    [
      "an endless answer",
      Buffer.from(`HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n${"x".repeat(100_000)}`),
    ],
    ["endless headers", Buffer.from(`HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(100_000)}`)],
  ])("speaks %s", async (_what, says) => {
    const other = await listener((socket) => socket.write(says));
    expect(await probe(other.url)).toMatchObject({
      code: "wrong-pool",
      message: expect.stringContaining("is not a Ligand pool"),
    });
    other.close();
  });

  it("sends nothing: the wait ends", async () => {
    const silent = await listener(() => {});
    const message = expect.stringContaining("it did not answer within 0.05 s");
    expect(await probe(silent.url, { timeoutMs: 50 })).toEqual({ ok: false, code: "unreachable", message });
    silent.close();
  });
});

it("the probe ends when the worker is asked to stop, before or during the probe", async () => {
  const silent = await listener(() => stop.abort());
  expect((await probe(silent.url)).ok).toBe(false);
  expect((await probe(silent.url)).ok).toBe(false);
  silent.close();
});
