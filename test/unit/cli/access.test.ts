import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Access, type AccessSources, findAccess, localState, type Secret } from "../../../scripts/cli/access.ts";
import { normalUrl } from "../../../worker-agent/cli/shared/pool-flag.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

const LOCAL = "http://127.0.0.1:8787";
const credentials = { url: LOCAL, atom_id: "0", admin_token: "la_local", client_key: "lk_local" };
const ok = (url: string, secret: string): Access => ({ ok: true, url, secret });

describe("which pool a command uses, and which secret", () => {
  it.each<[what: string, kind: Secret, given: Partial<AccessSources>, want: Access]>([
    ["the local pool, with the admin token", "admin", { credentials }, ok(LOCAL, "la_local")],
    ["the local pool, with the client key", "client", { credentials }, ok(LOCAL, "lk_local")],
    [
      "another pool, with the token of the environment",
      "admin",
      { pool: "https://b", env: { LIGAND_ADMIN_TOKEN: "t" }, credentials },
      ok("https://b", "t"),
    ],
    [
      "the token of the environment before the one of the file",
      "admin",
      { env: { LIGAND_ADMIN_TOKEN: "t" }, credentials },
      ok(LOCAL, "t"),
    ],
    ["the same pool with a trailing slash", "admin", { pool: `${LOCAL}/`, credentials }, ok(LOCAL, "la_local")],
    [
      "an empty variable counts as absent",
      "admin",
      { env: { LIGAND_ADMIN_TOKEN: "" }, credentials },
      ok(LOCAL, "la_local"),
    ],
    [
      "a client key from the environment",
      "client",
      { pool: "https://b/", env: { LIGAND_KEY: "k" } },
      ok("https://b", "k"),
    ],
  ])("%s", (_what, kind, given, want) =>
    expect(findAccess(kind, { pool: undefined, env: {}, credentials: undefined, ...given })).toEqual(want),
  );

  it.each<[what: string, kind: Secret, pool: string, env: AccessSources["env"], says: string]>([
    [
      "another host",
      "admin",
      "https://pool.example",
      {},
      "There is no admin token for https://pool.example. Set LIGAND_ADMIN_TOKEN",
    ],
    ["another port", "admin", "http://127.0.0.1:8788", {}, "Set LIGAND_ADMIN_TOKEN"],
    [
      "another scheme",
      "client",
      "https://127.0.0.1:8787",
      {},
      "There is no client key for https://127.0.0.1:8787. Set LIGAND_KEY",
    ],
    ["another path", "admin", `${LOCAL}/other`, {}, "Set LIGAND_ADMIN_TOKEN"],
    ["another name of the same host", "admin", "http://localhost:8787", {}, "Set LIGAND_ADMIN_TOKEN"],
    ["the other kind of secret", "admin", "https://pool.example", { LIGAND_KEY: "k" }, "Set LIGAND_ADMIN_TOKEN"],
    ["an invalid URL", "admin", "pool", {}, "is not the URL of a pool"],
  ])("local credentials are never sent to %s", (_what, kind, pool, env, says) => {
    const found = findAccess(kind, { pool, env, credentials });
    expect(found.ok ? "" : found.message).toContain(says);
  });

  it("a command without a pool fails and says how to start one", () => {
    const found = findAccess("admin", { pool: undefined, env: {}, credentials: undefined });
    expect(found.ok ? "" : found.message).toContain("npm start");
  });
});

it.each<[given: string, want: string | undefined]>([
  ["http://127.0.0.1:8787/", LOCAL],
  ["HTTP://Pool.Example:80/a//", "http://pool.example/a"],
  ["https://user@pool.example", undefined],
  ["ftp://pool.example", undefined],
  ["pool.example", undefined],
  ["", undefined],
])("the pool URL %s becomes %s", (given, want) => expect(normalUrl(given)).toBe(want));

describe("the state folder", () => {
  const folder = temporaryFolder();

  it("a missing credentials.json and a broken one give different errors", () => {
    expect(() => localState({ state: folder })).toThrow("There is no ");
    for (const text of ["{", '{"url":1}']) {
      writeFileSync(join(folder, "credentials.json"), text);
      expect(() => localState({ state: folder })).toThrow(/credentials\.json is damaged\. Start the pool again/);
    }
  });
});
