import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import { ask, chat, createKey, events, eventually, invite, ScriptedAgent } from "./support.ts";

/** Deliberate attacks by clients and workers. Where time must pass, the objects read this isolate's clock. */
beforeEach(() => vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => vi.useRealTimers());

const lane = () => env.LANE.getByName("main");
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const NO_JOB = { jobId: "00000000-0000-4000-8000-000000000000", lease: 1 };

/** Resolves when the lane has handled all frames that this worker has sent. */
async function handled(agent: ScriptedAgent): Promise<void> {
  agent.send({ type: "progress", ...NO_JOB });
  expect(await agent.next("rejected")).toMatchObject(NO_JOB);
}

it.each<[path: string, bytes: number, most: string]>([
  ["/v1/chat/completions", LIMITS.clientBodyBytes, "4 MiB"],
  ["/admin/api/keys", LIMITS.adminBodyBytes, "64 KiB"],
  ["/admin/api/import", LIMITS.importBodyBytes, "8 MiB"],
])("a body that is too large for %s is refused, and the error states the limit", async (path, bytes, most) => {
  const token = path.startsWith("/admin") ? env.ADMIN_TOKEN : (await createKey()).key;
  const body = " ".repeat(bytes + 1);
  const response = await ask(path, { method: "POST", headers: { authorization: `Bearer ${token}` }, body });
  expect(response.status).toBe(413);
  expect(await response.text()).toContain(`larger than the ${most} that this route accepts. Send a smaller body.`);
});

describe("a body of very many values", () => {
  const many = (one: string, n: number) => Array(n).fill(one).join(",");
  const names = (n: number) => Array.from({ length: n }, (_, i) => `"k${i}":0`).join(",");

  it.each<[what: string, path: string, body: (n: number) => string]>([
    ["parts", "/v1/chat/completions", (n) => `{"model":"m","messages":[{"role":"user","content":[${many("{}", n)}]}]}`],
    ["pairs of metadata", "/v1/completions", (n) => `{"model":"m","prompt":"a","metadata":{${names(n)}}}`],
    ["parameters", "/v1/completions", (n) => `{"model":"m","prompt":"a",${names(n)}}`],
    ["inputs", "/v1/embeddings", (n) => `{"model":"m","input":[${many("0", n)}]}`],
  ])("is refused before each value is checked: %s", async (_what, path, body) => {
    const { key } = await createKey();
    const send = (n: number) =>
      ask(path, { method: "POST", headers: { authorization: `Bearer ${key}` }, body: body(n) });
    const tooMany = await send(300_000);
    expect(tooMany.headers.get("x-ligand-code")).toBe("http/body-too-large");
    expect(await tooMany.text()).toContain(`more than ${LIMITS.bodyValues} JSON values`);
    // This is the largest number that is checked: these values are refused for their content.
    const looked = await send(LIMITS.bodyValues - 10);
    expect(looked.status).toBe(400);
  });

  it("closes a worker's socket", async () => {
    const agent = await ScriptedAgent.open((await invite()).token);
    agent.sendText(`{"type":"ready","received":0,"slots":[${many("0", LIMITS.agentFrameValues)}]}`);
    expect(await agent.closed).toEqual({ code: CLOSE.tooBig, reason: "frame with too many values" });
  });
});

describe("a worker that never finishes", () => {
  it("and reports progress loses the job at its deadline", async () => {
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "endless" });
    const asking = chat(await createKey(), { model: "endless" });
    const { jobId, lease } = await agent.next("job");
    const acceptedMs = Date.now();
    while (Date.now() - acceptedMs < LIMITS.jobMs - 20_000) {
      pass(20_000);
      agent.send({ type: "progress", jobId, lease });
      await handled(agent);
    }
    expect(await load("endless"), "it kept the job until then").toMatchObject({ active: 1 });
    pass(20_000);
    expect(await agent.next("cancel")).toMatchObject({ jobId, lease });
    const response = await asking;
    expect([response.status, response.headers.get("x-ligand-code")]).toEqual([504, "inference/job-timeout"]);
    expect(await load("endless")).toMatchObject({ active: 0, queued: 0 });
    agent.close();
  });

  it("and does not report progress loses the job to another worker; its later frames change nothing", async () => {
    const stalled = await ScriptedAgent.serving((await invite()).token, { model: "stalled" });
    const asking = chat(await createKey(), { model: "stalled" });
    const job = await stalled.next("job");
    pass(LIMITS.leaseMs / 2);
    const heir = await ScriptedAgent.serving((await invite()).token, { model: "stalled" });
    // It answers pings, and sends nothing about the job.
    stalled.ready(0, "stalled");
    await handled(stalled);
    pass(LIMITS.leaseMs / 2 + 1);
    expect(await stalled.next("rejected")).toMatchObject({ jobId: job.jobId, lease: job.lease });
    const again = await heir.next("job");
    expect(again.jobId).toBe(job.jobId);
    expect(again.lease).toBeGreaterThan(job.lease);
    await stalled.done(job, "too late");
    expect(await stalled.next("rejected")).toMatchObject({ jobId: job.jobId, lease: job.lease });
    await heir.done(again, "in time");
    expect(await text(await asking)).toBe("in time");
    stalled.close();
    heir.close();
  });

  it("twice, when no other worker is free, is not followed by a third try: the client gets an error", async () => {
    const agents: ScriptedAgent[] = [];
    const asking: Promise<Response>[] = [];
    const key = await createKey();
    for (const attempt of [1, 2]) {
      agents.push(await ScriptedAgent.serving((await invite()).token, { model: "hopeless" }));
      if (attempt === 1) asking.push(chat(key, { model: "hopeless" }));
      await agents.at(-1)?.next("job");
      pass(LIMITS.leaseMs + 1);
    }
    const [response] = await Promise.all(asking);
    expect([response?.status, response?.headers.get("x-ligand-code")]).toEqual([502, "inference/worker-lost"]);
    for (const agent of agents) agent.close();
  });
});

