import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { seal, unseal } from "../../../scripts/runtime/sealed-file.ts";

const PASSPHRASE = "correct horse battery staple";
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const bytes of source) all.push(bytes);
  return Buffer.concat(all);
}
/** An eighth of the real cost, on which these tests do not depend. */
const CHEAP_N = 2 ** 14;
const sealed = (bytes: Uint8Array) => gather(seal(pieces(bytes, 10_000), PASSPHRASE, CHEAP_N));
const opened = (bytes: Uint8Array, passphrase = PASSPHRASE) => gather(unseal(pieces(bytes, 7_777), passphrase));

it.each([0, 1, 65_535, 65_536, 65_537, 200_000])(
  "%i bytes are restored exactly, and do not occur in the file",
  async (n) => {
    const plain = randomBytes(n);
    const file = await sealed(plain);
    expect((await opened(file)).equals(plain)).toBe(true);
    if (n >= 16) expect(file.includes(plain.subarray(0, 16))).toBe(false);
  },
);

it("guessing a passphrase costs one scrypt with N = 2^17 each time, and the file opens", async () => {
  const plain = randomBytes(100);
  const file = await gather(seal(pieces(plain, 10), PASSPHRASE));
  expect(file.toString("latin1")).toContain(`"N":${2 ** 17},"r":8,"p":1`);
  expect((await opened(file)).equals(plain)).toBe(true);
});

it("two files of the same bytes share only their first line", async () => {
  const plain = randomBytes(1_000);
  const [a, b] = [await sealed(plain), await sealed(plain)];
  expect(a.subarray(-1_000).equals(b.subarray(-1_000))).toBe(false);
});

describe("a file that was changed", async () => {
  const file = await sealed(randomBytes(150_000));
  const body = file.indexOf(10, file.indexOf(10) + 1) + 1;
  const chunk = 65_536 + 16;
  const flipped = (at: number) => {
    const copy = Buffer.from(file);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  };
  it.each<[what: string, bytes: Buffer, says: string]>([
    ["a changed byte in the first chunk", flipped(body + 5), "or the file was changed"],
    ["a changed byte in the second", flipped(body + chunk + 5), "was changed or is not complete"],
    ["a changed tag at the end", flipped(file.length - 1), "was changed or is not complete"],
    [
      "a changed salt",
      Buffer.from(file.toString("latin1").replace(/"salt":"./, '"salt":"/'), "latin1"),
      "The passphrase is wrong",
    ],
    ["a cut in the middle", file.subarray(0, body + chunk + 100), "was changed or is not complete"],
    ["a cut between chunks", file.subarray(0, body + chunk), "changed"],
    [
      "chunks in another order",
      Buffer.concat([
        file.subarray(0, body),
        file.subarray(body + chunk, body + 2 * chunk),
        file.subarray(body, body + chunk),
        file.subarray(body + 2 * chunk),
      ]),
      "or the file was changed",
    ],
    ["extra bytes at the end", Buffer.concat([file, randomBytes(10)]), "was changed or is not complete"],
    ["the head alone", file.subarray(0, body), "or the file was changed"],
    ["a file of another kind", randomBytes(5_000), "not an export"],
    ["an empty file", Buffer.alloc(0), "not an export"],
    [
      "parameters that would need all memory",
      Buffer.from(file.toString("latin1").replace(`"N":${CHEAP_N}`, `"N":${2 ** 30}`), "latin1"),
      "A newer version of Ligand",
    ],
  ])("%s", async (_what, bytes, says) => expect(opened(bytes)).rejects.toThrow(says));

  it("a file does not open with another passphrase", () =>
    expect(opened(file, "correct horse battery stapl")).rejects.toThrow("The passphrase is wrong"));
});
