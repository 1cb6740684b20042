import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { bond, openFederation } from "./federation-support.ts";
import { ligand, type PoolProcess, startPool, temporaryFolder, waitFor } from "./support.ts";

/** A write request of Alder's admin to Birch, by the command line alone. The admin's key is on a machine without a pool. */

let [alder, birch]: PoolProcess[] = [];
const pools = () => [alder, birch] as [PoolProcess, PoolProcess];
const idOf = (pool: PoolProcess) => pool.credentials.atom_id;
const folder = temporaryFolder();
const KEY = join(folder, "admin.key");

beforeAll(async () => {
  [alder, birch] = await Promise.all([startPool(), startPool()]);
  await openFederation(...pools());
  await bond(...pools());
});

/** The admin's own machine has no pool, and no token of one. */
const offline = async (...args: string[]) => {
  const { code, stdout } = await ligand(args, { LIGAND_POOL: "http://127.0.0.1:9" });
  expect(code).toBe(0);
  return stdout;
};
async function at<Answer>(pool: PoolProcess, ...args: string[]): Promise<Answer> {
  const { code, stdout } = await ligand([...args, "--state", pool.stateDir, "--json"]);
  expect({ args, code }).toEqual({ args, code: 0 });
  return JSON.parse(stdout) as Answer;
}
const refusal = async (pool: PoolProcess, ...args: string[]) => {
  const { code, stdout } = await ligand([...args, "--state", pool.stateDir, "--json"]);
  return { exit: code, code: JSON.parse(stdout).error.code };
};

interface Request {
  request_id: string;
  status: string;
}
interface Key {
  key_id: string;
  public_key: string;
}
let key: Key;

describe("a write request", () => {
  it("cannot be accepted before an admin key is registered", async () => {
    const [, birch] = pools();
    expect(await refusal(birch, "policy", "set", "accept_writes=on")).toEqual({
      exit: 1,
      code: "federation/no-admin-key",
    });
    key = JSON.parse(await offline("admin-keys", "new", "--file", KEY, "--json"));
    const added = await at<object>(birch, "admin-keys", "add", key.public_key, "--peer", idOf(pools()[0]).slice(0, 8));
    expect(added).toMatchObject({ key_id: key.key_id, peer: idOf(pools()[0]), is_new: true });
    await at(birch, "policy", "set", "accept_writes=on");
    expect(await at(birch, "policy")).toMatchObject({ policy: { accept_writes: true } });
  });

  it("is printed, signed on the admin's machine, sent, approved, and runs", async () => {
    const [alder, birch] = pools();
    const printed = await ligand(["requests", "send", idOf(birch), "circuit_reset", "--state", alder.stateDir]);
    expect(printed.code).toBe(0);
    const [unsigned, signed] = [join(folder, "request.json"), join(folder, "signed.json")];
    writeFileSync(unsigned, printed.stdout);
    writeFileSync(signed, await offline("admin-keys", "sign", unsigned, "--key", KEY, "--yes"));
    const { request_id } = await at<Request>(alder, "requests", "send", "--signed", signed);
    await waitFor(
      async () => (await at<Request>(alder, "requests", "show", request_id)).status === "pending",
      15_000,
      "the request to wait at the peer",
    );
    expect(await at(birch, "requests", "approve", request_id)).toMatchObject({ status: "executed" });
    await waitFor(
      async () => (await at<Request>(alder, "requests", "show", request_id)).status === "executed",
      15_000,
      "the answer",
    );
    const types = async (pool: PoolProcess) => {
      const { events } = await at<{ events: { type: string }[] }>(pool, "audit", "tail", "--request", request_id);
      return events.map(({ type }) => type);
    };
    expect(await types(birch)).toEqual(
      expect.arrayContaining(["request_received", "request_decided", "request_executed", "request_called_back"]),
    );
    expect(await types(alder)).toEqual(expect.arrayContaining(["request_sent", "request_answered"]));
  });

  it("is refused once the key is removed, which turns accept_writes off", async () => {
    const [, birch] = pools();
    const removed = await at<object>(birch, "admin-keys", "remove", key.key_id.slice(0, 8));
    expect(removed).toMatchObject({ turned_writes_off: true, policy: { accept_writes: false } });
    expect(await at(birch, "admin-keys", "list")).toEqual({ keys: [] });
    expect(await refusal(birch, "admin-keys", "remove", key.key_id)).toEqual({ exit: 1, code: "admin-keys/not-found" });
    const { events } = await at<{ events: { payload: object }[] }>(birch, "audit", "tail", "--type", "policy_changed");
    expect(events.at(-1)?.payload).toMatchObject({ federation: { accept_writes: false } });
  });
});
