import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, equalBytes, fromBase64, fromHex, toBase64, toHex, utf8 } from "../../../schema/crypto/bytes.ts";

describe("hex", () => {
  it.each<[text: string, bytes: number[] | null]>([
    ["", []],
    ["00ff10", [0, 255, 16]],
    ["0", null],
    ["FF", null],
    ["0g", null],
    ["+1", null],
    ["0x", null],
    [" 00", null],
    ["00\n", null],
    ["٠٠", null],
  ])("%j", (text, bytes) => expect(fromHex(text)).toEqual(bytes && Uint8Array.from(bytes)));

  it("round-trips", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(fromHex(toHex(bytes))).toEqual(bytes);
      }),
    );
  });
});

describe("base64", () => {
  it.each<[text: string, bytes: number[] | null]>([
    ["", []],
    ["AA==", [0]],
    ["AAA=", [0, 0]],
    ["/+8A", [255, 239, 0]],
    ["AA", null],
    ["AA=", null],
    ["AB==", null],
    ["AAB=", null],
    ["A===", null],
    ["====", null],
    ["-_8A", null],
    ["AA ==", null],
    ["AAAA\n", null],
    ["AA==AA==", null],
  ])("%j", (text, bytes) => expect(fromBase64(text)).toEqual(bytes && Uint8Array.from(bytes)));

  it("round-trips, and no other text gives the same bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(fromBase64(toBase64(bytes))).toEqual(bytes);
      }),
    );
    const near = fc.stringMatching(/^[A-Da-d+/=]{0,8}$/);
    fc.assert(
      fc.property(near, (text) => {
        const bytes = fromBase64(text);
        return bytes === null || toBase64(bytes) === text;
      }),
    );
  });

  it("accepts a megabyte", () => {
    const bytes = new Uint8Array(1024 * 1024).fill(0xa5);
    expect(equalBytes(fromBase64(toBase64(bytes)) ?? new Uint8Array(), bytes)).toBe(true);
  });
});

it("equalBytes is equality", () => {
  expect(equalBytes(utf8(""), utf8(""))).toBe(true);
  expect(equalBytes(utf8("a"), utf8("ab"))).toBe(false);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4, max: 2 }), fc.uint8Array({ maxLength: 4, max: 2 }), (a, b) => {
      expect(equalBytes(a, b)).toBe(toHex(a) === toHex(b));
    }),
  );
});

it("concat keeps order", () => {
  expect(concat()).toEqual(new Uint8Array());
  expect(concat(utf8("ab"), utf8(""), utf8("c"))).toEqual(utf8("abc"));
});
