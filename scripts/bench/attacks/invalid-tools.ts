import type { AttackReport, AttackTarget } from "./attack.ts";
import { type ClientPosts, postChat } from "./client-posts.ts";

const TOOLS = 113;
const PARAMETERS = 24;

/** A client posts 213 KiB of tools. Only the last tool is invalid, so the pool must read all of them. */
export function attack(target: AttackTarget, signal: AbortSignal, options: ClientPosts = {}): Promise<AttackReport> {
  const parameter = { type: "object", properties: { a: { type: "string", maxLength: 900 } } };
  const properties = Object.fromEntries(Array.from({ length: PARAMETERS }, (_, i) => [`p${i}`, parameter]));
  const tool = (i: number, parameters: object) => ({ type: "function", function: { name: `f${i}`, parameters } });
  const tools = Array.from({ length: TOOLS }, (_, i) => tool(i, { type: "object", properties }));
  const body = {
    model: "instant",
    messages: [{ role: "user", content: "hi" }],
    tools: [...tools, tool(TOOLS, { type: "nothing" })],
  };
  return postChat(target, signal, Buffer.from(JSON.stringify(body)), options);
}
