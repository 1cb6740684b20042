import fc from "fast-check";
import { expect, it } from "vitest";
import { formatEvent } from "../../../worker-agent/events.ts";
import { jsonLine, manyLines, oneLine } from "../../../worker-agent/terminal-text.ts";

it.each<[what: string, given: string, line: string, lines: string]>([
  ["plain words", "Grüße, 世界 😀", "Grüße, 世界 😀", "Grüße, 世界 😀"],
  ["a cleared screen", "a\u001b[2Jb", "a�[2Jb", "a[2Jb"],
  ["the clipboard", "\u001b]52;c;eA==\u0007", "�]52;c;eA==�", "]52;c;eA=="],
  ["an eight-bit escape", "\u009b31m", "�31m", "31m"],
  ["turned words", "abc\u202edef\u2066", "abc�def�", "abcdef"],
  ["hidden letters", "a\u{e0041}b", "a�b", "ab"],
  ["an overwritten line", "safe\rrm -rf", "safe�rm -rf", "saferm -rf"],
  ["lines and tabs", "a\r\n\tb", "a���b", "a\n\tb"],
])("%s", (_what, given, line, lines) => {
  expect(oneLine(given)).toBe(line);
  expect(manyLines(given)).toBe(lines);
  expect(jsonLine({ given })).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(JSON.parse(jsonLine({ given }))).toEqual({ given });
});

it("a stream filtered piece by piece steers no more than one filtered whole", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  fc.assert(
    fc.property(fc.array(text), (pieces) => {
      const written = Buffer.concat(pieces.map((piece) => Buffer.from(manyLines(piece)))).toString();
      expect(written.replace(/[\n\t]/g, "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
  );
});

it("a code point cut in two by its stream does not come through", () => {
  const hidden = "\u{e0041}";
  const written = Buffer.concat([hidden.slice(0, 1), hidden.slice(1)].map((half) => Buffer.from(manyLines(half))));
  expect(written.toString()).toBe("��");
});

it("what a pool gives as its reason is one line of the agent's log", () => {
  const reason = "the pool answered 503: \u001b[2J\nConnected";
  expect(formatEvent({ type: "disconnected", reason, retryInMs: 1_000 })).toContain("503: �[2J�Connected");
  expect(formatEvent({ type: "stopped", code: "token-refused", message: "\u001b]0;x\u0007" })).toBe("�]0;x�");
});
