import { describe, expect, it } from "vitest";
import app from "../../edge/index.ts";
import * as answers from "../../schema/wire/client-answers.ts";
import { ask, chat, createKey, events, invite, ScriptedAgent } from "./support.ts";

interface Document {
  openapi: string;
  paths: Record<string, Record<string, { responses: Record<string, object> }>>;
}
const document = async () => (await ask("/openapi.json")).json<Document>();

describe("the API's document", () => {
  it("has every route of the client API, and no other", async () => {
    const { paths } = await document();
    const routes = app.routes
      .filter(({ method, path }) => method !== "ALL" && path.startsWith("/v1/") && !path.startsWith("/v1/federation/"))
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`);
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(documented.sort()).toEqual([...new Set(routes)].sort());
  });

  it("lists the error statuses of each route", async () => {
    const { paths } = await document();
    expect(
      Object.keys(paths["/v1/chat/completions"]?.post?.responses ?? {})
        .map(Number)
        .sort(),
    ).toEqual([...[200, 400, 401, 404, 408, 413, 421, 429, 499, 500, 502, 503, 504]]);
    expect(Object.keys(paths["/v1/models"]?.get?.responses ?? {})).not.toContain("404");
  });

  it("has schemas that match real answers", async () => {
    const key = await createKey();
    const model = "documented";
    const agent = await ScriptedAgent.serving((await invite()).token, { model });
    const headers = { authorization: `Bearer ${key.key}` };
    answers.modelListAnswer.parse(await (await ask("/v1/models", { headers })).json());

    const whole = chat(key, { model });
    await agent.done(await agent.next("job"), "Hello");
    answers.chatAnswer.parse(await (await whole).json());

    const streamed = chat(key, { model, stream: true, stream_options: { include_usage: true } });
    const job = await agent.next("job");
    agent.delta(job, 0, "Hello");
    await agent.done(job, "Hello");
    const { data } = await events(await streamed);
    for (const line of data.slice(0, -1)) answers.chatChunk.parse(JSON.parse(line));

    const cancelled = await ask(`/v1/jobs/${job.jobId}/cancel`, { method: "POST", headers });
    answers.cancelAnswer.parse(await cancelled.json());
    answers.errorAnswer.parse(await (await ask("/v1/models")).json());

    for (const stream of [false, true]) {
      const completing = ask("/v1/completions", {
        method: "POST",
        headers,
        body: JSON.stringify({ model, prompt: "Once", stream }),
      });
      const next = await agent.next("job");
      if (stream) agent.delta(next, 0, "x");
      await agent.done(next, "x");
      const response = await completing;
      const bodies = stream ? (await events(response)).data.slice(0, -1) : [await response.text()];
      for (const body of bodies) answers.completionAnswer.parse(JSON.parse(body));
    }
  });
});

describe("its page", () => {
  it("shows each operation, without scripts and without resources of other origins", async () => {
    const response = await ask("/docs");
    expect(response.headers.get("content-type")).toContain("text/html");
    const policy = response.headers.get("content-security-policy") ?? "";
    const html = await response.text();
    for (const path of Object.keys((await document()).paths)) expect(html).toContain(path);
    expect(policy).toMatch(/^default-src 'none'; style-src 'nonce-[0-9a-f]{32}';/);
    expect(html).toContain(`nonce="${/nonce-([0-9a-f]+)/.exec(policy)?.[1]}"`);
    expect(html).not.toMatch(/<script|<link|<img|@import|url\(|style="|src=|href="http/);
    expect(html).toContain("https://pool.example/v1");
    expect(html).toMatch(/^<!DOCTYPE html><html lang="en">/);
    expect(html).not.toContain("<td>any</td>");
  });

  it("opens in a browser that visits the pool's bare address", async () => {
    const arrived = await ask("/", { headers: { accept: "text/html,*/*;q=0.8" }, redirect: "manual" });
    expect([arrived.status, arrived.headers.get("location")]).toEqual([302, "/docs"]);
    expect((await ask("/", { headers: { accept: "*/*" } })).status).toBe(404);
  });
});
