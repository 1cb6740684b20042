import { abortAllDurableObjects, applyD1Migrations } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type { SlashingView } from "../../schema/wire/market.ts";
import { admin, eventually } from "./support.ts";

/** docs/spec/market.md: slashing events, and the tables of the economy. */

beforeAll(() => applyD1Migrations(env.DB, env.TEST_MIGRATIONS));

const worker = "ab".repeat(32);
const add = (body: object = {}, want = 201) =>
  admin<SlashingView>("POST", "/slashing", { reason: "a wrong answer", ...body }, want);
const change = (id: string, verb: string, want = 200) =>
  admin<SlashingView>("POST", `/slashing/${id}/${verb}`, { reason: "looked at it" }, want);
const open = async () => (await admin<{ slashing: SlashingView[] }>("GET", "/slashing?open=true")).slashing;
const rowsOf = async (table: string) => (await env.DB.prepare(`SELECT * FROM ${table}`).all()).results;

describe("a slashing event", () => {
  it("is open until it is settled or dismissed, and each change is a new row", async () => {
    const { slashing_id: id } = await add({ worker, amount_micro: 5 });
    expect(await open()).toMatchObject([{ slashing_id: id, status: "pending", worker, amount_micro: 5, version: 1 }]);
    expect(await change(id, "contest")).toMatchObject({ status: "contested", version: 2 });
    expect((await open()).map(({ slashing_id }) => slashing_id)).toContain(id);
    expect(await change(id, "settle")).toMatchObject({ status: "settled", version: 3, worker, amount_micro: 5 });
    expect((await open()).map(({ slashing_id }) => slashing_id)).not.toContain(id);
    const rows = await eventually(async () => {
      const found = (await rowsOf("slashing_events")).filter(({ slashing_id }) => slashing_id === id);
      return found.length === 3 && found;
    });
    expect(rows.map(({ status }) => status)).toEqual(["pending", "contested", "settled"]);
  });

  it("is settled once, however many admins do it at the same time", async () => {
    const { slashing_id: id } = await add();
    const done = await Promise.all(Array.from({ length: 5 }, () => change(id, "settle")));
    expect(new Set(done.map(({ version }) => version))).toEqual(new Set([2]));
    await change(id, "dismiss", 409);
  });

  it("survives a crash, and is on record in the log", async () => {
    const { slashing_id: id } = await add();
    await abortAllDurableObjects();
    expect((await open()).map(({ slashing_id }) => slashing_id)).toContain(id);
    await eventually(async () => {
      const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
      const bodies = events.map(({ event }) => atob(event.event_bytes));
      return bodies.some((body) => body.includes("slashing_changed") && body.includes(id));
    });
  });

  it("needs a reason, and a worker that can be one", async () => {
    await add({ reason: "" }, 400);
    await add({ worker: "w1" }, 400);
    await add({ amount_micro: -1 }, 400);
    await change("slash_unknown", "settle", 404);
  });
});

describe("an economic table", () => {
  const row = (id: string) => ({
    revenue_ledger: ["id, account, amount_micro, reference, entered_at_ms", `'${id}', 'a', 1, 'r', 1`],
    slashing_events: [
      "id, slashing_id, version, status, reason, entered_by, entered_at_ms",
      `'${id}', 's', 1, 'pending', 'r', 'a', 1`,
    ],
    worker_shares: ["id, worker, amount_micro, reference, entered_at_ms", `'${id}', 'w', 1, 'r', 1`],
    settlements: ["id, party, amount_micro, reference, entered_at_ms", `'${id}', 'p', 1, 'r', 1`],
  });
  type Table = keyof ReturnType<typeof row>;

  it.each<[table: Table]>([["revenue_ledger"], ["slashing_events"], ["worker_shares"], ["settlements"]])(
    "refuses to change, delete or replace a row of %s",
    async (table) => {
      const [columns, values] = row("kept")[table] as [string, string];
      await env.DB.prepare(`INSERT INTO ${table} (${columns}) VALUES (${values})`).run();
      const before = await rowsOf(table);
      const other = values.replace("1", "2");
      for (const statement of [
        `UPDATE ${table} SET entered_at_ms = 2`,
        `DELETE FROM ${table}`,
        `INSERT OR REPLACE INTO ${table} (${columns}) VALUES (${other})`,
        `REPLACE INTO ${table} (${columns}) VALUES (${other})`,
        `INSERT INTO ${table} (${columns}) VALUES (${other}) ON CONFLICT (id) DO UPDATE SET entered_at_ms = 3`,
      ]) {
        await expect(env.DB.prepare(statement).run(), statement).rejects.toThrow("append-only");
      }
      expect(await rowsOf(table)).toEqual(before);
    },
  );
});
