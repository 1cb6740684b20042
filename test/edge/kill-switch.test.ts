import { applyD1Migrations, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import app from "../../edge/index.ts";
import { checkFederation, readFederationPolicy } from "../../edge/pool/federation-check.ts";
import type { PoolPolicy } from "../../edge/pool/pool-policy-object.ts";
import { freshNonce, SIGNATURE_HEADERS } from "../../schema/crypto/request-signature.ts";
import { FEDERATION_POLICY_DEFAULTS, type FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { inBond } from "./bond-parts.ts";
import { freshPool, peerAt, US } from "./peer-double.ts";
import { admin, ask, eventually } from "./support.ts";

/** `off` takes effect within a tenth of a second, and a switch that cannot be read counts as `off`. */

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => vi.restoreAllMocks());

const turn = (federation: "on" | "off") => admin("PATCH", "/federation", { federation });
/** Every federated route, from Hono's own list, so that a new route is tested too. */
const routes = () => [
  ...new Set(
    app.routes
      .filter(({ method, path }) => method !== "ALL" && /^\/(api|v1)\/federation\//.test(path))
      .map(({ method, path }) => `${method} ${path.replace(":id", "0".repeat(64))}`),
  ),
];
/** Well-formed headers for this pool and this moment, with an invalid signature. */
const shapely = () => ({
  [SIGNATURE_HEADERS.version]: "2",
  [SIGNATURE_HEADERS.atomId]: "a".repeat(64),
  [SIGNATURE_HEADERS.destination]: US,
  [SIGNATURE_HEADERS.timestamp]: String(Math.floor(Date.now() / 1_000)),
  [SIGNATURE_HEADERS.nonce]: freshNonce(),
  [SIGNATURE_HEADERS.signature]: `${"A".repeat(86)}==`,
});
const call = (route: string, changed: Record<string, string> = {}) => {
  const [method = "", path = ""] = route.split(" ");
  const headers = { ...shapely(), authorization: `Bearer ${env.ADMIN_TOKEN}`, ...changed };
  return ask(path, { method, headers, ...(method === "POST" && { body: "{}" }) });
};
const answers = async () =>
  Object.fromEntries(await Promise.all(routes().map(async (r) => [r, (await call(r)).status])));
const policy = () =>
  env.POOL_POLICY.getByName("pool") as unknown as DurableObjectStub<PoolPolicy & Rpc.DurableObjectBranded>;

const FAILURES: [how: string, check: (this: PoolPolicy) => unknown][] = [
  ["throws", () => Promise.reject(new Error("broken"))],
  ["never answers", () => new Promise(() => {})],
  ["has lost its state", () => undefined],
  ["returns another shape", () => ({ federation: "on" })],
  ["returns a string", () => "on"],
];
const failing = (check: (this: PoolPolicy) => unknown) =>
  runInDurableObject(policy(), (object) => {
    vi.spyOn(object as PoolPolicy, "check").mockImplementation(check as never);
  });

describe("the kill switch", () => {
  it("closes every federated route of a pool whose federation was never switched on", async () => {
    expect(routes().length).toBeGreaterThan(12);
    expect(new Set(Object.values(await answers()))).toEqual(new Set([503]));
  });

  it("opens and closes them immediately in the isolate that changed it", async () => {
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
    expect(await checkFederation(env)).toEqual({ open: false, code: "federation/disabled", isKnown: false });
  });

  it("keeps the value that an earlier release stored, with defaults for newer switches", async () => {
    const stored = { ...FEDERATION_POLICY_DEFAULTS, federation: "on", max_peers: 3 };
    await runInDurableObject(policy(), (object) => {
      const { peer_requests_per_minute: _since, ...older } = stored;
      (object as PoolPolicy).federation = older as FederationPolicy;
    });
    expect(await readFederationPolicy(env)).toEqual(stored);
  });

  it("stops outbound calls while it is off: no action of an admin reaches the network", async () => {
    const fetched = vi.spyOn(globalThis, "fetch");
    await admin("POST", "/peers", { url: "https://peer.example" }, 503);
    expect(fetched).not.toHaveBeenCalled();
  });

  it("cannot accept writes while no admin key is registered", async () => {
    await admin("PATCH", "/federation", { accept_writes: true }, 409);
  });
});

/** How often the object was read, and the requests that were answered meanwhile. */
async function asked(send: () => Promise<unknown>): Promise<{ times: number; tookMs: number }> {
  const checks = await runInDurableObject(policy(), (object) => vi.spyOn(object as PoolPolicy, "check"));
  const startedMs = performance.now();
  await send();
  return { times: checks.mock.calls.length, tookMs: performance.now() - startedMs };
}

describe("junk", () => {
  const SIGNED = "POST /api/federation/events";

  it.each<[what: string, changed: Record<string, string>]>([
    ["with no shape", { [SIGNATURE_HEADERS.signature]: "junk" }],
    ["from another time", { [SIGNATURE_HEADERS.timestamp]: "1" }],
    ["for another pool", { [SIGNATURE_HEADERS.destination]: "b".repeat(64) }],
    ["in our own name", { [SIGNATURE_HEADERS.atomId]: US }],
  ])("%s asks the switch nothing", async (_what, changed) => {
    await turn("on");
    const signed = routes().filter((route) => !/identity|info|peers/.test(route));
    const found = await asked(async () => {
      for (const route of signed) expect((await call(route, changed)).status, route).toBe(401);
    });
    expect(signed.length).toBeGreaterThan(6);
    expect(found.times).toBe(0);
  });

  it.each([SIGNED, "GET /v1/federation/info"])(
    "to %s shares one read of the switch for a tenth of a second",
    async (route) => {
      await turn("on");
      const { times, tookMs } = await asked(async () => {
        for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 20 }, () => call(route)));
      });
      expect(times).toBeGreaterThan(0);
      expect(times).toBeLessThanOrEqual(1 + Math.ceil(tookMs / LIMITS.switchesSharedMs));
    },
  );

  it("shares a read whose answer is late", async () => {
    await turn("on");
    let times = 0;
    await failing(() => {
      times += 1;
      return new Promise(() => {});
    });
    const startedMs = performance.now();
    const statuses = await Promise.all(Array.from({ length: 50 }, async () => (await call(SIGNED)).status));
    expect(new Set(statuses)).toEqual(new Set([503]));
    expect(times).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - startedMs) / LIMITS.switchesSharedMs));
  });
});

describe("the kill switch, for open streams", () => {
  it.each(FAILURES)(
    "ends streams in both directions, and stops outbound calls, when its object %s",
    async (_how, check) => {
      await freshPool();
      const peer = await peerAt(2, 3);
      // The grant is pending until its next retry.
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
      // An open stream would send events for five minutes.
      while (!(await served?.read())?.done);
      await eventually(async () => !(await follows()).includes(true));
      const callsBefore = peer.calls.length;
      await inBond(peer, ({ deliveries }) => {
        expect(deliveries.waiting()).toBe(1);
        deliveries.retryNow(Date.now());
      });
      await runDurableObjectAlarm(peer.bond());
      await peer.bond().notifyOfNewEvents();
      expect(peer.calls.length).toBe(callsBefore);
    },
  );
});
