import fc from "fast-check";
import { expect, it } from "vitest";
import { formatEvent } from "../../../worker-agent/events.ts";
import { jsonLine, manyLines, oneLine } from "../../../worker-agent/terminal-text.ts";

it.each<[what: string, given: string, line: string, lines: string]>([
  ["plain text", "Grüße, 世界 😀", "Grüße, 世界 😀", "Grüße, 世界 😀"],
  ["a sequence that clears the screen", "a\u001b[2Jb", "a�[2Jb", "a[2Jb"],
  ["a sequence that writes the clipboard", "\u001b]52;c;eA==\u0007", "�]52;c;eA==�", "]52;c;eA=="],
  ["an eight-bit escape", "\u009b31m", "�31m", "31m"],
  ["a bidirectional override", "abc\u202edef\u2066", "abc�def�", "abcdef"],
  ["invisible tag characters", "a\u{e0041}b", "a�b", "ab"],
  ["a carriage return that overwrites the line", "safe\rrm -rf", "safe�rm -rf", "saferm -rf"],
  ["lines and tabs", "a\r\n\tb", "a���b", "a\n\tb"],
])("%s", (_what, given, line, lines) => {
  expect(oneLine(given)).toBe(line);
  expect(manyLines(given)).toBe(lines);
  expect(jsonLine({ given })).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(JSON.parse(jsonLine({ given }))).toEqual({ given });
});

it("a stream that is filtered in pieces controls the terminal no more than one that is filtered whole", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  fc.assert(
    fc.property(fc.array(text), (pieces) => {
      const written = Buffer.concat(pieces.map((piece) => Buffer.from(manyLines(piece)))).toString();
      expect(written.replace(/[\n\t]/g, "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
  );
});

it("a code point that the stream cuts in two is not printed", () => {
  const hidden = "\u{e0041}";
  const written = Buffer.concat([hidden.slice(0, 1), hidden.slice(1)].map((half) => Buffer.from(manyLines(half))));
  expect(written.toString()).toBe("��");
});

it("a pool's reason for a refusal is one line of the agent's log", () => {
  const reason = "the pool answered 503: \u001b[2J\nConnected";
  expect(formatEvent({ type: "disconnected", reason, retryInMs: 1_000 })).toContain("503: �[2J�Connected");
  expect(formatEvent({ type: "stopped", code: "token-refused", message: "\u001b]0;x\u0007" })).toBe("�]0;x�");
});
