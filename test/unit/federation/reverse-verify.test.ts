import { expect, it } from "vitest";
import { type ReverseVerifies, startReverseVerify } from "../../../edge/federation/peering/reverse-verify-rules.ts";

const NOW = 1_776_358_800_000;
const calls = (count: number): ReverseVerifies =>
  new Map(Array.from({ length: count }, (_, i) => [`${i}.example`, NOW + i * 100]));

it.each<[what: string, given: ReverseVerifies, host: string, nowMs: number, want: number | "called"]>([
  ["the first", calls(0), "0.example", NOW, "called"],
  ["the same host immediately", calls(1), "0.example", NOW, 60],
  ["the same host before a minute is over", calls(1), "0.example", NOW + 59_999, 1],
  ["the same host after a minute", calls(1), "0.example", NOW + 60_000, "called"],
  ["another host", calls(1), "1.example", NOW, "called"],
  ["the hundredth host", calls(99), "new.example", NOW + 10_000, "called"],
  ["the next host after a hundred", calls(100), "new.example", NOW + 10_000, 50],
  ["the next host, when the first is a minute old", calls(100), "new.example", NOW + 60_000, "called"],
  ["after the wall clock stepped back", calls(100), "0.example", NOW - 1, "called"],
  ["the same host at another port", calls(1), "0.example:8443", NOW + 10_000, 50],
  ["the same host with a trailing dot", calls(1), "0.example.:8443", NOW + 10_000, 50],
  ["an IPv6 address", calls(1), "[2001:db8::1]:8443", NOW, "called"],
  ["the same IPv6 address at another port", new Map([["[2001:db8::1]", NOW]]), "[2001:db8::1]:8444", NOW, 60],
])("%s", (_what, given, host, nowMs, want) => {
  const step = startReverseVerify(given, `https://${host}`, nowMs);
  expect(step.ok ? "called" : step.retryAfterSeconds).toBe(want);
});

it("a flood of hosts keeps a bounded record", () => {
  let state: ReverseVerifies = new Map();
  for (let i = 0; i < 5_000; i++) {
    const step = startReverseVerify(state, `https://${i}.example`, NOW + i * 50);
    if (step.ok) state = step.calls;
    expect(state.size).toBeLessThanOrEqual(100);
  }
});
