import { Agent, request } from "node:http";
import type { AttackReport, AttackTarget } from "./attack.ts";

export interface ClientPosts {
  /** The number of requests. By default, requests are sent until the attack ends. */
  readonly requests?: number;
  readonly connections?: number;
}

/** A client whose key has the default limits repeats this chat request. Counts the statuses. */
export async function postChat(
  { url, admin }: AttackTarget,
  signal: AbortSignal,
  body: Buffer,
  { requests = Number.POSITIVE_INFINITY, connections = 4 }: ClientPosts,
): Promise<AttackReport> {
  const { key } = await admin.createKey({ label: "attack" });
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const report: Record<string, number> = {};
  let left = requests;
  const one = async () => {
    while (left-- > 0 && !signal.aborted) {
      const status = await post(agent, url, key, body, signal);
      report[status] = (report[status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  agent.destroy();
  return report;
}

/** The status, or `none` if the connection ended without an answer, for example at the end of the attack. */
function post(agent: Agent, url: string, key: string, body: Buffer, signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const headers = {
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      "content-length": body.byteLength,
    };
    const sent = request(`${url}/v1/chat/completions`, { method: "POST", agent, headers, signal }, (answer) => {
      answer.resume().on("error", () => resolve("none"));
      answer.on("end", () => resolve(String(answer.statusCode)));
    });
    sent.on("error", () => resolve("none"));
    sent.end(body);
  });
}
