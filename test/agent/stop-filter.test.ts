import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Piece, stopFilter } from "../../worker-agent/engine/stop-filter.ts";

interface Filtered {
  text: string;
  tokens: number;
  stopped: boolean;
}

function filtered(pieces: readonly Piece[], stops: readonly string[]): Filtered {
  const filter = stopFilter(stops);
  const sum: Filtered = { text: "", tokens: 0, stopped: false };
  const take = ({ text, tokens }: Piece) => {
    sum.text += text;
    sum.tokens += tokens;
  };
  for (const piece of pieces) {
    const { out, stopped } = filter.push(piece);
    take(out);
    if (stopped) {
      sum.stopped = true;
      break;
    }
  }
  take(filter.flush());
  return sum;
}

const oneTokenEach = (...texts: string[]): Piece[] => texts.map((text) => ({ text, tokens: 1 }));

describe("a stop sequence", () => {
  it.each<[what: string, pieces: Piece[], stops: string[], want: Filtered]>([
    [
      "that does not occur changes nothing",
      oneTokenEach("Hel", "lo"),
      ["!"],
      { text: "Hello", tokens: 2, stopped: false },
    ],
    ["inside a token cuts the text there", oneTokenEach("a\n\nb"), ["\n\n"], { text: "a", tokens: 1, stopped: true }],
    [
      "over two tokens is not sent",
      oneTokenEach("a", "EN", "D", "b"),
      ["END"],
      { text: "a", tokens: 1, stopped: true },
    ],
    ["removes its tokens", oneTokenEach("E", "N", "D"), ["END"], { text: "", tokens: 0, stopped: true }],
    [
      "that is incomplete at the end is sent",
      oneTokenEach("a", "EN"),
      ["END"],
      { text: "aEN", tokens: 2, stopped: false },
    ],
    ["that begins twice is found", oneTokenEach("aa", "ab"), ["aab"], { text: "a", tokens: 1, stopped: true }],
    [
      "that comes first among several cuts the text",
      oneTokenEach("x.y!"),
      ["!", "."],
      { text: "x", tokens: 1, stopped: true },
    ],
    ["may be a wide character", oneTokenEach("a", "😀b"), ["😀"], { text: "a", tokens: 1, stopped: true }],
    [
      "that is a lone surrogate never cuts a character",
      oneTokenEach("😀"),
      ["\ude00"],
      { text: "😀", tokens: 1, stopped: false },
    ],
    ["that is empty has no effect", oneTokenEach("a"), [""], { text: "a", tokens: 1, stopped: false }],
  ])("%s", (_what, pieces, stops, want) => expect(filtered(pieces, stops)).toEqual(want));

  it("is never sent, completely or in part, however the text is split into tokens", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "é", "😀"), maxLength: 6 });
    fc.assert(
      fc.property(fc.array(letters), fc.array(letters, { maxLength: 4 }), (texts, stopTexts) => {
        const stops = stopTexts.filter((stop) => stop !== "");
        const whole = texts.join("");
        const { text, tokens, stopped } = filtered(oneTokenEach(...texts), stops);
        if (stopped) expect(stops.some((stop) => whole.startsWith(text + stop))).toBe(true);
        else expect(text).toBe(whole);
        for (const stop of stops) expect(text).not.toContain(stop);
        expect(tokens).toBeLessThanOrEqual(Buffer.byteLength(text));
      }),
    );
  });
});
