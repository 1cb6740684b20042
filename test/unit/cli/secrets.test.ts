import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checkedSecret,
  SECRETS,
  type SecretName,
  secretOf,
  withoutSecrets,
} from "../../../worker-agent/cli/shared/secrets.ts";
import { formatUnexpected, systemReason } from "../../../worker-agent/cli/shared/system-reason.ts";
import { formatUncaught } from "../../../worker-agent/cli/shared/uncaught-errors.ts";

const names = Object.keys(SECRETS) as SecretName[];

describe("a secret", () => {
  it.each<[what: string, secret: string, says: RegExp]>([
    ["a line break", "sk-abc\ndef", /contains a line break \(character 7\)/],
    ["a carriage return", "sk-abc\rdef", /a line break/],
    ["a control character", "sk-\u0000abc", /a control character/],
    ["an escape", "sk-\u001b[31mabc", /a control character/],
    ["a delete", "sk-\u007fabc", /a control character/],
    ["a typographic quotation mark", "\u201csk-abc", /not ASCII \(character 1\)/],
    ["a no-break space", "sk\u00a0abc", /not ASCII/],
    ["a letter outside the BMP", "sk-\u{1f600}", /not ASCII \(character 4\)/],
  ])("with %s is refused, and the error names where the secret was read", (_what, secret, says) => {
    for (const name of names) {
      const { variable } = SECRETS[name];
      const reading = () => secretOf(name, { [variable]: secret });
      expect(reading).toThrow(says);
      expect(reading).toThrow(variable);
    }
  });

  it("is never part of the error about it, and a secret that passes can be sent in a header", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 8 }), (secret) => {
        let words = "";
        try {
          const checked = checkedSecret(secret, "HERE");
          expect(new Headers({ authorization: `Bearer ${checked}` }).get("authorization")).toContain(checked);
        } catch (error) {
          words = String(error);
        }
        expect(words.includes(secret.trim()) && secret.trim().length > 3).toBe(false);
      }),
    );
  });

  it("loses its line end, and is absent if nothing remains", () => {
    expect(secretOf("key", { LIGAND_KEY: " lk_abc\r\n" })).toBe("lk_abc");
    for (const given of [undefined, "", " \n"]) expect(secretOf("key", { LIGAND_KEY: given })).toBeUndefined();
  });
});

describe("the last error of a program", () => {
  const failure = (code: string, path?: string) =>
    Object.assign(new Error(`${code}: no`), { code, ...(path && { path }) });
  it.each<[error: unknown, says: string]>([
    [failure("ENOSPC", "/a/b"), "Cannot use /a/b: no space left on the disk (ENOSPC)."],
    [failure("EISDIR"), "Cannot continue: this is a folder, not a file (EISDIR)."],
    [new Error("wrapped", { cause: failure("EROFS") }), "Cannot continue: the disk is read-only (EROFS)."],
    [new Error("D1_ERROR: database or disk is full: SQLITE_FULL"), "Cannot continue: no space left on the disk."],
    [
      new TypeError("x is not a function"),
      "Internal error in Ligand (TypeError: x is not a function). Please report it. LIGAND_STACK=1 adds the stack.",
    ],
    ["text", "Internal error in Ligand (text). Please report it. LIGAND_STACK=1 adds the stack."],
  ])("for %s", (error, says) => {
    expect(formatUnexpected(error)).toBe(says);
  });

  it("handles errors that cause each other in a circle", () => {
    const error = new Error("round");
    error.cause = error;
    expect(systemReason(error)).toBeNull();
  });

  it("contains no secret, and contains a stack only on request", () => {
    const env = { LIGAND_UPSTREAM_KEY: "sk-one\ntwo\n", HF_TOKEN: "hf-three" };
    const error = new TypeError('Headers.append: "Bearer sk-one\ntwo" and hf-three');
    for (const stack of ["", "1"]) {
      const words = formatUncaught(error, { ...env, LIGAND_STACK: stack });
      expect(words).not.toMatch(/one|two|three/);
      expect(words.includes("    at ")).toBe(stack === "1");
    }
    expect(withoutSecrets("nothing to hide", {})).toBe("nothing to hide");
  });
});
