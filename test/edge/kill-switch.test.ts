import { applyD1Migrations, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import app from "../../edge/index.ts";
import { checkFederation } from "../../edge/pool/federation-check.ts";
import type { PoolPolicy } from "../../edge/pool/pool-policy-object.ts";
import { FEDERATION_POLICY_DEFAULTS, type FederationPolicy } from "../../schema/wire/federation.ts";
import { freshPool, peerAt } from "./peer-double.ts";
import { admin, ask, eventually } from "./support.ts";

/** SPEC 3.5: off means off, and whatever cannot be asked is off. */

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => vi.restoreAllMocks());

const turn = (federation: "on" | "off") => admin("PATCH", "/federation", { federation });
/** Every route of federation, as Hono knows them: a new one is here without being named. */
const routes = () => [
  ...new Set(
    app.routes
      .filter(({ method, path }) => method !== "ALL" && /^\/(api|v1)\/federation\//.test(path))
      .map(({ method, path }) => `${method} ${path.replace(":id", "0".repeat(64))}`),
  ),
];
const call = (route: string) => {
  const [method = "", path = ""] = route.split(" ");
  return ask(path, { method, ...(method === "POST" && { body: "{}" }) });
};
const answers = async () =>
  Object.fromEntries(await Promise.all(routes().map(async (r) => [r, (await call(r)).status])));
const policy = () =>
  env.POOL_POLICY.getByName("pool") as unknown as DurableObjectStub<PoolPolicy & Rpc.DurableObjectBranded>;

const FAILURES: [how: string, check: (this: PoolPolicy) => unknown][] = [
  ["throws", () => Promise.reject(new Error("broken"))],
  ["never answers", () => new Promise(() => {})],
  ["has lost its state", () => undefined],
  ["says something else", () => ({ federation: "on" })],
  ["says yes", () => "on"],
];
const failing = (check: (this: PoolPolicy) => unknown) =>
  runInDurableObject(policy(), (object) => {
    vi.spyOn(object as PoolPolicy, "check").mockImplementation(check as never);
  });

describe("the kill switch", () => {
  it("closes every federated route of a pool that nobody switched on", async () => {
    expect(routes().length).toBeGreaterThan(12);
    expect(new Set(Object.values(await answers()))).toEqual(new Set([503]));
  });

  it("opens and closes them from the next request on", async () => {
    await turn("on");
    const open = await answers();
    expect(Object.entries(open).filter(([, status]) => status === 503)).toEqual([]);
    expect(open["GET /v1/federation/info"]).toBe(200);
    await turn("off");
    expect(new Set(Object.values(await answers()))).toEqual(new Set([503]));
    const response = await call("GET /v1/federation/info");
    expect(response.headers.get("x-ligand-code")).toBe("federation/disabled");
  });

  it.each(FAILURES)("closes everything when its object %s", async (_how, check) => {
    await turn("on");
    await failing(check);
    expect(new Set(Object.values(await answers()))).toEqual(new Set([503]));
    expect(await checkFederation(env)).toEqual({ open: false, code: "federation/disabled", isSaid: false });
  });

  it("of an older version stays as it was set, with the defaults of what that version did not have", async () => {
    const stored = { ...FEDERATION_POLICY_DEFAULTS, federation: "on", max_peers: 3 };
    await runInDurableObject(policy(), (object) => {
      const { peer_requests_per_minute: _since, ...older } = stored;
      (object as PoolPolicy).federation = older as FederationPolicy;
    });
    expect(await checkFederation(env)).toEqual({ open: true, policy: stored });
  });

  it("lets nothing out while it is off: no call of an admin's reaches the network", async () => {
    const fetched = vi.spyOn(globalThis, "fetch");
    await admin("POST", "/peers", { url: "https://peer.example" }, 503);
    expect(fetched).not.toHaveBeenCalled();
  });

  it("cannot accept writes while no admin key is registered", async () => {
    await admin("PATCH", "/federation", { accept_writes: true }, 409);
  });
});

describe("the kill switch, of what is open already", () => {
  it.each(FAILURES)("ends streams either way, and lets nothing out, when its object %s", async (_how, check) => {
    await freshPool();
    const peer = await peerAt(2, 3);
    // The grant waits for its next try.
    peer.answer = ({ method }) => (method === "POST" ? new Response("busy", { status: 503 }) : undefined);
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 3 }, 200);
    const served = (await peer.send("GET", "/api/federation/stream?audience=peers&since=0")).body?.getReader();
    expect(new TextDecoder().decode((await served?.read())?.value)).toBe(": following\n\n");
    const follows = async () => {
      const { sync } = await admin<{ sync: { followed: { streaming: boolean } }[] }>("GET", `/peers/${peer.id}`);
      return sync.map(({ followed }) => followed.streaming);
    };
    await eventually(async () => (await follows()).every((streaming) => streaming));

    await failing(check);
    const brokenMs = performance.now();
    // Left open, it would say something for five minutes.
    while (!(await served?.read())?.done);
    // One second is what is promised; the other is for a busy machine.
    expect(performance.now() - brokenMs).toBeLessThan(2_000);
    await eventually(async () => !(await follows()).includes(true));
    const said = peer.calls.length;
    await runInDurableObject(peer.bond(), (_bond, { storage }) => {
      expect([...storage.sql.exec("UPDATE deliveries SET next_at_ms = 0 RETURNING id")].length).toBe(1);
    });
    await runDurableObjectAlarm(peer.bond());
    await peer.bond().advanced();
    expect(peer.calls.length).toBe(said);
  });
});
