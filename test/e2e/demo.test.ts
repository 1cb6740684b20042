import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, it } from "vitest";
import { run } from "./support.ts";

const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith("ligand-demo-"));

it("the demo streams a real answer, reports it in one line of JSON, and leaves no file or process", async () => {
  const before = leftovers();
  const { code, stdout } = await run(["scripts/demo.ts"]);
  const lines = stdout.trimEnd().split("\n");
  const outcome = JSON.parse(lines.at(-1) ?? "") as Record<string, unknown>;
  expect(outcome).toEqual({
    ok: true,
    model: "ligand-embedded",
    answer: expect.stringMatching(/pool/i),
    prompt_tokens: expect.any(Number),
    completion_tokens: expect.any(Number),
    ttft_ms: expect.any(Number),
    tokens_per_second: expect.any(Number),
  });
  expect(code).toBe(0);
  expect(lines.slice(0, -1).join("\n")).toBe(outcome.answer);
  expect(outcome.tokens_per_second).toBeGreaterThan(0);
  expect(leftovers()).toEqual(before);
});
