import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atomIdOfWorkerToken, type KeyPrefix, keyTagger } from "../../../schema/crypto/api-keys.ts";
import { utf8 } from "../../../schema/crypto/bytes.ts";
import { publicKeyOf } from "../../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../../schema/crypto/hash.ts";
import { idOfPublicKey } from "../../../schema/crypto/ids.ts";
import { seed } from "./ed25519-cases.ts";

async function pool(name: string) {
  const secretKey = await seed(name);
  const atomId = await idOfPublicKey(await publicKeyOf(secretKey));
  return { secretKey, atomId, tagger: await keyTagger(secretKey, atomId) };
}
const here = await pool("here");
const there = await pool("there");
const refused = { ok: false };

describe.each<KeyPrefix>(["lk", "lw"])("%s", (prefix) => {
  const other = prefix === "lk" ? "lw" : "lk";

  it("a minted key is authentic in every process of this pool, and in no other pool", async () => {
    const { id, text, secretSha256 } = await here.tagger.mint(prefix);
    expect(text).toMatch(prefix === "lk" ? /^lk(_[0-9a-f]+){3}$/ : /^lw(_[0-9a-f]+){4}$/);
    expect(text.length).toBe(prefix === "lk" ? 85 : 150);
    const restarted = await keyTagger(here.secretKey, here.atomId);
    expect(await restarted.authenticate(text, prefix)).toEqual({ ok: true, id, secretSha256 });
    expect(await there.tagger.authenticate(text, prefix)).toEqual(refused);
    expect(await here.tagger.authenticate(text, other)).toEqual(refused);
  });

  it("has the parts that its record stores", async () => {
    const { id, text, secretSha256 } = await here.tagger.mint(prefix);
    const [, idPart, secret] = text.split("_");
    expect(idPart).toBe(id);
    expect(secretSha256).toBe(await sha256Hex(utf8(secret ?? "")));
  });

  it("is refused when any single character changes", async () => {
    const { text } = await here.tagger.mint(prefix);
    for (let at = 0; at < text.length; at++) {
      for (const character of ["0", "1", "f", "A", "_", " ", "\n", "é", "\ud800"]) {
        const changed = text.slice(0, at) + character + text.slice(at + 1);
        if (changed !== text) expect(await here.tagger.authenticate(changed, prefix)).toEqual(refused);
      }
    }
  });

  it("is refused when shortened, lengthened, in capitals or under the other prefix", async () => {
    const { text } = await here.tagger.mint(prefix);
    const wrong = [text.slice(1), text.slice(0, -1), `${text}0`, `${text}\n`, ` ${text}`, text + text];
    const respelled = [text.toUpperCase(), other + text.slice(2), text.replaceAll("_", "-")];
    for (const changed of [...wrong, ...respelled]) {
      expect(await here.tagger.authenticate(changed, prefix)).toEqual(refused);
      expect(await here.tagger.authenticate(changed, other)).toEqual(refused);
    }
  });

  it("a key's tag does not match another key", async () => {
    const [a, b] = [await here.tagger.mint(prefix), await here.tagger.mint(prefix)];
    const mixed = a.text.split("_").with(3, b.text.split("_")[3] ?? "");
    expect(await here.tagger.authenticate(mixed.join("_"), prefix)).toEqual(refused);
  });

  it("any other string is refused, and none throws", async () => {
    const hexPart = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
    const shaped = fc.tuple(hexPart(16), hexPart(40), hexPart(24)).map((parts) => `${prefix}_${parts.join("_")}`);
    const texts = fc.oneof(
      fc.string({ unit: "binary", maxLength: 300 }),
      shaped,
      shaped.map((text) => `${text}_${here.atomId}`),
    );
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        expect(await here.tagger.authenticate(text, prefix)).toEqual(refused);
        expect(() => atomIdOfWorkerToken(text)).not.toThrow();
      }),
    );
    expect(await here.tagger.authenticate("lk_".repeat(1_000_000), prefix)).toEqual(refused);
  });
});

it("two pools with the same secret and different names refuse each other's client keys", async () => {
  const renamed = await keyTagger(here.secretKey, there.atomId);
  const { text } = await here.tagger.mint("lk");
  expect(await renamed.authenticate(text, "lk")).toEqual(refused);
});

it("the pool's id is read only from a well-formed worker token", async () => {
  const token = (await here.tagger.mint("lw")).text;
  expect(atomIdOfWorkerToken(token)).toBe(here.atomId);
  expect(atomIdOfWorkerToken((await here.tagger.mint("lk")).text)).toBeNull();
  expect(atomIdOfWorkerToken(token.slice(0, -1))).toBeNull();
  expect(atomIdOfWorkerToken("")).toBeNull();
});

it("a token whose pool id was changed is refused by both pools", async () => {
  const token = (await here.tagger.mint("lw")).text.replace(here.atomId, there.atomId);
  expect(await here.tagger.authenticate(token, "lw")).toEqual(refused);
  expect(await there.tagger.authenticate(token, "lw")).toEqual(refused);
});

// The tag is a persisted contract: keys that were given out must stay valid.
it("known keys of a known pool stay authentic", async () => {
  const secretKey = Uint8Array.from({ length: 32 }, (_, i) => 3 * (i + 1));
  const atomId = await idOfPublicKey(await publicKeyOf(secretKey));
  expect(atomId).toBe("f558c7ef1e8829121c7724ffc58c7d1d8aea8256a0873a173e2a697934104174");
  const tagger = await keyTagger(secretKey, atomId);
  const secret = "000102030405060708090a0b0c0d0e0f10111213";
  const known = { ok: true, id: "0123456789abcdef", secretSha256: await sha256Hex(utf8(secret)) };
  expect(await tagger.authenticate(`lk_0123456789abcdef_${secret}_343424c6d5b7c7cc91534aad`, "lk")).toEqual(known);
  expect(await tagger.authenticate(`lw_0123456789abcdef_${secret}_8244f791c1be627751d20265_${atomId}`, "lw")).toEqual(
    known,
  );
});
