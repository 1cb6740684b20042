import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { residentMiB } from "../fuzz/run.ts";
import { openFederation, SAID } from "./federation-support.ts";
import { type Script, ScriptedPeer } from "./scripted-peer.ts";
import { type PoolProcess, startPool, waitFor } from "./support.ts";

/**
 * Peers that our admin trusts and that attack. Whatever they answer costs a bounded amount of memory; meanwhile an
 * honest peer's events arrive and clients are answered.
 */

const HOSTILE = 3;
const GROWTH_MIB = 100;

let pool: PoolProcess;
let honest: ScriptedPeer;
let hostile: ScriptedPeer[];
/** An internal address, to which no call may be redirected. */
let inside: { url: string; connections: number };

beforeAll(async () => {
  [pool, honest, ...hostile] = (await Promise.all([
    startPool(),
    ...Array.from({ length: HOSTILE + 1 }, () => ScriptedPeer.start()),
  ])) as [PoolProcess, ScriptedPeer, ...ScriptedPeer[]];
  inside = await listener();
  await openFederation(pool);
  for (const peer of [honest, ...hostile]) await peer.trustEachOther(pool, 3);
  await waitFor(() => [honest, ...hostile].every((peer) => peer.followers === 1), 15_000, "all to be followed");
  await Promise.all(hostile.map((peer) => peer.publish({})));
  const [event] = await honest.sign([SAID]);
  repeated = `data: ${JSON.stringify({ seq: 1, event, ttl: 3 })}\n\n`;
  await expectHonestServed();
});

async function listener(): Promise<{ url: string; connections: number }> {
  const seen = { url: "", connections: 0 };
  const server = createServer((_request, response) => response.end("secret"));
  server.on("connection", () => {
    seen.connections += 1;
  });
  server.listen(0, "127.0.0.1").unref();
  await once(server, "listening");
  const address = server.address();
  seen.url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  return seen;
}

/** An event of the honest peer arrives, and a client is answered. */
async function expectHonestServed(): Promise<void> {
  await honest.publish({});
  const arrived = waitFor(
    async () => (await pool.admin.peer(honest.id)).sync[0]?.followed.seq === honest.length,
    15_000,
    "an honest event to arrive",
  );
  const models = fetch(`${pool.url}/v1/models`, {
    headers: { authorization: `Bearer ${pool.credentials.client_key}` },
  });
  expect((await models).status).toBe(200);
  await arrived;
}

/** Writes as long as the other side reads. */
function pump(response: ServerResponse, chunk: Buffer | string): void {
  const more = () => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on("drain", more);
  more();
}

const ok = (response: ServerResponse, headers: Record<string, string> = {}) =>
  response.writeHead(200, { "content-type": "application/json", ...headers });
/** As long as a page may be. */
const filled = (open: string, item: string, close: string) =>
  `${open}${item.repeat(Math.floor((LIMITS.pullAnswerBytes - open.length - close.length) / item.length))}${close}`;

/** The answer to every request. */
const ANSWERS: [what: string, script: Script][] = [
  ["never answer", () => true],
  [
    "drip bytes without end",
    (_request, response) => {
      ok(response);
      const drip = setInterval(() => response.write(" "), 50);
      response.on("close", () => clearInterval(drip));
      return true;
    },
  ],
  [
    "answer with 10 GB",
    (_request, response) => {
      pump(ok(response, { "content-length": String(10 * 1024 ** 3) }), Buffer.alloc(1024 * 1024, " "));
      return true;
    },
  ],
  [
    "answer without end",
    (_request, response) => {
      pump(ok(response), Buffer.alloc(1024 * 1024, " "));
      return true;
    },
  ],
  [
    "answer with 10 GB in a few bytes of gzip",
    (_request, response) => {
      pump(ok(response, { "content-encoding": "gzip" }), BOMB);
      return true;
    },
  ],
  [
    "redirect into our network",
    (_request, response) => !!response.writeHead(307, { location: `${inside.url}/x` }).end(),
  ],
  ["answer with garbage for HTTP", (request) => !!request.socket.end(randomBytes(4_096))],
  ["answer with garbage for JSON", (_request, response) => !!ok(response).end(randomBytes(1024 * 1024))],
  ["answer with millions of empty values", (_request, response) => !!ok(response).end(NOTHINGS)],
  ["answer with deeply nested JSON", (_request, response) => !!ok(response).end(ABYSS)],
];
const BOMB = gzipSync(Buffer.alloc(64 * 1024 * 1024));
const NOTHINGS = filled('{"events":[', "{},", '{}],"next":0,"head":0,"checkpoint":{}}');
const ABYSS = filled("", "[", "");

