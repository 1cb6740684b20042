import { once } from "node:events";
import { Connections, median, percentile, requestsPerSecond, type Target } from "./load.ts";
import { startPortkey } from "./peers.ts";
import { end, type Rig, startChild, startRig } from "./rig.ts";
import { type Bench, type Row, round } from "./row.ts";

const ROUNDS = 5;
const QUESTION = "Tell me everything about Ligand.";

const chat = (rig: Rig, model: string, extra: object = {}): Target => ({
  url: `${rig.url}/v1/chat/completions`,
  headers: { authorization: `Bearer ${rig.key}` },
  body: JSON.stringify({ model, messages: [{ role: "user", content: QUESTION }], ...extra }),
});

async function withRig<T>(use: (rig: Rig) => Promise<T>): Promise<T> {
  const rig = await startRig();
  try {
    return await use(rig);
  } finally {
    await rig.stop();
  }
}

/** Tokens per second through the pool, relative to the same engine called directly, in turns. */
const throughput: Bench = {
  name: "engine",
  run: (progress) =>
    withRig(async (rig) => {
      const SLOTS = 8;
      await rig.addEmbeddedWorker(SLOTS);
      const direct = await startChild("engine-load.ts", { BENCH_SLOTS: String(SLOTS), BENCH_THREADS: "1" });
      const connections = new Connections(SLOTS);
      const rounds = 4;
      const byDirect = async (streams: number) => {
        direct.send({ streams, rounds, question: QUESTION });
        const [answer] = await once(direct, "message");
        return (answer as { tokensPerSecond: number }).tokensPerSecond;
      };
      const byPool = async (streams: number) => {
        const target = chat(rig, "ligand-embedded", {
          stream: true,
          temperature: 0.7,
          stream_options: { include_usage: true },
        });
        const startedMs = performance.now();
        let tokens = 0;
        for (let i = 0; i < rounds; i++) {
          const answers = await Promise.all(Array.from({ length: streams }, () => connections.post(target)));
          for (const answer of answers) tokens += Number(/"completion_tokens":(\d+)/.exec(answer.body)?.[1]);
        }
        return (tokens * 1_000) / (performance.now() - startedMs);
      };
      const rows: Row[] = [];
      const rates: Record<number, number> = {};
      for (const streams of [1, 8]) {
        const pairs: [number, number][] = [];
        for (let i = 0; i <= ROUNDS; i++) {
          const pair: [number, number] = [await byPool(streams), await byDirect(streams)];
          // The first round is warm-up.
          if (i > 0) pairs.push(pair);
          progress(`${streams} streams: ${pair.map((rate) => rate.toFixed(0)).join(" through the pool, ")} directly`);
        }
        const ratio = median(pairs.map(([pool, alone]) => pool / alone));
        rates[streams] = median(pairs.map(([pool]) => pool));
        const alone = median(pairs.map(([, rate]) => rate));
        rows.push({
          what: `tokens a second through the pool over the engine alone, ${streams} stream${streams > 1 ? "s" : ""}`,
          value: round(ratio),
          unit: "×",
          target: "≥ 0.90",
          met: ratio >= 0.9,
          detail: `${rates[streams].toFixed(0)} / ${alone.toFixed(0)} tokens/s`,
        });
      }
      connections.close();
      await end(direct);
      const gain = (rates[8] ?? 0) / (rates[1] ?? 1);
      rows.push({
        what: "agent: tokens a second of 8 streams over 1",
        value: round(gain),
        unit: "×",
        target: "≥ 2.0",
        met: gain >= 2,
        detail: `${rates[8]?.toFixed(0)} / ${rates[1]?.toFixed(0)} tokens/s`,
      });
      return rows;
    }),
};

/** The time from a client's request to the first byte, with an instant engine, one request at a time. */
const firstToken: Bench = {
  name: "first-token",
  run: () =>
    withRig(async (rig) => {
      await rig.addInstantWorkers(1, 8);
      const connections = new Connections(1);
      const target = chat(rig, "instant", { stream: true, max_tokens: 16 });
      for (let i = 0; i < 300; i++) await connections.post(target);
      const times: number[] = [];
      for (let i = 0; i < 500; i++) times.push((await connections.post(target)).firstByteMs);
      connections.close();
      const p50 = median(times);
      return [
        {
          what: "time to first token added by the pool, p50, idle",
          value: round(p50),
          unit: "ms",
          target: "≤ 3",
          met: p50 <= 3,
          detail: `p90 ${percentile(times, 90).toFixed(2)} ms, n = ${times.length}`,
        },
      ];
    }),
};

