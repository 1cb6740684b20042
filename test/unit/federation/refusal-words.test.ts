import { expect, it } from "vitest";
import { refusalIn } from "../../../edge/federation/delivery/refusal-words-rules.ts";
import { errorBody } from "../../../edge/http/error-body.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

it.each<[what: string, body: unknown, want: ReturnType<typeof refusalIn>]>([
  ["a pool of the existing network", { error: "peer revoked" }, { code: null, words: "peer revoked" }],
  ["a pool that gives a code", { error: { code: "untrusted", message: "No." } }, { code: "untrusted", words: "No." }],
  ["a pool that gives a code alone", { error: { code: "untrusted" } }, { code: "untrusted", words: "" }],
  ["a server without that path", { detail: "Not Found" }, null],
  ["a page that is not JSON", null, null],
  [
    "words that write to a terminal",
    { error: "a\u001b[2J\u202e\nb" },
    { code: null, words: "a\ufffd[2J\ufffd\ufffdb" },
  ],
  ["words that are not valid Unicode", { error: "a\ud800" }, { code: null, words: "a\ufffd" }],
])("the refusal of %s is read", (_what, body, want) => expect(refusalIn(body)).toEqual(want));

it("the words are bounded", () => {
  expect(refusalIn(errorBody("federation/untrusted"))?.words).toMatch(/\w/);
  const long = "x".repeat(LIMITS.adminNoteChars + 1);
  for (const error of [long, { code: "untrusted", message: long }]) {
    expect(refusalIn({ error })?.words).toHaveLength(LIMITS.adminNoteChars);
  }
});
