import { Agent, request } from "node:http";

/** Load from this process on loopback: real HTTP on keep-alive connections, bounded in time and count. */

export interface Answer {
  body: string;
  firstByteMs: number;
}

export interface Target {
  url: string;
  headers: Record<string, string>;
  body: string;
}

export class Connections {
  readonly #agent: Agent;

  constructor(connections: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: "fifo" });
  }

  /** Throws on an error status: a refusal is fast and would distort the measurement. */
  post(target: Target): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const startedMs = performance.now();
      const sent = request(
        target.url,
        {
          method: "POST",
          agent: this.#agent,
          headers: {
            "content-type": "application/json",
            "content-length": Buffer.byteLength(target.body),
            ...target.headers,
          },
        },
        (response) => {
          let firstByteMs = 0;
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => {
            if (chunks.length === 0) firstByteMs = performance.now() - startedMs;
            chunks.push(chunk);
          });
          response.on("end", () => {
            const body = Buffer.concat(chunks).toString();
            const { statusCode = 0 } = response;
            if (statusCode >= 200 && statusCode < 300) resolve({ body, firstByteMs });
            else reject(new Error(`${target.url} answered ${statusCode}: ${body.slice(0, 200)}`));
          });
          response.on("error", reject);
        },
      );
      sent.on("error", reject);
      sent.end(target.body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Sends as many requests as `connections` can make in `ms`. */
export async function requestsPerSecond(target: Target, connections: number, ms: number): Promise<number> {
  const pool = new Connections(connections);
  const endMs = performance.now() + ms;
  let done = 0;
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (performance.now() < endMs) {
        await pool.post(target);
        done += 1;
      }
    }),
  );
  pool.close();
  return (done * 1_000) / (performance.now() - startedMs);
}

/** Sends each request once over `connections`. Returns the answers per second. */
export async function sendEach(targets: readonly Target[], connections: number): Promise<number> {
  const pool = new Connections(connections);
  const left = targets.values();
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async () => {
      for (const target of left) await pool.post(target);
    }),
  );
  const tookMs = performance.now() - startedMs;
  pool.close();
  return (targets.length * 1_000) / tookMs;
}

export function percentile(values: number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))] ?? Number.NaN;
}

export const median = (values: number[]): number => percentile(values, 50);
