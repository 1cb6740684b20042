import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Access, type AccessSources, findAccess, localState, type Secret } from "../../../scripts/cli/access.ts";
import { normalUrl } from "../../../worker-agent/cli/shared/pool-flag.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

const LOCAL = "http://127.0.0.1:8787";
const credentials = { url: LOCAL, atom_id: "0", admin_token: "la_local", client_key: "lk_local" };
const ok = (url: string, secret: string): Access => ({ ok: true, url, secret });

describe("where the pool is and what opens it", () => {
  it.each<[what: string, kind: Secret, given: Partial<AccessSources>, want: Access]>([
    ["the local pool, as admin", "admin", { credentials }, ok(LOCAL, "la_local")],
    ["the local pool, as client", "client", { credentials }, ok(LOCAL, "lk_local")],
    [
      "another pool with the environment's token",
      "admin",
      { pool: "https://b", env: { LIGAND_ADMIN_TOKEN: "t" }, credentials },
      ok("https://b", "t"),
    ],
    [
      "the environment's token before the file's",
      "admin",
      { env: { LIGAND_ADMIN_TOKEN: "t" }, credentials },
      ok(LOCAL, "t"),
    ],
    ["the same pool with a slash", "admin", { pool: `${LOCAL}/`, credentials }, ok(LOCAL, "la_local")],
    ["empty variables are absent", "admin", { env: { LIGAND_ADMIN_TOKEN: "" }, credentials }, ok(LOCAL, "la_local")],
    [
      "a client key of the environment",
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
    ["no URL", "admin", "pool", {}, "is not the URL of a pool"],
  ])("local credentials never go to %s", (_what, kind, pool, env, says) => {
    const found = findAccess(kind, { pool, env, credentials });
    expect(found.ok ? "" : found.message).toContain(says);
  });

  it("no pool at all says how to get one", () => {
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
])("%s is the pool %s", (given, want) => expect(normalUrl(given)).toBe(want));

describe("a state folder", () => {
  const folder = temporaryFolder();

  it("without credentials.json, and with one that is broken, is told apart", () => {
    expect(() => localState({ state: folder })).toThrow("There is no ");
    for (const text of ["{", '{"url":1}']) {
      writeFileSync(join(folder, "credentials.json"), text);
      expect(() => localState({ state: folder })).toThrow(/credentials\.json is damaged\. Start the pool again/);
    }
  });
});
