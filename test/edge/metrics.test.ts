import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { parser as promql } from "@prometheus-io/lezer-promql";
import parsePrometheus from "parse-prometheus-text-format";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { LaneMetrics } from "../../edge/inference/records/lane-metrics.ts";
import dashboard from "../../ops/grafana-dashboard.json";
import { freshPool, PeerDouble, peerAt } from "./peer-double.ts";
import { admin, ask, type ClientKey, chat, createKey, eventually, invite, ScriptedAgent } from "./support.ts";

async function text(): Promise<string> {
  const response = await ask("/metrics", { headers: { authorization: `Bearer ${env.METRICS_TOKEN}` } });
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return response.text();
}
const families = async () => new Map(parsePrometheus(await text()).map((each) => [each.name, each]));
const sample = async (name: string, labels: Record<string, string>) =>
  (await families())
    .get(name)
    ?.metrics.find((metric) => Object.entries(labels).every(([label, value]) => metric.labels?.[label] === value));

/** A model's name may contain any character that JSON allows. */
const model = 'met"ric\\s\nmodel';
let key: ClientKey;
let agent: ScriptedAgent;

beforeAll(async () => {
  key = await createKey({ requests_per_minute: 100 });
  agent = await ScriptedAgent.serving((await invite()).token, { model, slots: 4 });
  const streaming = chat(key, { model, stream: true });
  const job = await agent.next("job");
  for (let seq = 0; seq < 3; seq++) agent.delta(job, seq, "word ");
  await agent.done(job, "word word word ");
  await (await streaming).text();
  const whole = chat(key, { model });
  await agent.done(await agent.next("job"), "Hello");
  await (await whole).text();
  const failing = chat(key, { model });
  const failed = await agent.next("job");
  agent.send({
    type: "failed",
    jobId: failed.jobId,
    lease: failed.lease,
    code: "inference/engine-failed",
    message: "no",
    retryable: false,
  });
  await (await failing).text();
});

