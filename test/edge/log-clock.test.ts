import { evictDurableObject, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { VerifyPage } from "../../scripts/cli/log-walk.ts";
import { walkLog } from "../../scripts/cli/log-walk.ts";
import { freshPool, type PeerDouble, peerAt } from "./peer-double.ts";
import { admin, appendTo, ask, eventually, invite, ScriptedAgent } from "./support.ts";

/** A wrong wall clock does not move the log's clock, which never goes back; and how the log continues. */

const DAY_MS = 86_400_000;
const YEAR_MS = 365 * DAY_MS;
const log = () => env.EVENT_LOG.getByName("pool");
const draft = { type: "overview", visibility: "peers", payload: {} } as const;
const refused = async (method: string, path: string, body?: object) => {
  const response = await ask(`/admin/api${path}`, {
    method,
    headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
    ...(body && { body: JSON.stringify(body) }),
  });
  return `${response.status} ${response.headers.get("x-ligand-code")}`;
};
const clock = async () => (await admin<{ log_clock: object }>("GET", "/doctor")).log_clock;
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  vi.setSystemTime(Date.parse("2026-12-01T00:00:00Z"));
  await freshPool();
  await appendTo(log(), [draft]);
});

describe("a clock that jumps years ahead", () => {
  it("changes nothing in the log, which reports the refusal, and continues when the clock is right again", async () => {
    const before = await log().heads();
    pass(3 * YEAR_MS);
    expect(await log().append([draft])).toEqual({ ok: false, code: "pool/clock-jumped" });
    expect(await log().heads()).toEqual(before);
    expect(await clock()).toMatchObject({ refused: "pool/clock-jumped", peers_ahead: [] });
    await evictDurableObject(log());
    expect(await log().append([draft])).toEqual({ ok: false, code: "pool/clock-jumped" });
    pass(-3 * YEAR_MS);
    expect(await clock()).toMatchObject({ refused: null });
    expect(await log().append([draft])).toMatchObject({ ok: true, appended: [{ seq: before.all + 1 }] });
  });

  it("refuses events of peers too, and asks them to retry", async () => {
    const peer = await peerAt(2);
    const before = await log().heads();
    pass(3 * YEAR_MS);
    const taken = await log().receiveAtRate([{ wire: await peer.event(), ttl: 0, from: peer.id }], 1_000);
    expect(taken).toEqual({ results: null, waitMs: LIMITS.clockRefusedRetryMs });
    expect((await log().heads()).hlc).toEqual(before.hlc);
  });

  it("refuses grants that arrive without a rate, and keeps them", async () => {
    const peer = await peerAt(2);
    const before = await log().heads();
    const event = { wire: await peer.event(), ttl: 0, from: peer.id };
    pass(3 * YEAR_MS);
    expect(await log().receive([event])).toEqual({ ok: false, code: "pool/clock-jumped" });
    expect(await log().heads()).toEqual(before);
    pass(-3 * YEAR_MS);
    expect(await log().receive([event])).toMatchObject({ ok: true, results: [{ outcome: "accepted" }] });
  });

  it.each([
    ["the grant", 1],
    ["the newest grant", 2],
  ])("keeps %s out of the log that our admin's decision releases, until the clock is right again", async (_, count) => {
    const peer = await peerAt(1);
    const grants = [await peer.grant(1), await peer.grant(1, { aheadMs: 1 })].slice(0, count);
    await peer.push(grants.slice(0, 1));
    const before = await log().heads();
    const inLog = async () => {
      const { events } = await log().read("all", 0, 500);
      const ids = events.map(({ event }) => event.content_id);
      return grants.map(({ content_id }) => ids.filter((id) => id === content_id).length);
    };
    pass(3 * YEAR_MS);
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 0 }, 200);
    await runDurableObjectAlarm(peer.bond());
    expect(await log().heads()).toEqual(before);
    await evictDurableObject(peer.bond());
    pass(-3 * YEAR_MS + 2 * LIMITS.outboxRetryMaxMs);
    if (count > 1) await peer.push(grants.slice(1));
    await runDurableObjectAlarm(peer.bond());
    await runDurableObjectAlarm(peer.bond());
    expect(await inLog(), "the last of them, once").toEqual(count > 1 ? [0, 1] : [1]);
    expect((await log().heads()).hlc.physical_us).toBeLessThan((Date.now() + DAY_MS) * 1_000);
  });

  it("refuses an admin's action that needs the log; other actions take effect, and the log gets their events later", async () => {
    pass(3 * YEAR_MS);
    expect(await refused("POST", "/import", { table: "client_keys", rows: [] })).toBe("409 pool/clock-jumped");
    expect(await refused("POST", "/new-log")).toBe("409 pool/clock-jumped");
    await admin("PATCH", "/pool", { name: "Renamed" }, 200);
    const { id } = await admin<{ id: string }>("POST", "/admins", { name: "waits" });
    expect(await admin("GET", "/pool")).toMatchObject({ name: "Renamed" });
    pass(-3 * YEAR_MS + 2 * LIMITS.outboxRetryMaxMs);
    await runDurableObjectAlarm(env.ADMIN_TOKENS.getByName("pool"));
    const { events } = await log().read("all", 0, 500);
    const bodies = events.map(({ event }) => JSON.parse(atob(event.event_bytes)) as { type: string; payload: object });
    expect(bodies).toContainEqual(
      expect.objectContaining({ type: "admin_created", payload: { admin: id, by: "admin" } }),
    );
  });
});

