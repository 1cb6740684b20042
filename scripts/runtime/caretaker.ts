import { randomUUID } from "node:crypto";
import type { Miniflare, V4WorkerOptions } from "miniflare";
import * as z from "zod";
import type { D1Statement, MigratedDatabase } from "./migrations.ts";

/**
 * The first worker of a runtime. A caller of Miniflare's development proxy reaches this worker, which answers only on a secret
 * path. The runner uses it to call the pool's `scheduled` and to query D1. Miniflare's own proxies would do the same, but they
 * start a Node thread, which takes a quarter of a pool's start.
 */
export interface Caretaker {
  readonly worker: V4WorkerOptions;
  scheduled(miniflare: Miniflare, cron: string): Promise<void>;
  database(miniflare: Miniflare): MigratedDatabase;
}

const SCRIPT = `
async function batch(db, statements) {
  const prepared = statements.map(({ sql, values }) => values.length > 0 ? db.prepare(sql).bind(...values) : db.prepare(sql));
  return (await db.batch(prepared)).map(({ results }) => results);
}
export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname !== "/" + env.SECRET) return new Response(null, { status: 404 });
    const { cron, statements } = await request.json();
    try {
      if (cron !== undefined) await env.POOL.scheduled({ cron, scheduledTime: new Date() });
      return Response.json({ results: statements === undefined ? [] : await batch(env.DB, statements) });
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
};`;

const answer = z.union([z.object({ results: z.array(z.array(z.unknown())) }), z.object({ error: z.string() })]);

/** @param pool the name of the worker whose `scheduled` is called @param databases the pool's, to query `DB` */
export function caretaker({
  pool,
  databases,
}: {
  pool: string | undefined;
  databases: V4WorkerOptions["d1Databases"];
}): Caretaker {
  const secret = randomUUID();
  const ask = async (miniflare: Miniflare, request: object): Promise<unknown[][]> => {
    const response = await miniflare.dispatchFetch(`http://caretaker/${secret}`, {
      method: "POST",
      body: JSON.stringify(request),
    });
    const result = answer.parse(await response.json());
    if ("error" in result) throw new Error(result.error);
    return result.results;
  };
  return {
    worker: {
      name: `caretaker-${secret}`,
      modules: true,
      script: SCRIPT,
      bindings: { SECRET: secret },
      compatibilityDate: "2026-11-01",
      // Allows `scheduled` on a service binding.
      compatibilityFlags: ["service_binding_extra_handlers"],
      ...(pool !== undefined && { serviceBindings: { POOL: pool } }),
      ...(databases !== undefined && { d1Databases: databases }),
    },
    scheduled: async (miniflare, cron) => void (await ask(miniflare, { cron })),
    database: (miniflare) => ({
      prepare: (sql) => new Statement((statements) => ask(miniflare, { statements }), sql),
      batch: (statements) => ask(miniflare, { statements }),
    }),
  };
}

class Statement implements D1Statement {
  readonly #ask: (statements: Statement[]) => Promise<unknown[][]>;
  readonly sql: string;
  readonly values: readonly unknown[];

  constructor(ask: (statements: Statement[]) => Promise<unknown[][]>, sql: string, values: readonly unknown[] = []) {
    this.#ask = ask;
    this.sql = sql;
    this.values = values;
  }

  bind(...values: unknown[]): Statement {
    return new Statement(this.#ask, this.sql, values);
  }

  async all(): Promise<{ results: unknown[] }> {
    return { results: (await this.#ask([this]))[0] ?? [] };
  }
}
