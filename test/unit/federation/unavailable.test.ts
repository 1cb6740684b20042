import { expect, it } from "vitest";
import { unlessUnavailable } from "../../../edge/federation/sync/unavailable.ts";

it.each<[what: string, error: unknown]>([
  ["an object that was reset", Object.assign(new Error("reset"), { durableObjectReset: true })],
  ["an overloaded object", Object.assign(new Error("overloaded"), { overloaded: true })],
  ["a call that may be repeated", Object.assign(new Error("failed"), { retryable: true })],
  ["a lost connection", new Error("Network connection lost.")],
  ["an error of D1, as drizzle-orm wraps it", new Error("Failed query", { cause: new Error("D1_ERROR: busy") })],
])("%s is unavailable", async (_what, error) => {
  expect(await unlessUnavailable(() => Promise.reject(error))).toBeNull();
});

it.each<[what: string, error: unknown]>([
  ["a bug of our own", new TypeError("undefined is not a function")],
  ["a bug in another object", Object.assign(new Error("broken"), { remote: true })],
  ["a value that is not an Error", "broken"],
])("%s is thrown on", async (_what, error) => {
  await expect(unlessUnavailable(() => Promise.reject(error))).rejects.toBe(error);
});

it("a call that succeeds gives its value", async () => {
  expect(await unlessUnavailable(async () => false)).toBe(false);
});
