import { Hono } from "hono";
import type { Env } from "../../../edge/env.ts";
import { type FederatedEnv, federated } from "../../../edge/federation/signing/signed-peer.ts";
import pool from "../../../edge/index.ts";
import { EVENT_LOG } from "../../../edge/object-names.ts";

export * from "../../../edge/index.ts";

/**
 * The pool with a way in for measurements: what no route of its own does, or does only with other things. Bundled by
 * the bench alone.
 */
const bench = new Hono<FederatedEnv>()
  .basePath("/bench")
  /** So many writers at once, each appending one event after the other. */
  .post("/append", async (c) => {
    const { writers, each } = await c.req.json<{ writers: number; each: number }>();
    const write = async (writer: number) => {
      const log = c.env.EVENT_LOG.getByName(EVENT_LOG);
      for (let i = 0; i < each; i++) {
        await log.append([{ type: "worker_joined", visibility: "public", payload: { worker: `bench-${writer}`, i } }]);
      }
    };
    await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
    return c.json(await c.env.EVENT_LOG.getByName(EVENT_LOG).heads());
  })
  /** Resolves once D1 has what the log committed. */
  .post("/flush", async (c) => c.json(await c.env.EVENT_LOG.getByName(EVENT_LOG).flushRecords()))
  .post("/unchecked", (c) => c.text("here"))
  .post("/checked", federated, (c) => c.text("here"));

export default {
  fetch(request: Request, env: Env, ctx: ExecutionContext): Response | Promise<Response> {
    const isOurs = new URL(request.url).pathname.startsWith("/bench/");
    return isOurs ? bench.fetch(request, env, ctx) : pool.fetch(request, env, ctx);
  },
};