describe("a pool that was away for more than a month", () => {
  it("continues after one command, and pending events are in the log, once", async () => {
    pass(31 * DAY_MS);
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "m" });
    expect(await clock()).toMatchObject({ refused: "pool/clock-jumped" });
    const confirmed = await admin("POST", "/events/confirm-clock", undefined, 200);
    expect(confirmed).toMatchObject({ refused: null, peers_ahead: [] });
    pass(LIMITS.outboxRetryMaxMs);
    await eventually(async () => {
      await runDurableObjectAlarm(env.LANE.getByName("main"));
      return (await typesOf("all")).includes("worker_joined");
    });
    const types = await typesOf("all");
    expect(types.filter((type) => type === "worker_joined")).toHaveLength(1);
    expect(types).toContain("clock_confirmed");
    agent.close();
  });
});

describe("two peers whose time puts our clock ahead", () => {
  const says = (peer: PeerDouble, aheadMs: number) => {
    peer.answer = () => {
      const date = new Date(Date.now() - aheadMs).toUTCString();
      return new Response("{}", { status: 401, headers: { date } });
    };
  };
  const called = async (peer: PeerDouble) => {
    pass(LIMITS.peerVerifyMs);
    const before = peer.calls.length;
    await runDurableObjectAlarm(peer.bond());
    await eventually(async () => peer.calls.length > before);
  };
  const heard = (peers: PeerDouble[]) =>
    eventually(async () => {
      for (const peer of peers) await called(peer);
      return (await log().clock()).peers_ahead.length === peers.length;
    });

  it("stop the log; one peer alone does not, nor do untrusted peers, and a confirmation ends it", async () => {
    const [one, other] = [await peerAt(2), await peerAt(2)];
    says(one, 90_000);
    await heard([one]);
    expect(await log().append([draft])).toMatchObject({ ok: true });
    says(other, 90_000);
    await heard([one, other]);
    expect(await log().append([draft])).toEqual({ ok: false, code: "pool/clock-ahead" });
    await evictDurableObject(log());
    expect(await clock()).toMatchObject({ refused: "pool/clock-ahead" });
    await admin("POST", "/events/confirm-clock", undefined, 200);
    expect(await log().append([draft])).toMatchObject({ ok: true });
    // A report that the admin has dismissed does not count again when it is repeated.
    for (const peer of [one, other]) await called(peer);
    expect(await log().append([draft])).toMatchObject({ ok: true });
  });

  it("stop counting once their time agrees with ours, or the admin trusts them no longer", async () => {
    const [one, other] = [await peerAt(2), await peerAt(2)];
    says(one, 90_000);
    says(other, 90_000);
    await heard([one, other]);
    says(one, 1_000);
    await eventually(async () => {
      await called(one);
      return (await log().clock()).refused === null;
    });
    says(one, 90_000);
    await heard([one, other]);
    await admin("PUT", `/peers/${other.id}/trust`, { level: 1 }, 200);
    expect(await log().clock()).toMatchObject({ refused: null, peers_ahead: [one.id] });
  });
});

describe("a log whose clock is years ahead", () => {
  it("starts again for peers under another name, with the wall clock's time; the whole log still verifies", async () => {
    pass(3 * YEAR_MS);
    await admin("POST", "/events/confirm-clock", undefined, 200);
    await appendTo(log(), [draft, { ...draft, visibility: "public" }, draft]);
    pass(-3 * YEAR_MS);
    expect(await clock()).toMatchObject({ refused: null });
    const before = await log().heads();
    expect(before.hlc.physical_us).toBeGreaterThan(Date.now() * 1_000 + YEAR_MS * 1_000);

    await admin("POST", "/new-log", { clock_anew: true }, 200);
    const after = await log().heads();
    expect(after).toMatchObject({ public: 0, peers: 0, hlc: { physical_us: Date.now() * 1_000 } });
    expect(after.log_id).not.toBe(before.log_id);
    pass(1_000);
    const [told] = await appendTo(log(), [draft]);
    const page = await log().read("peers", 0, 10);
    expect(page).toMatchObject({ events: [{ seq: 1, event: { content_id: told?.content_id } }], head: 1, next: 1 });
    expect(page.checkpoint.checkpoint).toMatchObject({ seq: 1, log_id: after.log_id });
    await evictDurableObject(log());
    expect(await log().read("peers", 0, 10)).toEqual(page);

    const verified = await walkLog(
      { verifyEvents: (since) => admin<VerifyPage>("GET", `/events/verify?since=${since}`) },
      () => {},
    );
    expect(verified).toMatchObject({ walked: { peers: before.peers + 1, public: before.public } });
  });
});

async function typesOf(audience: "all" | "peers"): Promise<string[]> {
  const { events } = await log().read(audience, 0, 500);
  return events.map(({ event }) => (JSON.parse(atob(event.event_bytes)) as { type: string }).type);
}