describe("a worker that answers another worker's job", () => {
  it("is told for every frame that the job is not its own, and the client gets the right worker's answer", async () => {
    const right = await ScriptedAgent.serving((await invite()).token, { model: "another's" });
    const asking = chat(await createKey(), { model: "another's", stream: true });
    const job = await right.next("job");
    const wrong = await ScriptedAgent.serving((await invite()).token, { model: "another's" });
    right.delta(job, 0, "right");
    await handled(right);
    const { jobId, lease } = job;
    wrong.delta(job, 1, "wrong");
    wrong.send({ type: "progress", jobId, lease });
    wrong.send({ type: "vector", jobId, lease, index: 0, vector: "AAAAPw==" });
    wrong.send({ type: "failed", jobId, lease, code: "inference/engine-failed", message: "", retryable: false });
    await wrong.done(job, "wrong");
    for (let frame = 0; frame < 5; frame++) {
      expect(await wrong.next("rejected")).toMatchObject({ jobId, lease });
    }
    await right.done(job, "right");
    const { data } = await events(await asking);
    expect(data.at(-1)).toBe("[DONE]");
    expect(data.join("")).not.toContain("wrong");
    expect(data.join("")).toContain('"content":"right"');
    right.close();
    wrong.close();
  });
});

describe("a worker that sends frames without end for jobs that are not its own", () => {
  it("is closed, because the pool would have to buffer its unread errors; a slow rate of such frames is tolerated", async () => {
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "stray" });
    const many = async (frames: number) => {
      for (let i = 0; i < frames; i++) agent.send({ type: "progress", ...NO_JOB });
      for (let i = 0; i < frames; i++) await agent.next("rejected");
    };
    await many(LIMITS.staleFrames);
    pass(10_000);
    await many(LIMITS.staleFramesPerSecond * 10);
    // More frames than the tolerated rate allows during their handling.
    for (let i = 0; i < LIMITS.staleFrames; i++) agent.send({ type: "progress", ...NO_JOB });
    expect(await agent.closed).toEqual({
      code: CLOSE.policyViolation,
      reason: "too many frames of jobs that the worker does not hold",
    });
  });
});

describe("a client that leaves its answer unread", () => {
  it("for half a minute is disconnected, and the worker is told to stop", async () => {
    const key = await createKey({ streams: 1 });
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "unread" });
    const asking = chat(key, { model: "unread", stream: true });
    const job = await agent.next("job");
    agent.delta(job, 0, "x");
    const unread = await asking;
    pass(LIMITS.readerStallMs + 1);
    agent.send({ type: "progress", jobId: job.jobId, lease: job.lease });
    expect(await agent.next("cancel")).toMatchObject({ jobId: job.jobId });
    // The key's only stream slot is free again.
    agent.ready(4, "unread");
    await eventually(async () => {
      const next = chat(key, { model: "unread", stream: true });
      const answered = await Promise.race([next, agent.next("job")]);
      if (answered instanceof Response) return false;
      await agent.done(answered, "y");
      return (await next).text();
    });
    await expect(unread.text()).rejects.toThrow();
    agent.close();
  });
});

async function load(model: string) {
  return (await lane().overview()).models.find(({ name }) => name === model);
}

async function text(response: Response): Promise<string | undefined> {
  const { choices } = await response.json<{ choices: { message: { content: string } }[] }>();
  return choices[0]?.message.content;
}