/** The answer to a request for a stream. All other requests get an honest answer. */
const STREAMS: [what: string, chunk: () => string][] = [
  ["never end a line", () => "a".repeat(64 * 1024)],
  ["never end an event", () => "data: a\n".repeat(8 * 1024)],
  ["repeat the same events", () => repeated.repeat(32)],
  ["send comments without end", () => ":\n\n".repeat(16 * 1024)],
];
let repeated: string;

const HONEST_TIMES = 10;

/**
 * Sends honest events for as long as the attack lasts, and at least `HONEST_TIMES`. `attack` is told whether to
 * continue. Returns the largest growth of the runtime's memory, in MiB.
 */
async function grownBy(attack: (goesOn: () => boolean) => Promise<unknown>): Promise<number> {
  const beforeMiB = residentMiB(pool.stateDir);
  let grownMiB = 0;
  let times = 0;
  let lasts = true;
  const ends = attack(() => times < HONEST_TIMES).finally(() => {
    lasts = false;
  });
  ends.catch(() => {});
  for (; lasts || times < HONEST_TIMES; times++) {
    await expectHonestServed();
    grownMiB = Math.max(grownMiB, residentMiB(pool.stateDir) - beforeMiB);
  }
  await ends;
  return grownMiB;
}

function expectLittle(grownMiB: number): void {
  expect(grownMiB).toBeLessThan(GROWTH_MIB);
  expect(inside.connections).toBe(0);
}

/** From now on all hostile peers use this script, also for calls that are in progress. */
function turn(script: Script): void {
  for (const peer of hostile) {
    peer.asked.length = 0;
    peer.script = script;
    for (const socket of peer.sockets) socket.destroy();
  }
}

/** The peers call this pool, so that it calls them immediately, until each peer was called that often. */
async function untilAsked(what: string, times: number): Promise<void> {
  const asked = (peer: ScriptedPeer) => peer.asked.filter((each) => each.endsWith(what)).length;
  await waitFor(
    async () => {
      for (const peer of hostile) await callOn(peer);
      return hostile.every((peer) => asked(peer) >= times);
    },
    30_000,
    "each to be asked",
  );
}

async function callOn(peer: ScriptedPeer): Promise<void> {
  await (await peer.ask(pool, "GET", "/api/federation/status")).arrayBuffer();
}

/** Sends a body after this head as long as the pool reads. Returns how many MiB it sent. */
async function sentUntilCut(head: string): Promise<number> {
  const socket = connect({ host: "127.0.0.1", port: Number(new URL(pool.url).port) });
  let isCut = false;
  socket.on("error", () => {}).resume();
  socket.on("close", () => {
    isCut = true;
    socket.emit("drain");
  });
  socket.write(head);
  const piece = Buffer.alloc(1024 * 1024, " ");
  const framed = head.includes("chunked")
    ? Buffer.concat([Buffer.from("100000\r\n"), piece, Buffer.from("\r\n")])
    : piece;
  let sent = 0;
  for (; !isCut; sent++) if (!socket.write(framed)) await new Promise((resolve) => socket.once("drain", resolve));
  return sent;
}

describe("hostile trusted peers that", () => {
  it.each(ANSWERS)("%s cost bounded memory, and honest traffic is served", async (_what, script) => {
    turn(script);
    expectLittle(await grownBy(() => untilAsked("/events", 2)));
  });

  it.each(STREAMS)("in their streams %s cost bounded memory, and honest traffic is served", async (_what, chunk) => {
    turn((request, response) => {
      if (!request.url?.includes("/stream")) return false;
      response.writeHead(200, { "content-type": "text/event-stream" });
      pump(response, chunk());
      return true;
    });
    expectLittle(await grownBy(() => untilAsked("/stream", 2)));
  });

  it("call this pool continuously, so that it calls them, and answer at length cost bounded memory, and honest traffic is served", async () => {
    const long = filled('{"events":"', "a", '"}');
    turn((_request, response) => !!ok(response).end(long));
    const attack = (goesOn: () => boolean) =>
      Promise.all(
        hostile.map(async (peer) => {
          while (goesOn()) await callOn(peer);
        }),
      );
    expectLittle(await grownBy(attack));
  });

  it.each(["with its length", "without a length"])(
    "send 10 GB %s cost bounded memory, and honest traffic is served",
    async (how) => {
      turn(() => true);
      const head = [
        "POST /api/federation/events HTTP/1.1",
        `host: ${new URL(pool.url).host}`,
        "content-type: application/json",
        how === "with its length" ? `content-length: ${10 * 1024 ** 3}` : "transfer-encoding: chunked",
      ];
      const signed = await hostile[0]?.signed(pool, "POST", "/api/federation/events");
      const lines = Object.entries(signed ?? {}).map(([name, value]) => `${name}: ${value}`);
      const text = [...head, ...lines, "", ""].join("\r\n");
      const sent = Promise.all(hostile.map(() => sentUntilCut(text)));
      expectLittle(await grownBy(() => sent));
      expect(Math.max(...(await sent))).toBeLessThan(GROWTH_MIB);
    },
  );
});

