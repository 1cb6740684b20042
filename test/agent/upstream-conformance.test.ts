import { openUpstream } from "../../worker-agent/engine/upstream/upstream-engine.ts";
import { Counters } from "../../worker-agent/session/counters.ts";
import { describeEngine } from "./engine-conformance.ts";
import { startLlamaServer } from "./http-servers.ts";

const KEY = "sk-conformance";

describeEngine("UpstreamEngine with a real server", {
  claims: {
    completion: true,
    embedding: true,
    stop: true,
    tools: true,
    responseFormat: true,
    // The server does not support this, and says so.
    logprobs: false,
    topK: false,
    countTokens: false,
    seed: false,
  },
  open: async () => {
    const server = await startLlamaServer(KEY);
    const counters = new Counters();
    const opened = await openUpstream({
      base: server.url,
      key: KEY,
      models: [],
      kinds: ["chat", "completion", "embedding"],
      meter: counters,
      onWarning: () => {},
    });
    if (!opened.ok) throw new Error(opened.message);
    return { engine: opened.engine, counters, computing: () => server.active(), close: () => server.stop() };
  },
});
