import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { verifyAdminRequest } from "../../../schema/crypto/admin-signature.ts";
import { fromHex } from "../../../schema/crypto/bytes.ts";
import { idOfPublicKey } from "../../../schema/crypto/ids.ts";
import { signedRequestFile } from "../../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { ligand } from "../../../scripts/cli/ligand.ts";
import { publicKeyIn } from "../../../scripts/runtime/admin-key-file.ts";
import { runCommand } from "../../../worker-agent/cli/shared/run-command.ts";

/** `ligand admin-keys new` and `sign`: both work on the admin's own machine and call no pool. */

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ligand-admin-keys-"));
  vi.stubEnv("XDG_CONFIG_HOME", folder);
  vi.stubGlobal("fetch", () => {
    throw new Error("no pool may be called");
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  rmSync(folder, { recursive: true });
});

async function run(...args: string[]) {
  const lines = { out: "", err: "" };
  vi.spyOn(console, "log").mockImplementation((line: string) => {
    lines.out += `${line}\n`;
  });
  vi.spyOn(console, "error").mockImplementation((line: string) => {
    lines.err += `${line}\n`;
  });
  return { code: await runCommand(ligand, "ligand", ["admin-keys", ...args]), ...lines };
}

interface Made {
  key_id: string;
  public_key: string;
  file: string;
}
const make = async (...args: string[]): Promise<Made> => JSON.parse((await run("new", "--json", ...args)).out);
const file = (name: string, content: unknown) => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};

const REQUEST = {
  v: 1,
  type: "admin_request",
  origin: "a".repeat(64),
  destination: "b".repeat(64),
  request_id: "req_1",
  action_type: "circuit_reset",
  action_params: {},
};

describe("new", () => {
  it("writes a private key file and prints the public key and its id", async () => {
    const { key_id, public_key, file: path } = await make();
    expect(path).toBe(join(folder, "ligand", "admin.key"));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await idOfPublicKey(fromHex(public_key) as Uint8Array)).toBe(key_id);
    expect(await publicKeyIn(path)).toEqual(fromHex(public_key));
  });

  it("prints nothing of the secret key", async () => {
    const { out, err } = await run("new", "--label", "Zoë's laptop");
    const secret = readFileSync(join(folder, "ligand", "admin.key"), "utf8").trim();
    expect(out).toContain("--label");
    for (const text of [out, err]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(Buffer.from(secret, "base64").toString("hex"));
    }
  });

  it("does not replace a key", async () => {
    const { file: path } = await make();
    const before = readFileSync(path, "utf8");
    expect(await run("new")).toMatchObject({ code: 1, out: "", err: expect.stringContaining("exists") });
    expect(readFileSync(path, "utf8")).toBe(before);
  });
});

describe("sign", () => {
  it("signs what requests send printed, so that it verifies with the public key for this request only", async () => {
    const { key_id, public_key } = await make();
    const startedMs = Date.now();
    const { code, out, err } = await run("sign", file("request.json", REQUEST), "--yes");
    expect(code).toBe(0);
    const { request, signature } = signedRequestFile.parse(JSON.parse(out));
    expect(request).toEqual(REQUEST);
    expect(signature.key_id).toBe(key_id);
    expect(signature.expires_at * 1_000 - startedMs).toBeGreaterThan(23.9 * 3_600_000);
    expect(signature.expires_at * 1_000 - startedMs).toBeLessThan(24.1 * 3_600_000);
    const { v: _v, type: _type, ...contents } = request;
    const key = fromHex(public_key) as Uint8Array;
    expect(await verifyAdminRequest(signature, contents, key)).toBe(true);
    expect(await verifyAdminRequest(signature, { ...contents, destination: "c".repeat(64) }, key)).toBe(false);
    expect(err).toContain("reset the quality scores of all workers");
    for (const named of [REQUEST.origin, REQUEST.destination, key_id, "req_1"]) expect(err).toContain(named);
  });

  it.each<[what: string, params: object, action: string, says: string]>([
    ["the one worker", { worker_id: "d".repeat(64) }, "circuit_reset", `of worker ${"d".repeat(64)}`],
    ["parameters that the peer refuses", { worker: 1 }, "circuit_reset", "The peer refuses these parameters"],
    ["an action that this version does not know", {}, "launch", "this version does not know the action"],
    ["a read", {}, "query_events", "A read needs no signature"],
    ["text that could control the terminal", { x: "\u009b2J" }, "launch", '{"x":"�2J"}'],
  ])("says before it signs: %s", async (_what, action_params, action_type, says) => {
    await make();
    const request = file("request.json", { ...REQUEST, action_params, action_type });
    expect((await run("sign", request, "--yes")).err).toContain(says);
  });

  it("signs nothing without a yes", async () => {
    await make();
    const { code, out, err } = await run("sign", file("request.json", REQUEST));
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Add --yes");
  });

  it("refuses a key that others can read, and says how to close it", async () => {
    const { file: path } = await make();
    for (const mode of [0o640, 0o604, 0o620]) {
      chmodSync(path, mode);
      const { code, out, err } = await run("sign", file("request.json", REQUEST), "--yes");
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(err).toContain(`chmod 600 ${path}`);
    }
  });

  it.each<[what: string, content: unknown]>([
    ["no JSON", "request"],
    ["another member", { ...REQUEST, expires_at: 1 }],
    ["another type", { ...REQUEST, type: "event" }],
    ["another version", { ...REQUEST, v: 2 }],
    ["an id that is no id", { ...REQUEST, origin: "pool" }],
  ])("refuses a file with %s", async (_what, content) => {
    await make();
    expect(await run("sign", file("request.json", content), "--yes")).toMatchObject({ code: 1, out: "" });
  });

  it.each(["0", "-1", String(LIMITS.adminSignatureMs / 3_600_000 + 1), "a day"])(
    "refuses --expires-in %s",
    async (hours) => {
      await make();
      const { code } = await run("sign", file("request.json", REQUEST), "--yes", `--expires-in=${hours}`);
      expect(code).toBe(2);
    },
  );

  it("uses another key with --key, and reports a missing one", async () => {
    const other = await make("--file", join(folder, "other.key"));
    const { out } = await run("sign", file("request.json", REQUEST), "--yes", "--key", other.file);
    expect(JSON.parse(out).signature.key_id).toBe(other.key_id);
    const missing = await run("sign", file("request.json", REQUEST), "--yes", "--json");
    expect(missing).toMatchObject({ code: 1, out: expect.stringContaining("There is no file") });
  });
});

describe("a file with a public key", () => {
  it.each<[what: string, content: string]>([
    ["text", "my key"],
    ["31 bytes", Buffer.alloc(31).toString("base64")],
    ["hex in upper case", "A".repeat(64)],
  ])("is not %s", async (_what, content) => expect(await publicKeyIn(file("x.key", content))).toBeNull());

  it("is its 64 hex digits", async () => {
    expect(await publicKeyIn(file("x.pub", `${"ab".repeat(32)}\n`))).toEqual(fromHex("ab".repeat(32)));
  });
});
