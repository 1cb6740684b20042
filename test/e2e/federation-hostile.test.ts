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
 * Peers that our admin trusts, and that turn on us. Whatever they answer costs a bounded amount of memory, and meanwhile
 * an honest peer's events arrive and our clients are answered.
 */

const HOSTILE = 3;
const GROWTH_MIB = 100;

let pool: PoolProcess;
let honest: ScriptedPeer;
let hostile: ScriptedPeer[];
/** Somewhere inside, where nobody is to be sent. */
let inside: { url: string; connections: number };

beforeAll(async () => {
  [pool, honest, ...hostile] = (await Promise.all([
    startPool(),
    ...Array.from({ length: HOSTILE + 1 }, () => ScriptedPeer.start()),
  ])) as [PoolProcess, ScriptedPeer, ...ScriptedPeer[]];
  inside = await listener();
  await openFederation(pool);
  for (const peer of [honest, ...hostile]) await peer.befriend(pool, 3);
  await waitFor(() => [honest, ...hostile].every((peer) => peer.followers === 1), 15_000, "all to be followed");
  await Promise.all(hostile.map((peer) => peer.say({})));
  const [event] = await honest.sign([SAID]);
  repeated = `data: ${JSON.stringify({ seq: 1, event, ttl: 3 })}\n\n`;
  await honestIsHeard();
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
async function honestIsHeard(): Promise<void> {
  await honest.say({});
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

/** Writes for as long as it is read. */
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

/** To every request. */
const ANSWERS: [what: string, script: Script][] = [
  ["never answer", () => true],
  [
    "drip bytes for ever",
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
    "answer without an end",
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
  ["answer with millions of nothings", (_request, response) => !!ok(response).end(NOTHINGS)],
  ["answer with an abyss", (_request, response) => !!ok(response).end(ABYSS)],
];
const BOMB = gzipSync(Buffer.alloc(64 * 1024 * 1024));
const NOTHINGS = filled('{"events":[', "{},", '{}],"next":0,"head":0,"checkpoint":{}}');
const ABYSS = filled("", "[", "");

/** To a request for a stream; everything else is answered well. */
const STREAMS: [what: string, chunk: () => string][] = [
  ["never end a line", () => "a".repeat(64 * 1024)],
  ["never end an event", () => "data: a\n".repeat(8 * 1024)],
  ["repeat themselves", () => repeated.repeat(32)],
  ["comment without end", () => ":\n\n".repeat(16 * 1024)],
];
let repeated: string;

const HONEST_TIMES = 10;

/**
 * Says something honest for as long as the attack lasts, and `HONEST_TIMES` at least. `attack` is told whether it shall
 * go on. Returns how far the runtime's memory grew, in MiB, at its worst moment.
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
    await honestIsHeard();
    grownMiB = Math.max(grownMiB, residentMiB(pool.stateDir) - beforeMiB);
  }
  await ends;
  return grownMiB;
}

function expectLittle(grownMiB: number): void {
  expect(grownMiB).toBeLessThan(GROWTH_MIB);
  expect(inside.connections).toBe(0);
}

/** All hostile peers do this from now on, also to calls that are under way. */
function turn(script: Script): void {
  for (const peer of hostile) {
    peer.asked.length = 0;
    peer.script = script;
    for (const socket of peer.sockets) socket.destroy();
  }
}

/** They call on us, so that we call on them at once, until each was asked this so often. */
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

/** Sends a body after this head for as long as anybody takes it: how many MiB that were. */
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

describe("trusted peers that", () => {
  it.each(ANSWERS)("%s cost little, and everybody else is heard", async (_what, script) => {
    turn(script);
    expectLittle(await grownBy(() => untilAsked("/events", 2)));
  });

  it.each(STREAMS)("in their streams %s cost little, and everybody else is heard", async (_what, chunk) => {
    turn((request, response) => {
      if (!request.url?.includes("/stream")) return false;
      response.writeHead(200, { "content-type": "text/event-stream" });
      pump(response, chunk());
      return true;
    });
    expectLittle(await grownBy(() => untilAsked("/stream", 2)));
  });

  it("call on us all the time, to be called and to answer at length, cost little, and everybody else is heard", async () => {
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

  it.each(["with its length", "without an end"])(
    "send 10 GB %s cost little, and everybody else is heard",
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
  it("pulled, streamed and pushed fill our log no faster than they may, and everybody else is heard", async () => {
    const perMinute = 600;
    await pool.admin.changeFederation({ peer_events_per_minute: perMinute });
    const [pulled, streamed, pushing] = hostile as [ScriptedPeer, ScriptedPeer, ScriptedPeer];
    pulled.isEndless = true;
    turn(() => false);
    await untilAsked("/events", 1);
    const before = (await pool.admin.federation()).events.all;
    const startMs = performance.now();
    const attack = async (goesOn: () => boolean) => {
      // It is asked for more than one page.
      while (goesOn() || pulled.length <= 2 * LIMITS.eventsPerPull) {
        await Promise.all(Array.from({ length: 20 }, () => streamed.say({})));
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
      // Besides what the honest one said, and our audit.
      expect(kept).toBeLessThan(hostile.length * each + 300);
    } finally {
      pulled.isEndless = false;
      await pool.admin.changeFederation({ peer_events_per_minute: LIMITS.peerMaxEventsPerMinute });
    }
  });
});

describe("strangers that", () => {
  it("stall 400 bodies just before their ends, in a peer's name, cost little, and everybody else is heard", async () => {
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
        // As good as forged: what is signed is another body.
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
      // Of the 400 MiB that they sent: all that is kept, and what was let go and not yet collected.
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
  /** What our admin is told; of all others, that no pool answers there. */
  const TOLD: Record<string, string> = {
    "never answer": "federation/silent",
    "drip bytes for ever": "federation/silent",
    "answer with garbage for HTTP": "federation/no-connection",
  };

  it("does any of that is not added: our admin is told what is wrong, and everybody else is heard", async () => {
    turn(() => false);
    const adding = ANSWERS.map(async ([what, script]) => {
      const stranger = await ScriptedPeer.start();
      stranger.script = script;
      const added = pool.admin.addPeer({ url: stranger.url });
      await expect(added, what).rejects.toMatchObject({ code: TOLD[what] ?? "federation/unreachable" });
    });
    expectLittle(await grownBy(() => Promise.all(adding)));
  });
});
