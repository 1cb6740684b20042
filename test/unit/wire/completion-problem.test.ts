import { expect, it } from "vitest";
import { completionApi, parseClientBody } from "../../../schema/wire/client-api.ts";
import { completionProblem } from "../../../schema/wire/completion-problem.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const most = LIMITS.choicesPerRequest;

it.each<[what: string, body: object, param: string | null]>([
  ["one prompt", {}, null],
  ["the largest number of prompts", { prompt: Array(most).fill("a") }, null],
  ["the largest number of prompts times n", { prompt: Array(most / 2).fill("a"), n: 2 }, null],
  ["one more than the largest number of prompts times n", { prompt: Array(most / 2 + 1).fill("a"), n: 2 }, "n"],
  ["best_of 1", { best_of: 1 }, null],
  ["best_of 1 beside n", { best_of: 1, n: 3 }, null],
  ["best_of equal to n", { best_of: 3, n: 3 }, null],
  ["best_of above n", { best_of: 3, n: 2 }, "best_of"],
  ["best_of alone", { best_of: 2 }, "best_of"],
])("%s", (_what, body, param) => {
  const parsed = parseClientBody(completionApi, { model: "m", prompt: "a", ...body });
  expect(parsed.ok && completionProblem(parsed.body)).toEqual(
    param === null ? null : expect.objectContaining({ param }),
  );
});

it("n is at most 8, and the error for a larger n states that", () => {
  const parse = (n: number) => parseClientBody(completionApi, { model: "m", prompt: "a", n });
  expect(parse(8).ok).toBe(true);
  expect(parse(9)).toMatchObject({
    code: "http/invalid-body",
    param: "n",
    message: expect.stringContaining("at most 8"),
  });
});

it.each<[what: string, prompt: unknown]>([
  ["no prompts", []],
  ["too many prompts", Array(most + 1).fill("a")],
])("%s", (_what, prompt) => {
  expect(parseClientBody(completionApi, { model: "m", prompt })).toMatchObject({
    ok: false,
    code: "http/invalid-body",
  });
});
