import { type Context, Hono } from "hono";
import type { SlashingEventRow } from "../../schema/db/economy.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { addSlashingBody, changeSlashingBody, type SlashingView, slashingChange } from "../../schema/wire/market.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { slashingForAdmins, slashingForReaders } from "./slashing-for.ts";
import type { SlashingChange } from "./slashing-rpc.ts";

const STATUS = { contest: "contested", settle: "settled", dismiss: "dismissed" } as const;

/** `/admin/api/slashing`: slashing events, entered by the operator (docs/spec/market.md#slashing-events). */
export const slashingRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => {
    const rows = await slashingForReaders(c.env).list(c.req.query("open") === "true", LIMITS.slashingListed);
    return c.json({ slashing: rows.map(viewOf) });
  })

  .post("/", async (c) => {
    const body = await adminBody(c, addSlashingBody);
    if (body instanceof Response) return body;
    const slashing = { worker: body.worker ?? null, amountMicro: body.amount_micro ?? null, reason: body.reason };
    return answer(c, await slashingForAdmins(c.env).add(slashing, acting(c)), 201);
  })

  .post("/:id/:change", async (c) => {
    const change = slashingChange.safeParse(c.req.param("change")).data;
    if (change === undefined) return fail(c, "http/not-found");
    const body = await adminBody(c, changeSlashingBody);
    if (body instanceof Response) return body;
    const changed = slashingForAdmins(c.env).change(c.req.param("id"), STATUS[change], body.reason, acting(c));
    return answer(c, await changed, 200);
  });

function acting(c: Context<AdminEnv>) {
  return { name: c.var.admin, tokenId: c.var.adminTokenId };
}

function answer(c: Context<AdminEnv>, change: SlashingChange, status: 200 | 201): Response {
  if (!change.ok) return fail(c, change.code);
  return c.json({ ...viewOf(change.row), ...(!change.recorded && { recorded: false as const }) }, status);
}

function viewOf(row: SlashingEventRow): SlashingView {
  return {
    slashing_id: row.slashingId,
    version: row.version,
    status: row.status,
    worker: row.worker,
    amount_micro: row.amountMicro,
    reason: row.reason,
    entered_by: row.enteredBy,
    entered_at_ms: row.enteredAtMs,
  };
}
