import { EMBEDDED_MODEL } from "../../../worker-agent/models/embedded.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";
import { type ClientPosts, postChat } from "./client-posts.ts";

const STRINGS = 990;

/** A client asks a real worker for answers by a schema of 48 KB, which has 990 strings of up to 1,000 characters. */
export function attack(target: AttackTarget, signal: AbortSignal, options: ClientPosts = {}): Promise<AttackReport> {
  const names = Array.from({ length: STRINGS }, (_, i) => `s${i}`);
  const string = { type: "string", maxLength: 1_000 };
  const schema = {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name, string])),
    required: names,
    additionalProperties: false,
  };
  const body = {
    model: EMBEDDED_MODEL.name,
    messages: [{ role: "user", content: "hi" }],
    max_tokens: 64,
    response_format: { type: "json_schema", json_schema: { name: "large", schema } },
  };
  return postChat(target, signal, Buffer.from(JSON.stringify(body)), options);
}
