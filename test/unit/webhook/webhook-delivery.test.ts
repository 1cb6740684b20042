import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { afterWebhookTry } from "../../../edge/webhook/webhook-delivery-machine.ts";
import type { WebhookOutcome } from "../../../edge/webhook/webhook-rpc.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = 1_776_358_800_000;
const HOUR = 60 * 60_000;
const answered = (status: number, retryAfterSeconds: number | null = null): WebhookOutcome => ({
  type: "answered",
  status,
  retryAfterSeconds,
});
const silent: WebhookOutcome = { type: "failed", failure: "silent" };

describe("a message", () => {
  it.each([200, 201, 202, 204, 299])("is delivered by an answer with status %s", (status) =>
    expect(afterWebhookTry(0, answered(status), NOW, 0)).toEqual({ type: "delivered" }),
  );

  it("is given up if the receiver answers that it is gone", () =>
    expect(afterWebhookTry(0, answered(410), NOW, 0)).toEqual({ type: "given-up", reason: "gone" }));

  it.each<[what: string, outcome: WebhookOutcome, random: number, pauseMs: number]>([
    ["a redirect", answered(302), 0, 1_000],
    ["a refusal", answered(404), 0, 1_000],
    ["an error of the server", answered(500), 1, 4_000],
    ["no answer", silent, 0.5, 2_500],
    ["a busy server that names no time", answered(503), 0, 1_000],
    ["a busy server that names a shorter time", answered(503, 1), 1, 4_000],
    ["a busy server that names a time", answered(503, 90), 0, 90_000],
    ["a throttling server that names a time", answered(429, 90), 0, 90_000],
    ["a throttling server that names a year", answered(429, 31_536_000), 0, 12 * HOUR],
    ["Retry-After with another status", answered(500, 90), 0, 1_000],
  ])("is tried again after %s", (_, outcome, random, pauseMs) =>
    expect(afterWebhookTry(0, outcome, NOW, random)).toEqual({ type: "retry", tries: 1, nextAtMs: NOW + pauseMs }),
  );

  it("is given up after ten tries", () => {
    expect(afterWebhookTry(8, silent, NOW, 0)).toMatchObject({ type: "retry", tries: 9 });
    expect(afterWebhookTry(9, silent, NOW, 0)).toEqual({ type: "given-up", reason: "tries" });
  });

  it("waits without a counted try while the policy cannot be read", () =>
    expect(afterWebhookTry(9, { type: "policy-unknown" }, NOW, 0)).toEqual({
      type: "retry",
      tries: 9,
      nextAtMs: NOW + LIMITS.webhookPauseMs,
    }));
});

it("every sequence of answers ends after at most ten tries, and no pause is longer than 12 h", () => {
  const outcome = fc.oneof(
    fc.constant(silent),
    fc.record({
      type: fc.constant("answered" as const),
      status: fc.integer({ min: 200, max: 599 }),
      retryAfterSeconds: fc.option(fc.nat()),
    }),
  );
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.array(fc.tuple(outcome, random), { minLength: 10, maxLength: 10 }), (all) => {
      let tries = 0;
      let nowMs = NOW;
      for (const [one, r] of all) {
        const step = afterWebhookTry(tries, one, nowMs, r);
        if (step.type !== "retry") return;
        expect(step.tries).toBe(tries + 1);
        expect(step.nextAtMs - nowMs).toBeGreaterThanOrEqual(1_000);
        expect(step.nextAtMs - nowMs).toBeLessThanOrEqual(12 * HOUR);
        tries = step.tries;
        nowMs = step.nextAtMs;
      }
      throw new Error("the message was tried more than ten times");
    }),
  );
});
