import { expect, it } from "vitest";
import { changeSlashing, isOpen } from "../../../edge/market/slashing-machine.ts";
import type { SlashingStatus } from "../../../schema/wire/market.ts";

it.each<[from: SlashingStatus, to: "contested" | "settled" | "dismissed", want: string]>([
  ["pending", "contested", "contested"],
  ["pending", "settled", "settled"],
  ["pending", "dismissed", "dismissed"],
  ["contested", "contested", "contested again"],
  ["contested", "settled", "settled"],
  ["contested", "dismissed", "dismissed"],
  ["settled", "settled", "settled again"],
  ["settled", "dismissed", "slashing/closed"],
  ["settled", "contested", "slashing/closed"],
  ["dismissed", "settled", "slashing/closed"],
  ["dismissed", "dismissed", "dismissed again"],
])("%s to %s: %s", (from, to, want) => {
  const step = changeSlashing(from, to);
  expect(step.ok ? `${step.status}${step.isNews ? "" : " again"}` : step.code).toBe(want);
});

it.each<[status: SlashingStatus, open: boolean]>([
  ["pending", true],
  ["contested", true],
  ["settled", false],
  ["dismissed", false],
])("%s is open: %s", (status, open) => expect(isOpen(status)).toBe(open));
