import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import type { AdminClient } from "../../../scripts/runtime/admin-client.ts";
import { readCredentials, saveCredentials } from "../../../scripts/runtime/credentials.ts";
import { removeFailedStart } from "../../../scripts/runtime/failed-start.ts";
import { openSecretsWarning } from "../../../scripts/runtime/open-secrets.ts";
import { loadSecrets } from "../../../scripts/runtime/pool-secrets.ts";
import { openPrivateFolder, writePrivateFile } from "../../../scripts/runtime/private-files.ts";
import { readIfPresent } from "../../../worker-agent/cli/shared/read-if-present.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

it("files and folders become private to their owner, whatever mode they had", async () => {
  const inner = join(folder, "state");
  await openPrivateFolder(inner, []);
  const file = join(inner, "secret");
  writeFileSync(file, "old", { mode: 0o644 });
  writePrivateFile(file, "new");
  expect([mode(inner), mode(file), readIfPresent(file)]).toEqual(["700", "600", "new"]);
  // Git ignores a state folder, wherever it is.
  expect(readdirSync(inner).sort()).toEqual([".gitignore", "secret"]);
  expect(readIfPresent(join(inner, "absent"))).toBeUndefined();
});

it("secrets are made once, and never replaced if they cannot be read", () => {
  const first = loadSecrets(folder);
  expect(Buffer.from(first.pool_secret_key, "base64")).toHaveLength(32);
  expect(mode(join(folder, "secrets.json"))).toBe("600");
  expect(loadSecrets(folder)).toEqual(first);
  writeFileSync(join(folder, "secrets.json"), JSON.stringify({ ...first, pool_secret_key: "short" }));
  expect(() => loadSecrets(folder)).toThrow("Restore it from a backup");
});

it("no new identity is made beside the record of another", () => {
  mkdirSync(join(folder, "pool"));
  expect(() => loadSecrets(folder)).toThrow("secrets.json, the identity of the pool, is missing. Restore that file");
  expect(readdirSync(folder)).toEqual(["pool"]);
});

it("a pool makes its client key once", async () => {
  let made = 0;
  let atom_id = "a".repeat(64);
  const admin: Pick<AdminClient, "pool" | "createKey"> = {
    pool: async () => ({ atom_id, name: "", description: "" }),
    createKey: async () => ({ id: "1", key: `lk_${++made}` }),
  };
  const save = (url: string) => saveCredentials(folder, { url, publicUrl: url }, "la_x", admin);
  expect((await save("http://127.0.0.1:1")).client_key).toBe("lk_1");
  expect(await save("http://127.0.0.1:2")).toEqual({
    url: "http://127.0.0.1:2",
    atom_id,
    admin_token: "la_x",
    client_key: "lk_1",
  });
  atom_id = "b".repeat(64);
  expect((await save("http://127.0.0.1:2")).client_key).toBe("lk_2");
  expect(mode(join(folder, "credentials.json"))).toBe("600");
  expect(readCredentials(folder)?.atom_id).toBe(atom_id);
});

it.each([
  ["an empty file", undefined],
  ["a broken file", "{"],
  ["JSON of another shape", '{"url":1}'],
])("%s holds no credentials", (_what, text) => {
  if (text !== undefined) writeFileSync(join(folder, "credentials.json"), text);
  expect(readCredentials(folder)).toBeUndefined();
});

it("a start warns of secrets that other users can read, and says what to do", () => {
  loadSecrets(folder);
  const secrets = join(folder, "secrets.json");
  expect(openSecretsWarning(folder)).toBeUndefined();
  chmodSync(secrets, 0o640);
  expect(openSecretsWarning(folder)).toBe(
    `Other users of this machine can read ${secrets}: chmod 600 ${secrets} ${join(folder, "credentials.json")}, and replace the secrets in them.`,
  );
});

it.each([true, false])("a failed first start removes all files that it made; it made the folder: %s", (madeFolder) => {
  const state = join(folder, "state");
  // Miniflare may still be removing its folder for temporary files.
  mkdirSync(join(state, "miniflare-0123456789abcdef0123456789abcdef"), { recursive: true });
  for (const name of ["secrets.json", "first-start", "lock", "workerd.pid", "workerd.pid.new", ".gitignore"])
    writeFileSync(join(state, name), "");
  removeFailedStart(state, madeFolder);
  expect(readdirSync(folder, { recursive: true })).toEqual(madeFolder ? [] : ["state"]);
});

it("a failed first start removes nothing from a folder with files of another program", () => {
  writeFileSync(join(folder, "secrets.json"), "");
  writeFileSync(join(folder, "thesis.txt"), "");
  removeFailedStart(folder, true);
  expect(readdirSync(folder).sort()).toEqual(["secrets.json", "thesis.txt"]);
});
