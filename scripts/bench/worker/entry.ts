import { Hono } from "hono";
import type { Env } from "../../../edge/env.ts";
import { eventLogForReaders } from "../../../edge/events/event-log-for.ts";
import { type FederatedEnv, federated } from "../../../edge/federation/signing/signed-peer.ts";
import pool from "../../../edge/index.ts";
import { eventLogForOutboxes } from "../../../edge/record/event-log-for.ts";

export * from "../../../edge/index.ts";

/**
 * The pool's Worker with additional routes for measurements. They run one part of the pool without the rest of a request.
 * Only the bench bundles this file.
 */
const bench = new Hono<FederatedEnv>()
  .basePath("/bench")
  /** Runs `writers` at the same time. Each appends `each` events, one after another. */
  .post("/append", async (c) => {
    const { writers, each } = await c.req.json<{ writers: number; each: number }>();
    const write = async (writer: number) => {
      const log = eventLogForOutboxes(c.env);
      for (let i = 0; i < each; i++) {
        await log.append([{ type: "worker_joined", visibility: "public", payload: { worker: `bench-${writer}`, i } }]);
      }
    };
    await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
    return c.json(await eventLogForReaders(c.env).heads());
  })
  /** Answers when D1 has all events that the log committed. */
  .post("/flush", async (c) => c.json(await eventLogForReaders(c.env).flushRecords()))
  .post("/unchecked", (c) => c.text("here"))
  .post("/checked", federated({ touchesEconomy: false }), (c) => c.text("here"));

export default {
  fetch(request: Request, env: Env, ctx: ExecutionContext): Response | Promise<Response> {
    const isOurs = new URL(request.url).pathname.startsWith("/bench/");
    return isOurs ? bench.fetch(request, env, ctx) : pool.fetch(request, env, ctx);
  },
};