/** Complete answers per second with 16 connections: the pool, and Portkey's gateway in front of an equally instant server. */
const requests: Bench = {
  name: "requests",
  run: (progress) =>
    withRig(async (rig) => {
      await rig.addInstantWorkers(1, 64);
      const gateway = await startPortkey();
      const body = JSON.stringify({ model: "instant", messages: [{ role: "user", content: "hi" }] });
      const ours: Target = { ...chat(rig, "instant"), body };
      const theirs: Target = { url: gateway.url, headers: gateway.headers, body };
      const pairs: [number, number][] = [];
      for (let i = 0; i <= ROUNDS; i++) {
        const pair: [number, number] = [
          await requestsPerSecond(ours, 16, 3_000),
          await requestsPerSecond(theirs, 16, 3_000),
        ];
        if (i > 0) pairs.push(pair);
        progress(`${pair[0].toFixed(0)} here, ${pair[1].toFixed(0)} there`);
      }
      await gateway.stop();
      const ratio = median(pairs.map(([here, there]) => here / there));
      return [
        {
          what: "requests a second over @portkey-ai/gateway, 16 connections",
          value: round(ratio),
          unit: "×",
          target: "≥ 2.0",
          met: ratio >= 2,
          detail: `${median(pairs.map(([here]) => here)).toFixed(0)} / ${median(pairs.map(([, there]) => there)).toFixed(0)} requests/s`,
        },
      ];
    }),
};

/** Tokens per second through one lane with 16 streams. */
const relay: Bench = {
  name: "relay",
  run: (progress) =>
    withRig(async (rig) => {
      await rig.addInstantWorkers(1, 16);
      const connections = new Connections(16);
      const TOKENS = 8_000;
      const rates: number[] = [];
      for (let i = 0; i <= ROUNDS; i++) {
        const startedMs = performance.now();
        const target = chat(rig, "instant", { stream: true, max_tokens: TOKENS });
        const answers = await Promise.all(Array.from({ length: 16 }, () => connections.post(target)));
        for (const { body } of answers)
          if (!body.endsWith("data: [DONE]\n\n")) throw new Error("a stream ended without [DONE]");
        const rate = (16 * TOKENS * 1_000) / (performance.now() - startedMs);
        if (i > 0) rates.push(rate);
        progress(`${rate.toFixed(0)} tokens/s`);
      }
      connections.close();
      const rate = median(rates);
      return [
        {
          what: "tokens relayed a second by one lane, 16 streams",
          value: round(rate),
          unit: "tokens/s",
          target: "≥ 80,000",
          met: rate >= 80_000,
          detail: `${ROUNDS} rounds of 16 × ${TOKENS.toLocaleString("en")}`,
        },
      ];
    }),
};

/** The time from the client's send to the job's arrival at a worker, with 200 sockets. It includes more than the dispatch. */
const dispatch: Bench = {
  name: "dispatch",
  run: () =>
    withRig(async (rig) => {
      await rig.addInstantWorkers(200, 1);
      const connections = new Connections(4);
      const target = chat(rig, "instant", { max_tokens: 1 });
      const times: number[] = [];
      const ask = async (count: number, keep: boolean) => {
        for (let i = 0; i < count; i++) {
          const sentMs = performance.timeOrigin + performance.now();
          const { body } = await connections.post(target);
          if (keep) times.push(Number(JSON.parse(body).choices[0].message.content) - sentMs);
        }
      };
      await Promise.all(Array.from({ length: 4 }, () => ask(200, false)));
      await Promise.all(Array.from({ length: 4 }, () => ask(500, true)));
      connections.close();
      const p99 = percentile(times, 99);
      return [
        {
          what: "dispatch, p99, from the client's send to the job at the worker, 200 sockets",
          value: round(p99),
          unit: "ms",
          target: "≤ 10",
          met: p99 <= 10,
          detail: `p50 ${median(times).toFixed(2)} ms, n = ${times.length}, 4 connections`,
        },
      ];
    }),
};

export const INFERENCE_BENCHES: readonly Bench[] = [throughput, firstToken, requests, relay, dispatch];
