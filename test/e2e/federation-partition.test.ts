import { beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { signal } from "../../worker-agent/state/processes.ts";
import {
  bodyOf,
  bond,
  expectOnce,
  expectSound,
  idsOf,
  logOf,
  openFederation,
  SAID,
  streams,
  streamsOf,
} from "./federation-support.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { type PoolProcess, startPool, waitFor } from "./support.ts";

/** Two bonded pools that lose contact and recover: by the kill switch, a frozen process, or a killed process. */

let a: PoolProcess;
let b: PoolProcess;
let source: ScriptedPeer;

beforeAll(async () => {
  [a, b, source] = await Promise.all([startPool(), startPool(), ScriptedPeer.start()]);
  await openFederation(a, b);
  await bond(a, b);
  await source.trustEachOther(a, 2);
  await source.trustEachOther(b, 2);
  await waitFor(async () => (await streams(a, b)).every(Boolean), 30_000, "all streams");
});

describe("the kill switch", () => {
  it("ends served and followed streams, and what it stopped continues when it is on again", async () => {
    await waitFor(() => source.followers === 2, 10_000, "the scripted peer to be followed by both");
    const served = await source.ask(a, "GET", "/api/federation/stream?audience=public&since=0");
    expect(served.status).toBe(200);
    const servedEnd = untilEnd(served);

    await a.admin.changeFederation({ federation: "off" });
    const offMs = performance.now();
    await servedEnd;
    await waitFor(() => source.followers === 1, 5_000, "the followed stream to end");
    await waitFor(async () => !(await streamsOf(a, b)).some(Boolean), 5_000, "all streams to end");
    expect((await source.ask(a, "GET", "/api/federation/status")).status).toBe(503);

    // By then no retry is scheduled: only the switch itself can start them before the next alarm.
    await waitFor(() => performance.now() - offMs > 5_000, 10_000, "time to pass");
    await a.admin.changeFederation({ federation: "on" });
    await waitFor(() => source.followers === 2, 5_000, "the scripted peer to be followed again");
    await waitFor(async () => (await streams(a, b)).every(Boolean), 5_000, "all streams to be back");
  });
});

it("a pool whose federation is off opens no circuit, and gets the pending messages immediately when it is on again", async () => {
  const seen = () => a.admin.peer(b.credentials.atom_id);
  const opened = (await circuitEvents()).length;
  await b.admin.changeFederation({ federation: "off" });
  // Each grant replaces the pending one and is tried once. Five failures would open the circuit.
  for (const level of [2, 3, 2, 3, 2, 3, 2] as const) await a.admin.trustPeer(b.credentials.atom_id, level);
  expect(await seen()).toMatchObject({ circuit: "closed", deliveries_waiting: 1 });
  await b.admin.changeFederation({ federation: "on" });
  const received = async () => (await b.admin.peer(a.credentials.atom_id)).received;
  await waitFor(async () => (await received()) === 2, 10_000, "the grant to arrive");
  await waitFor(async () => (await seen()).deliveries_waiting === 0, 5_000, "the queue to empty");
  expect((await circuitEvents()).length).toBe(opened);
  await a.admin.trustPeer(b.credentials.atom_id, 3);
  await waitFor(async () => (await streams(a, b)).every(Boolean), 30_000, "all streams to be back");
});

it("a pool that no longer allows private addresses ends the streams that it follows there, and nothing else", async () => {
  await waitFor(() => source.followers === 2, 10_000, "the scripted peer to be followed by both");
  await a.admin.changeFederation({ allow_private_peers: false });
  await waitFor(() => source.followers === 1, 5_000, "the followed stream to end");
  expect((await b.admin.peer(a.credentials.atom_id)).sync.every(({ followed }) => followed.streaming)).toBe(true);
  await a.admin.changeFederation({ allow_private_peers: true });
  await waitFor(() => source.followers === 2, 5_000, "the scripted peer to be followed again");
  await waitFor(async () => (await streams(a, b)).every(Boolean), 5_000, "all streams to be back");
});

it("a reader that has left a stream is noticed by the second event that is sent to it", async () => {
  const sent = async () => (await a.admin.peer(source.id)).sync.find(({ audience }) => audience === "public")?.sent;
  const { length: head } = await logOf(a, "public");
  const leave = new AbortController();
  const target = `/api/federation/stream?audience=public&since=${head}`;
  const served = await source.ask(a, "GET", target, undefined, leave.signal);
  expect(served.status).toBe(200);
  await waitFor(async () => (await sent())?.streaming, 5_000, "the stream");
  leave.abort();
  let eventsSent = 0;
  for (let before = await sent(); before?.streaming; before = await sent()) {
    const { seq } = before;
    await pushToA(1);
    eventsSent += 1;
    const isOver = ({ seq: now, streaming }: typeof before) => now > seq || !streaming;
    await waitFor(async () => isOver((await sent()) ?? before), 5_000, "it to be written or noticed");
  }
  expect(eventsSent).toBeLessThanOrEqual(2);
});

describe("a peer that was unreachable", () => {
  it("because its process was frozen gets all events of that time, and the grant", async () => {
    signal(b.workerdPid(), "SIGSTOP");
    const eventIds = await pushToA(300);
    await a.admin.trustPeer(b.credentials.atom_id, 2);
    await waitFor(
      async () => (await a.admin.peer(b.credentials.atom_id)).deliveries_waiting > 0,
      5_000,
      "the grant to wait",
    );
    signal(b.workerdPid(), "SIGCONT");
    await waitFor(
      async () => (await b.admin.peer(a.credentials.atom_id)).received === 2,
      30_000,
      "the grant to arrive",
    );
    await waitFor(async () => (await publicOf(b)).includes(eventIds.at(-1) ?? ""), 30_000, "the events to arrive");
    expectOnce(await publicOf(b), eventIds);
    await a.admin.trustPeer(b.credentials.atom_id, 3);
    await waitFor(async () => (await streams(a, b)).every(Boolean), 30_000, "all streams to be back");
  });

  it("because its process was gone gets them too; its circuit opens, and closes by itself", async () => {
    await b.stop();
    const eventIds = await pushToA(300);
    // Each grant replaces the pending one and is tried once. Five failures open the circuit.
    const decideAnew = async () => {
      for (const level of [3, 2] as const) await a.admin.trustPeer(b.credentials.atom_id, level);
      return (await a.admin.peer(b.credentials.atom_id)).circuit === "open";
    };
    await waitFor(decideAnew, 30_000, "the circuit to open");
    expect(await circuitEvents()).toEqual(["circuit_opened"]);

    b = await startPool({ stateDir: b.stateDir, port: Number(new URL(b.url).port) });
    await waitFor(
      async () => (await b.admin.peer(a.credentials.atom_id)).received === 2,
      20_000,
      "the grant to arrive",
    );
    await waitFor(async () => (await publicOf(b)).includes(eventIds.at(-1) ?? ""), 20_000, "the events to arrive");
    await waitFor(
      async () => (await a.admin.peer(b.credentials.atom_id)).deliveries_waiting === 0,
      10_000,
      "the queue to empty",
    );
    expect((await a.admin.peer(b.credentials.atom_id)).circuit).toBe("closed");
    expect(await circuitEvents()).toEqual(["circuit_opened", "circuit_closed"]);
    expectOnce(await publicOf(b), eventIds);
    await a.admin.trustPeer(b.credentials.atom_id, 3);
    await waitFor(async () => (await streams(a, b)).every(Boolean), 30_000, "all streams to be back");
    await expectSound(a);
    await expectSound(b);
  });
});

async function untilEnd(response: Response): Promise<void> {
  const reader = response.body?.getReader();
  try {
    while ((await reader?.read())?.done === false);
  } catch {
    // A stream that is cut off has ended, too.
  }
}

const publicOf = async (pool: PoolProcess) => idsOf(await logOf(pool, "public"));

/** Public events that the first pool takes from the scripted peer. Returns their content ids. */
async function pushToA(count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let left = count; left > 0; left -= LIMITS.eventsPerPush) {
    const contents = Array.from({ length: Math.min(left, LIMITS.eventsPerPush) }, () => SAID);
    const events = await source.sign(contents);
    expect(await source.push(a, events)).toMatchObject({ accepted: events.length });
    ids.push(...events.map(({ content_id }) => content_id));
  }
  return ids;
}

async function circuitEvents(): Promise<string[]> {
  return (await logOf(a, "all")).map((each) => bodyOf(each).type).filter((type) => type.startsWith("circuit_"));
}
