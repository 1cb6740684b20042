import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { getTableName } from "drizzle-orm";
import { Hono } from "hono";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { HANDLERS } from "../../edge/federation/inbox/actions.ts";
import { identityRoutes } from "../../edge/federation/peering/identity-routes.ts";
import { federationApi } from "../../edge/federation/routes.ts";
import { type PeerEnv, signedPeer } from "../../edge/federation/signing/signed-peer.ts";
import { signAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { revenueLedger, settlements, slashingEvents, workerShares } from "../../schema/db/economy.ts";
import { ACTIONS, type ActionName } from "../../schema/wire/admin-requests.ts";
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { freshPool, type PeerDouble, peerAt, setPolicy, US } from "./peer-double.ts";
import { admin } from "./support.ts";

/**
 * docs/spec/federation.md#the-wallet-rule: a bonded peer walks every federated route and every action, and no economic table
 * changes. The routes come from the router and the actions from the registry, so that a new one is walked too.
 */

const TABLES = [revenueLedger, slashingEvents, workerShares, settlements].map(getTableName);
const ALL_ON = {
  accept_reads: true,
  accept_writes: true,
  legacy_signatures: "all",
  require_mutual: false,
  auto_accept_known: true,
  allow_private_peers: true,
} as const satisfies Partial<FederationPolicy>;

let peer: PeerDouble;
let key: Signer;

/** A new peer: the write of an earlier one has started a cooldown. */
async function bondPeer(): Promise<void> {
  peer = await peerAt(3, 3);
  key = await signerFrom(generateSecretKey());
  await admin("POST", "/admin-keys", { public_key: toHex(key.publicKey), peer: peer.id });
}

beforeAll(() => freshPool());
beforeEach(bondPeer);

type App = Pick<Hono<PeerEnv>, "fetch" | "routes">;

/** The routes that a peer can reach. The admin's routes under `/peers` are not among them: they need an admin token. */
const reachable = () =>
  new Hono<PeerEnv>()
    .use("*", async (c, next) => {
      c.set("requestId", "walk");
      await next();
    })
    .route("/api/federation", federationApi)
    .route("/v1/federation", identityRoutes);

async function writeOf(action_type: ActionName): Promise<object> {
  const contents = { request_id: `walk_${crypto.randomUUID()}`, action_type, action_params: {} };
  const signed = { ...contents, origin: peer.id, destination: US };
  const admin_signature = await signAdminRequest(key, signed, Math.floor(Date.now() / 1_000) + 3_600);
  return { ...contents, origin_pool_id: peer.id, from_admin_email: null, admin_signature };
}

/** A body with which the route does what it can do. Undefined: the route takes none. */
const BODIES: Record<string, () => Promise<unknown> | unknown> = {
  "GET /api/federation/identity": () => undefined,
  "GET /api/federation/events": () => undefined,
  "GET /api/federation/stream": () => undefined,
  "GET /api/federation/status": () => undefined,
  "GET /v1/federation/info": () => undefined,
  "GET /v1/federation/molecule": () => undefined,
  "POST /api/federation/events": async () => ({ events: [{ event: await peer.event(), ttl: 3 }] }),
  "POST /api/federation/register": () => ({ card: peer.card(), challenge: "ab".repeat(32) }),
  "POST /api/federation/register/confirm": () => ({
    card: peer.card(),
    challenge: "ab".repeat(32),
    proof: `${"A".repeat(86)}==`,
  }),
  "POST /v1/federation/handshake": () => ({
    atom_id: peer.id,
    name: "double",
    pubkey_hex: toHex(peer.signer.publicKey),
    url: peer.url,
  }),
  "POST /v1/federation/verify": () => ({ atom_id: peer.id, challenge_b64: `${"A".repeat(43)}=` }),
  "POST /v1/federation/peer/status": () => ({ origin_pool_id: peer.id }),
  "POST /v1/federation/admin/request": () => writeOf("query_events"),
  "POST /v1/federation/admin/callback": () => ({
    request_id: "walk",
    origin_pool_id: peer.id,
    final_status: "executed",
    execution_result: null,
  }),
};

/** `METHOD path` of each route, without the admin's and without middleware. */
function routesOf({ routes }: App): string[] {
  const own = routes.filter(({ method, path }) => method !== "ALL" && !path.startsWith("/api/federation/peers"));
  return [...new Set(own.map(({ method, path }) => `${method} ${path}`))];
}

async function economy(): Promise<string> {
  const tables = await Promise.all(
    TABLES.map(async (table) => [table, (await env.DB.prepare(`SELECT * FROM ${table} ORDER BY id`).all()).results]),
  );
  return JSON.stringify(tables);
}

interface Walked {
  /** What changed an economic table: routes and actions. */
  culprits: string[];
  /** Status by route and action. */
  statuses: Record<string, number>;
}

/** Walks all routes, then asks for every action and lets our admin approve what landed. */
async function walk(app: App): Promise<Walked> {
  const culprits: string[] = [];
  const statuses: Record<string, number> = {};
  const watched = async (what: string, act: () => Promise<number>) => {
    const before = await economy();
    statuses[what] = await act();
    if ((await economy()) !== before) culprits.push(what);
  };
  const send = async (method: string, path: string, body: unknown): Promise<number> => {
    const ctx = createExecutionContext();
    const response = await app.fetch(await peer.request(method, path, body), env, ctx);
    await response.body?.cancel();
    await waitOnExecutionContext(ctx);
    return response.status;
  };
  for (const route of routesOf(app)) {
    const [method = "", path = ""] = route.split(" ");
    const body = BODIES[route];
    if (body === undefined) throw new Error(`the walk has no request for ${route}`);
    await watched(route, async () => send(method, path, await body()));
  }
  for (const name of Object.keys(ACTIONS) as ActionName[]) {
    await watched(`action ${name}`, async () => {
      const body = (await writeOf(name)) as { request_id: string };
      const status = await send("POST", "/v1/federation/admin/request", body);
      if (status === 202) await admin("POST", `/requests/received/${peer.id}/${body.request_id}/approve`, {}, 200);
      return status;
    });
  }
  return { culprits, statuses };
}

/** Writes to the ledger, as a route or an action that forgot the rule would do. */
async function steal(): Promise<void> {
  const insert =
    "INSERT INTO revenue_ledger (id, account, amount_micro, reference, entered_at_ms) VALUES (?, 'a', 1, 'r', 1)";
  await env.DB.prepare(insert).bind(crypto.randomUUID()).run();
}

const withRoute = (touchesEconomy: boolean): App =>
  reachable().post(
    "/v1/federation/peer/status/steal",
    signedPeer({ legacy: "never", rate: "request", minTrust: 3, touchesEconomy }),
    async (c) => {
      await steal();
      return c.json({});
    },
  );

describe("no economic table changes", () => {
  it("at a fresh pool", async () => {
    const { culprits, statuses } = await walk(reachable());
    expect(culprits).toEqual([]);
    // The walk reaches the routes: what a bonded peer may do is answered, and a write is refused.
    expect(statuses).toMatchObject({
      "GET /v1/federation/molecule": 200,
      "POST /v1/federation/admin/request": 202,
      "action query_events": 202,
      "action circuit_reset": 403,
    });
  });

  it("with all switches on and every action approved", async () => {
    await setPolicy({ ...ALL_ON });
    const { culprits, statuses } = await walk(reachable());
    expect(culprits).toEqual([]);
    expect(statuses).toMatchObject({ "action query_events": 202, "action circuit_reset": 202 });
  });
});

describe("the walk notices", () => {
  // The walks before have used up the rate of registrations.
  beforeAll(() => freshPool());
  beforeEach(async () => {
    await setPolicy({ ...ALL_ON });
    BODIES["POST /v1/federation/peer/status/steal"] = () => ({});
  });

  it("a route that touches a table and says that it does not", async () => {
    expect((await walk(withRoute(false))).culprits).toEqual(["POST /v1/federation/peer/status/steal"]);
  });

  it("a route that it has no request for", async () => {
    delete BODIES["POST /v1/federation/peer/status/steal"];
    await expect(walk(withRoute(false))).rejects.toThrow("no request for POST /v1/federation/peer/status/steal");
  });

  it("an action that touches a table and says that it does not", async () => {
    const honest = HANDLERS.circuit_reset;
    const run = async () => {
      await steal();
      return { ok: true, result: {} } as const;
    };
    Object.assign(HANDLERS, { circuit_reset: { ...honest, run } });
    try {
      expect((await walk(reachable())).culprits).toEqual(["action circuit_reset"]);
      // With its switch, the action is refused until the operator opens it.
      Object.assign(HANDLERS, { circuit_reset: { ...honest, run, touchesEconomy: true } });
      expect(await walk(reachable())).toMatchObject({ culprits: [], statuses: { "action circuit_reset": 403 } });
    } finally {
      Object.assign(HANDLERS, { circuit_reset: honest });
    }
  });

  it("nothing at a route that says so: it is closed until the operator opens it", async () => {
    const steals = "POST /v1/federation/peer/status/steal";
    expect(await walk(withRoute(true))).toMatchObject({ culprits: [], statuses: { [steals]: 403 } });
    await setPolicy({ accept_settlement: true });
    expect((await walk(withRoute(true))).culprits).toEqual([steals]);
  });
});
