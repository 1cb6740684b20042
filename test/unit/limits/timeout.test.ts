import { expect, it } from "vitest";
import { inTime, within } from "../../../edge/limits/timeout.ts";

const never = () => new Promise<string>(() => {});

it("gives the answer that comes in time", async () => {
  expect(await within(1_000, Promise.resolve("a"))).toBe("a");
  expect(await inTime(1_000, Promise.resolve("a"))).toBe("a");
});

it("gives null, or rejects, for an answer that fails or is late", async () => {
  expect(await within(1_000, Promise.reject(new Error("failed")))).toBeNull();
  expect(await within(1, never())).toBeNull();
  await expect(inTime(1_000, Promise.reject(new Error("failed")))).rejects.toThrow("failed");
  await expect(inTime(1, never(), "the record")).rejects.toThrow("the record did not answer in time");
});