describe("/metrics", () => {
  it("has running, waiting, tokens, latencies and outcomes of a model", async () => {
    expect(await sample("ligand_workers", {})).toMatchObject({ value: "1" });
    expect(await sample("ligand_slots", { model_name: model })).toMatchObject({ value: "4" });
    const exposition = await text();
    for (const [name, n] of [
      ["time_to_first_token", 1],
      ["inter_token_latency", 2],
      ["e2e_request_latency", 2],
      ["request_queue_time", 2],
    ]) {
      expect(exposition).toMatch(new RegExp(`^ligand_${name}_seconds_count\\{.*\\} ${n}$`, "m"));
    }
    expect(await sample("ligand_prompt_tokens_total", {})).toMatchObject({ value: "6" });
    expect(await sample("ligand_generation_tokens_total", {})).toMatchObject({ value: "10" });
    expect(await sample("ligand_request_success_total", { finished_reason: "stop" })).toMatchObject({ value: "2" });
    expect(await sample("ligand_request_errors_total", { code: "inference/engine-failed" })).toMatchObject({
      value: "1",
    });
  });

  it("is a valid exposition: histograms add up, and each series appears once", async () => {
    const lines = (await text()).trimEnd().split("\n");
    const series = lines.filter((line) => !line.startsWith("#")).map(seriesAndValue);
    expect(new Set(series.map(([name]) => name)).size).toBe(series.length);
    const counts = series.filter(([name]) => name.includes("_count{"));
    expect(counts).toHaveLength(4);
    for (const [name, count] of counts) {
      const buckets = series.filter(([each]) => each.startsWith(name.replace("_count{", "_bucket{").slice(0, -1)));
      const values = buckets.map(([, value]) => value);
      expect(values).toEqual(values.toSorted((a, b) => a - b));
      expect(buckets.at(-1)).toEqual([expect.stringContaining('le="+Inf"'), count]);
    }
    for (const line of lines) {
      expect(line).toMatch(
        /^(# (HELP|TYPE) ligand_\w+ .+|ligand_\w+(\{\w+="([^"\\\n]|\\[\\"n])*"(,\w+="([^"\\\n]|\\[\\"n])*")*\})? [0-9.e+-]+)$/,
      );
    }
  });

  it("counts refusals before a job exists, in the lane, and of unauthenticated requests", async () => {
    const small = await createKey({ requests_per_minute: 1 });
    const refused = async (by: ClientKey, body: object) => (await chat(by, body)).text();
    for (let i = 0; i < 3; i++) await refused(small, { model: "never-heard-of" });
    await refused({ id: "", key: "lk_forged" }, {});
    await refused(key, { model, messages: 7 });
    const errors = async (code: string) => (await sample("ligand_request_errors_total", { code }))?.value;
    expect(await errors("inference/model-not-found")).toBe("1");
    expect(await sample("ligand_requests_unserved_total", { model_name: "" })).toMatchObject({ value: "1" });
    expect(await errors("inference/rate-limited")).toBe("2");
    expect(await errors("auth/invalid-key")).toBe("1");
    expect(await errors("http/invalid-body")).toBe("1");
    expect(await text()).not.toContain("never-heard-of");
  });

  it("names the metrics token and its place to a caller without one", async () => {
    for (const headers of [{}, { authorization: `Bearer ${key.key}` }]) {
      const refused = await ask("/metrics", { headers });
      expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
      expect((await refused.json<{ error: object }>()).error).toMatchObject({
        code: "metrics_token_required",
        message: expect.stringMatching(/metrics_token from state\/secrets\.json.*METRICS_TOKEN/),
      });
    }
  });

  it("continues counting after an eviction of the lane", async () => {
    const lane = env.LANE.getByName("main");
    const stored = () => runInDurableObject(lane, (_lane, state) => state.storage.kv.get<LaneMetrics>("metrics"));
    await eventually(async () => [...((await stored())?.models.values() ?? [])][0]?.errorsByCode.size);
    await evictDurableObject(lane);
    expect(await sample("ligand_request_success_total", { finished_reason: "stop" })).toMatchObject({ value: "2" });
  });
});

describe("/metrics of federation", () => {
  const value = async (name: string, labels: Record<string, string> = {}) =>
    Number((await sample(`ligand_${name}`, labels))?.value);
  const refused = (reason: string) => value("federation_requests_refused_total", { reason });
  beforeAll(() => freshPool());

  it("counts refusals by reason and code, and wakes no object for them", async () => {
    const [peer, stranger] = [await peerAt(1), await PeerDouble.make()];
    const before = await Promise.all(["unknown-peer", "bad-signature", "federation/untrusted"].map(refused));
    const errors = await text();
    const registryCalls = vi.spyOn(env.PEER_REGISTRY, "getByName");
    await stranger.outcomeOf("GET", "/v1/federation/molecule");
    await stranger.outcomeOf("GET", "/api/federation/status");
    await peer.outcomeOf("GET", "/api/federation/status", undefined, { sign: stranger.signer.sign });
    expect(registryCalls).not.toHaveBeenCalled();
    registryCalls.mockRestore();
    await peer.outcomeOf("GET", "/v1/federation/molecule");
    const after = await Promise.all(["unknown-peer", "bad-signature", "federation/untrusted"].map(refused));
    expect(after.map((n, i) => n - (before[i] || 0))).toEqual([2, 1, 1]);
    // Counts that the registry did not get are sent again.
    const silent = vi.spyOn(env.PEER_REGISTRY, "getByName").mockImplementation(() => {
      throw new Error("the registry is away");
    });
    await stranger.outcomeOf("GET", "/api/federation/status");
    await ask("/metrics", { headers: { authorization: `Bearer ${env.METRICS_TOKEN}` } });
    silent.mockRestore();
    expect((await refused("unknown-peer")) - (before[0] || 0)).toBe(3);
    // Refusals of clients have other counters.
    const ofClients = (all: string) =>
      all.split("\n").filter((line) => line.startsWith("ligand_request_errors_total{"));
    expect(ofClients(await text())).toEqual(ofClients(errors));
  });

  it("has the number of peers at each trust, unavailable peers, and pending deliveries", async () => {
    await freshPool();
    const [one, two, three] = [await peerAt(1), await peerAt(2), await peerAt(3, 3)];
    const trusts = () => Promise.all(["0", "1", "2", "3"].map((trust) => value("federation_peers", { trust })));
    await eventually(async () => String(await trusts()) === "0,1,1,1");
    two.answer = () => Promise.reject(new TypeError("away"));
    await admin("PUT", `/peers/${two.id}/trust`, { level: 0 }, 200);
    await eventually(async () => (await value("federation_deliveries_waiting")) === 1);
    expect(await trusts()).toEqual([1, 1, 0, 1]);
    await admin("DELETE", `/peers/${one.id}`);
    await eventually(async () => String(await trusts()) === "1,0,0,1");
    expect(await value("federation_circuits", { state: "closed" })).toBe(2);
    expect(await value("federation_untold")).toBe(0);
    expect(await value("federation_outbox_rows")).toBe(0);
    expect(await value("federation_events_behind", { audience: "peers" })).toBe(0);
    expect(await text()).not.toMatch(new RegExp([one, two, three].map(({ id }) => id).join("|")));
  });

  it("counts the events of the log by their source", async () => {
    await freshPool();
    const peer = await peerAt(2, 2);
    const counts = async () => [
      await value("log_events_total", { from: "here" }),
      await value("log_events_total", { from: "peers" }),
      await value("log_events_relayed_total"),
    ];
    const [here = 0, peers = 0, relayed = 0] = await counts();
    await peer.pushed([await peer.event(), await peer.event()], 3);
    await peer.pushed([await peer.event()], 0);
    await admin("PATCH", "/federation", { max_peers: 50 }, 200);
    expect(await counts()).toEqual([here + 1, peers + 3, relayed + 2]);
  });

  it("counts a delivery that was given up once, and keeps the count when its peer is forgotten", async () => {
    const registry = env.PEER_REGISTRY.getByName("pool");
    const member = { atomId: "a".repeat(64), granted: 1, addedAtMs: 0, keptByAdmin: true };
    const statusWith = (givenUp: number) => ({
      effective: 1 as const,
      circuit: "open" as const,
      deliveries: 0,
      givenUp,
      untold: 2,
      records: { waiting: 3, refused: 1 },
      behind: { public: 4, peers: 5 },
    });
    const before = await value("federation_deliveries_given_up_total");
    const givenUp = async () => (await value("federation_deliveries_given_up_total")) - before;
    for (const n of [1, 1, 3]) await registry.note(member, statusWith(n));
    expect(await givenUp()).toBe(3);
    // A new bond counts from 0.
    await registry.note(member, statusWith(1));
    expect(await givenUp()).toBe(4);
    // A removed peer reports the same status again, until its work is done.
    const done = { ...statusWith(1), untold: 0, records: { waiting: 0, refused: 0 } };
    for (let i = 0; i < 3; i++) await registry.leave(member.atomId, done);
    expect(await givenUp()).toBe(4);
    await registry.forget(member.atomId);
    expect(await givenUp()).toBe(4);
  });
});

describe("the Grafana dashboard", () => {
  const expressions = [
    ...dashboard.panels.flatMap((panel) => panel.targets.map((target) => target.expr)),
    ...dashboard.templating.list.flatMap((variable) => /\((\w+),/.exec(variable.definition ?? "")?.[1] ?? []),
  ];

  it("queries only metrics that a pool has", async () => {
    const found = await families();
    const names = new Set(
      [...found.values()].flatMap(({ name, type }) =>
        type === "HISTOGRAM" ? ["_bucket", "_sum", "_count"].map((suffix) => name + suffix) : [name],
      ),
    );
    const asked = expressions.flatMap(metricsOf);
    expect(asked.length).toBeGreaterThan(expressions.length);
    expect(asked.filter((name) => !names.has(name))).toEqual([]);
    const shown = new Set(asked.map((name) => name.replace(/_(bucket|sum|count)$/, "")));
    expect([...found.keys()].filter((name) => !shown.has(name))).toEqual([]);
  });

  it("can be loaded by Grafana: panels have unique ids, do not overlap, and have a source and a title", () => {
    expect(dashboard).toMatchObject({ schemaVersion: 39, uid: "ligand-pool", title: expect.any(String) });
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const taken = new Set<string>();
    for (const { title, datasource, gridPos, targets } of dashboard.panels) {
      expect(title).toBeTruthy();
      expect(datasource).toEqual({ type: "prometheus", uid: "$" + "{datasource}" });
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken).not.toContain(`${x},${y}`);
          taken.add(`${x},${y}`);
        }
      }
    }
    const used = expressions.flatMap((expression) => [...expression.matchAll(/\$(\w+)/g)].map(([, name]) => name));
    const known = [...dashboard.templating.list.map(({ name }) => name), "__rate_interval"];
    expect(used.filter((name) => !known.includes(name ?? ""))).toEqual([]);
  });
});

function seriesAndValue(line: string): [series: string, value: number] {
  const at = line.lastIndexOf(" ");
  return [line.slice(0, at), Number(line.slice(at + 1))];
}

/** The metric names of a PromQL expression, by Prometheus' own grammar. Throws at a syntax error. */
function metricsOf(expression: string): string[] {
  const query = expression.replaceAll("$__rate_interval", "5m");
  const names: string[] = [];
  promql.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError) throw new Error(`not PromQL at ${node.from}: ${query}`);
      if (node.name === "VectorSelector") names.push(/^\w+/.exec(query.slice(node.from, node.to))?.[0] ?? "");
    },
  });
  return names;
}
