import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import { EVENTS } from "../../schema/wire/event-registry.ts";
import { eventSearchPage, REQUEST_TYPES } from "../../schema/wire/event-search.ts";
import { verifyPage } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { exportLog, verifyExport } from "../../scripts/cli/audit-file.ts";
import { freshPool, type PeerDouble, peerAt, US } from "./peer-double.ts";
import { admin, appendTo, ask, eventually } from "./support.ts";

/** The operator searches the log, and exports it so that it can be verified elsewhere (docs/spec/events.md#searching). */

beforeEach(() => freshPool());
afterEach(() => vi.restoreAllMocks());

const log = () => env.EVENT_LOG.getByName("pool");
const search = async (query: Record<string, string>) =>
  eventSearchPage.parse(await admin("GET", `/events/search?${new URLSearchParams(query)}`));

/** Number and type of each event of all pages. */
async function found(query: Record<string, string>): Promise<[seq: number, type: string][]> {
  const all: [number, string][] = [];
  for (let before: number | null = Number.MAX_SAFE_INTEGER; before !== null; ) {
    const page = await search({ ...query, before: String(before) });
    for (const { seq, event } of page.events) {
      const opened = await openEvent(event);
      if (!opened.ok) throw new Error(opened.code);
      all.push([seq, opened.event.type]);
    }
    before = page.next;
  }
  return all;
}
const types = async (query: Record<string, string>) => (await found(query)).map(([, type]) => type);

/** The peer's admin asks, ours rejects with a note. */
async function asked(peer: PeerDouble, request_id: string): Promise<void> {
  const body = {
    request_id,
    origin_pool_id: peer.id,
    action_type: "query_events",
    action_params: {},
    from_admin_email: "ops@peer.example",
  };
  expect(await peer.outcomeOf("POST", "/v1/federation/admin/request", body)).toBe("202");
  await admin("POST", `/requests/received/${peer.id}/${request_id}/reject`, { note: "a private remark" }, 200);
  await eventually(async () => (await types({ request: request_id })).includes("request_decided"));
}

describe("a search", () => {
  it("finds the events of a type, the newest first", async () => {
    const bodies = Array.from({ length: 9 }, (_, i) => ({
      type: i % 3 ? "overview" : "peer_status",
      visibility: "public" as const,
      payload: { i },
    }));
    const appended = await appendTo(log(), bodies);
    const want = appended.filter((_, i) => i % 3 === 0).map(({ seq }): [number, string] => [seq, "peer_status"]);
    expect(await found({ type: "peer_status" })).toEqual(want.reverse());
    expect(await found({ type: "peer_status", limit: "1" })).toEqual(want);
    expect(await search({ type: "never" })).toEqual({ events: [], next: null });
  });

  it("finds what concerns a peer, and the peer's own events", async () => {
    const [one, two] = [await peerAt(3, 3), await peerAt(2)];
    await asked(one, "req_1");
    await one.push([await one.event({ type: "overview", visibility: "public", payload: {} })]);
    const ofOne = await found({ peer: one.id });
    expect(ofOne.map(([, type]) => type)).toEqual(
      expect.arrayContaining(["overview", "request_received", "request_decided", "trust_changed", "peer_handshake"]),
    );
    const ofTwo = await found({ peer: two.id });
    expect(ofTwo.length).toBeGreaterThan(0);
    expect(ofTwo.filter(([seq]) => ofOne.some(([other]) => other === seq))).toEqual([]);
    expect(await found({ peer: US, type: "request_received" })).toHaveLength(1);
  });

  it("finds what concerns a request, of one peer if two used the same id", async () => {
    const [one, two] = [await peerAt(3, 3), await peerAt(3, 3)];
    await asked(one, "req_1");
    await asked(two, "req_1");
    await asked(one, "req_2");
    expect((await types({ request: "req_1", type: "request_received" })).length).toBe(2);
    expect((await types({ request: "req_1", peer: one.id })).toReversed().slice(0, 2)).toEqual([
      "request_received",
      "request_decided",
    ]);
    expect(await types({ request: "req_1", type: "overview" })).toEqual([]);
  });

  it("finds nothing earlier than a moment", async () => {
    await appendTo(log(), [{ type: "overview", visibility: "public", payload: {} }]);
    const [event] = (await search({ type: "overview" })).events;
    const opened = event && (await openEvent(event.event));
    const us = opened?.ok ? opened.event.hlc.physical_us : 0;
    expect(await types({ type: "overview", since_us: String(us) })).toEqual(["overview"]);
    expect(await types({ type: "overview", since_us: String(us + 1) })).toEqual([]);
  });

  it("reads so much of the log in one call, and continues in the next", async () => {
    const pages = LIMITS.eventSearchPages;
    const payload = { text: "x".repeat(45_000) };
    // Sixteen such events fill a page.
    for (let i = 0; i < pages; i++) {
      await appendTo(
        log(),
        Array.from({ length: 20 }, () => ({ type: "overview", visibility: "public", payload })),
      );
    }
    await peerAt(1);
    await appendTo(
      log(),
      Array.from({ length: 20 }, () => ({ type: "overview", visibility: "public", payload })),
    );
    const [oldest] = (await search({ before: "2" })).events;
    expect(oldest?.seq).toBe(1);
    const first = await search({ peer: "a".repeat(64) });
    expect(first.events).toEqual([]);
    expect(first.next).toBeGreaterThan(1);
    expect(await found({ peer: "a".repeat(64) })).toEqual([]);
  });

  it.each(["?limit=0", "?limit=501", "?before=0", "?type=No", "?peer=x", "?request=%20", "?since_us=-1", "?other=1"])(
    "refuses %s",
    async (query) => {
      await admin("GET", `/events/search${query}`, undefined, 400);
    },
  );

  it("is for admins only", async () => {
    expect((await ask("/admin/api/events/search")).status).toBe(401);
  });

  it("by request reads every type that can name one", () => {
    const naming = Object.entries(EVENTS).filter(([, { payload }]) => {
      const shape = "shape" in payload ? payload.shape : {};
      return "request_id" in shape || "request" in shape || "of" in shape;
    });
    expect(naming.map(([type]) => type).sort()).toEqual([...REQUEST_TYPES].sort());
  });
});

it("after an erasure an export still verifies, and the erased texts are nowhere in it", async () => {
  const peer = await peerAt(3, 3);
  await asked(peer, "req_1");
  await admin("POST", `/requests/received/${peer.id}/req_1/erase`, {}, 200);
  await eventually(async () => (await types({ request: "req_1" })).includes("texts_erased"));
  const client = {
    verifyEvents: async (since: number) => verifyPage.parse(await admin("GET", `/events/verify?since=${since}`)),
  };
  let file = "";
  for await (const { text } of exportLog(client, () => {})) file += text;
  const lines = file.trimEnd().split("\n");
  async function* each() {
    yield* lines;
  }
  const verified = await verifyExport(each(), () => {}, US);
  expect(verified).toMatchObject({ origin: US, walked: { events: lines.length - 1 } });
  const bytes = lines.slice(1).map((line) => atob(JSON.parse(line).event.event_bytes));
  expect(bytes.some((text) => text.includes("texts_erased"))).toBe(true);
  expect([file, ...bytes].join()).not.toMatch(/ops@peer|private remark/);
});
