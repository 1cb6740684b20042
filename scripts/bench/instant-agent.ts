import { atomIdOfWorkerToken } from "../../schema/crypto/api-keys.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { Counters } from "../../worker-agent/session/counters.ts";
import { serve } from "../../worker-agent/session/reconnect.ts";
import { InstantEngine } from "./instant-engine.ts";

/** A separate process that runs one agent session with the instant engine per token. */
const { LIGAND_POOL = "", BENCH_TOKENS = "", BENCH_SLOTS = "64" } = process.env;
process.on("disconnect", () => process.exit(0));
const tokens = BENCH_TOKENS.split(",");
let connected = 0;
await Promise.all(
  tokens.map(async (token) =>
    serve({
      url: `${LIGAND_POOL.replace(/^http/, "ws")}/v1/workers/connect`,
      token,
      pool: atomIdOfWorkerToken(token) ?? "",
      signer: await signerFrom(generateSecretKey()),
      engine: new InstantEngine(Number(BENCH_SLOTS)),
      counters: new Counters(() => {}),
      drain: new AbortController().signal,
      drainMs: LIMITS.drainMs,
      onEvent: (event) => {
        if (event.type === "connected" && ++connected === tokens.length) process.send?.("connected");
      },
      nowMs: Date.now,
      random: Math.random,
    }),
  ),
);