describe("trusted peers with endless logs of valid events", () => {
  it("fill our log no faster than their rate by pull, stream and push, and honest traffic is served", async () => {
    const perMinute = 600;
    await pool.admin.changeFederation({ peer_events_per_minute: perMinute });
    const [pulled, streamed, pushing] = hostile as [ScriptedPeer, ScriptedPeer, ScriptedPeer];
    pulled.isEndless = true;
    turn(() => false);
    await untilAsked("/events", 1);
    const before = (await pool.admin.federation()).events.all;
    const startMs = performance.now();
    const attack = async (goesOn: () => boolean) => {
      // The pool asks for more than one page.
      while (goesOn() || pulled.length <= 2 * LIMITS.eventsPerPull) {
        await Promise.all(Array.from({ length: 20 }, () => streamed.publish({})));
        const events = await pushing.sign(Array(LIMITS.eventsPerPush).fill(SAID));
        const body = { events: events.map((event) => ({ event, ttl: LIMITS.eventTtl })) };
        await (await pushing.ask(pool, "POST", "/api/federation/events", body)).arrayBuffer();
        await callOn(pulled);
      }
    };
    try {
      expectLittle(await grownBy(attack));
      const kept = (await pool.admin.federation()).events.all - before;
      const mayBeMs = performance.now() - startMs;
      const each = perMinute * (1 + mayBeMs / 60_000) + LIMITS.eventsPerPull;
      // Besides the honest peer's events and our audit events.
      expect(kept).toBeLessThan(hostile.length * each + 300);
    } finally {
      pulled.isEndless = false;
      await pool.admin.changeFederation({ peer_events_per_minute: LIMITS.peerMaxEventsPerMinute });
    }
  });
});

describe("strangers that", () => {
  it("hold 400 bodies open just before their ends, in a peer's name, cost bounded memory, and honest traffic is served", async () => {
    turn(() => false);
    const { host, port } = new URL(pool.url);
    const head = [
      "POST /api/federation/events HTTP/1.1",
      `host: ${host}`,
      "content-type: application/json",
      `content-length: ${LIMITS.federatedBodyBytes}`,
    ];
    const body = Buffer.alloc(LIMITS.federatedBodyBytes - 1, " ");
    const answers: string[] = [];
    const sockets = await Promise.all(
      Array.from({ length: 400 }, async () => {
        // The signature covers another body.
        const signed = await honest.signed(pool, "POST", "/api/federation/events");
        const lines = [...head, ...Object.entries(signed).map(([name, value]) => `${name}: ${value}`), "", ""];
        const socket = connect({ host: "127.0.0.1", port: Number(port) });
        socket.on("error", () => {}).on("data", (answer) => answers.push(answer.toString().split("\r\n", 1)[0] ?? ""));
        socket.write(lines.join("\r\n"));
        socket.write(body);
        return socket;
      }),
    );
    const pushed = async () => {
      for (let i = 0; i < 20; i++) expect((await honest.push(pool, await honest.sign([SAID]))).accepted).toBe(1);
    };
    try {
      const grownMiB = await grownBy(pushed);
      // The memory growth, of the 400 MiB that were sent: what is kept, and freed memory that was not yet collected.
      expect(grownMiB).toBeLessThan(2 * GROWTH_MIB);
      const room = LIMITS.unauthenticatedBodiesBytes / LIMITS.federatedBodyBytes;
      await waitFor(() => answers.length >= sockets.length - room, 15_000, "most of them to be refused");
      expect(new Set(answers)).toEqual(new Set(["HTTP/1.1 429 Too Many Requests"]));
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});

describe("a URL whose server", () => {
  /** What our admin reads about this server. For all other servers the message is that no pool answers there. */
  const CODES: Record<string, string> = {
    "never answer": "federation/silent",
    "drip bytes without end": "federation/silent",
    "answer with garbage for HTTP": "federation/no-connection",
  };

  it("gives such answers is not added: our admin reads what is wrong, and honest traffic is served", async () => {
    turn(() => false);
    const names = ANSWERS.map(([what]) => what);
    expect(Object.keys(CODES).filter((what) => !names.includes(what))).toEqual([]);
    const adding = ANSWERS.map(async ([what, script]) => {
      const stranger = await ScriptedPeer.start();
      stranger.script = script;
      const added = pool.admin.addPeer({ url: stranger.url });
      await expect(added, what).rejects.toMatchObject({ code: CODES[what] ?? "federation/unreachable" });
    });
    expectLittle(await grownBy(() => Promise.all(adding)));
  });
});
