import { type AgentCase, FUZZ_MODEL, type HttpCase, OUR_JOB, OUR_LEASE, type PeerCase } from "./cases.ts";

/**
 * One valid case of each kind for every seed. It shows that the generated cases are not all refused for an unrelated reason,
 * for example an invalid key.
 */
export const PLAIN_CLIENT: HttpCase = {
  method: "POST",
  path: "/v1/chat/completions",
  how: "valid",
  body: Buffer.from(JSON.stringify({ model: FUZZ_MODEL, messages: [{ role: "user", content: "hello" }] })),
};

export const PLAIN_ADMIN: HttpCase = {
  method: "POST",
  path: "/admin/api/keys",
  how: "valid",
  body: Buffer.from(JSON.stringify({ label: "plain" })),
};

export const PLAIN_PEER: PeerCase = {
  method: "GET",
  path: "/api/federation/events?audience=public&since=0&limit=1",
  how: "valid",
  body: undefined,
  by: "peer",
  bent: null,
  content: null,
};

export const PLAIN_FRAME: AgentCase = {
  on: "worker",
  how: "valid",
  binary: false,
  message: Buffer.from(`{"type":"progress","jobId":${OUR_JOB},"lease":${OUR_LEASE}}`),
};

export const PLAIN_PROOF: AgentCase = {
  on: "proof",
  how: "valid",
  manifest: JSON.stringify({
    v: 1,
    type: "manifest",
    worker: "",
    engine: "llama",
    models: [{ name: "plain", slots: 1, kinds: ["chat"], sha256: null, contextTokens: 4_096 }],
    agentVersion: "0.0.0",
  }),
};
