import * as z from "zod";
import type { PoolProcess } from "../support.ts";

/** What the tests of all clients share: one pool with the embedded model, and the same questions. */
export interface Served {
  readonly pool: PoolProcess;
  /** The API's address, as a client's `baseURL`. */
  readonly baseURL: string;
  readonly apiKey: string;
  /** A model that was served once and has no worker now. */
  readonly goneModel: string;
}
export const MODEL = "ligand-embedded";
export const QUESTION = "What is a pool?";
export const SENTENCE = /^[A-Z].*\w/s;

/** What zod's own schemas produce: formats, patterns, records, tuples and unions with a discriminator. */
export const Everything = z.object({
  kind: z.enum(["small", "large"]),
  count: z.int().min(0).max(9),
  shape: z.discriminatedUnion("type", [
    z.object({ type: z.literal("circle"), radius: z.int().min(1).max(9) }),
    z.object({ type: z.literal("square"), side: z.int().min(1).max(9) }),
  ]),
});

/**
 * A grammar cannot enforce all of these keywords, and those stay in the prompt. So the test checks only that the
 * request is accepted.
 */
export const Formats = z.object({
  url: z.url(),
  email: z.email(),
  uuid: z.uuid(),
  at: z.iso.datetime(),
  pair: z.tuple([z.string().max(5), z.int().min(0).max(9)]),
  names: z.record(z.string().regex(/^[a-z]+$/), z.int()),
});

export const Region = z.object({ region: z.enum(["eu", "us"]) });
/** A tool that records each call. */
export function findPool(calls: unknown[]) {
  return ({ region }: z.infer<typeof Region>) => {
    calls.push(region);
    return { name: "Alder", region };
  };
}

/**
 * A key that is over its rate at a client's first request, and has room a second later. `fetch` is the platform's own;
 * it records the statuses that the client got.
 */
export async function limitedKey({ pool, baseURL }: Served) {
  const { key } = await pool.admin.createKey({ label: "limited", requests_per_minute: 60 });
  const statuses: number[] = [];
  const spend = async () => {
    const headers = { authorization: `Bearer ${key}` };
    for (let status = 0; status !== 429; ) {
      const response = await fetch(`${baseURL}/chat/completions`, { method: "POST", headers, body: "{" });
      await response.arrayBuffer();
      status = response.status;
    }
  };
  const watched: typeof fetch = async (input, init) => {
    // Spend the rate right before the request: a moment later the key would have room again.
    if (statuses.length === 0) await spend();
    const response = await fetch(input, init);
    statuses.push(response.status);
    return response;
  };
  return { apiKey: key, fetch: watched, statuses };
}

export const SIX_HUNDRED = Array.from({ length: 600 }, (_, i) => `text ${i}`);
