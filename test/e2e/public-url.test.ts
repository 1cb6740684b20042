import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { IdentityCard } from "../../schema/wire/federation.ts";
import { bond, openFederation } from "./federation-support.ts";
import { ligand, type PoolProcess, startPool } from "./support.ts";

/** A pool whose public URL differs from the address where it listens, as behind a proxy or a tunnel. */

/** Another address of this machine, at which no pool listens by itself. */
const OUTSIDE = "127.0.0.2";
let [alder, birch]: PoolProcess[] = [];
const pools = () => [alder, birch] as [PoolProcess, PoolProcess];
let tunnel: Server;
let publicUrl: string;
let passed = 0;
const sockets = new Set<Socket>();

beforeAll(async () => {
  tunnel = createServer((outer) => {
    passed += 1;
    const inner = connect(Number(new URL(pools()[0].url).port), "127.0.0.1");
    for (const socket of [outer, inner]) sockets.add(socket.on("error", () => socket.destroy()));
    outer.pipe(inner).pipe(outer);
  }).listen(0, OUTSIDE);
  await once(tunnel, "listening");
  const address = tunnel.address();
  publicUrl = `http://${OUTSIDE}:${typeof address === "object" && address !== null ? address.port : 0}`;
  [alder, birch] = await Promise.all([
    startPool({
      args: ["--no-worker", "--public-url", `${publicUrl}/`],
      env: { LIGAND_PUBLIC_URL: "https://elsewhere.example" },
    }),
    startPool({ env: { LIGAND_PUBLIC_URL: "" } }),
  ]);
  await openFederation(...pools());
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  tunnel.close();
});

it("the pool shows its public URL on its card and at the start", async () => {
  const [alder] = pools();
  const card = (await (await fetch(`${alder.url}/v1/federation/info`)).json()) as IdentityCard;
  expect(card.url).toBe(publicUrl);
  expect(alder.credentials.public_url).toBe(publicUrl);
  expect(alder.output()).toContain(`"url":"${publicUrl}"`);
  const listens = new URL(alder.url);
  expect(listens.hostname).toBe("127.0.0.1");
  expect(await (await fetch(`${publicUrl}/v1/federation/info`)).json()).toEqual(card);
});

it("a peer that added the pool reaches it at the public URL: the peer's grant arrives", async () => {
  const [alder, birch] = pools();
  const before = passed;
  await bond(alder, birch);
  expect(await birch.admin.peer(alder.credentials.atom_id)).toMatchObject({ url: publicUrl, received: 3 });
  expect(passed).toBeGreaterThan(before);
});

it("an operator whose public URL is on loopback is warned when federation is switched on, and when a peer elsewhere is added", async () => {
  const [alder, birch] = pools();
  const at = (pool: PoolProcess, ...args: string[]) => ligand([...args, "--state", pool.stateDir]);
  const warned = `This pool's card says ${birch.url}, which works only on this machine.`;
  const how = "npm start -- --public-url URL";
  const on = await at(birch, "federation", "on");
  expect(on).toMatchObject({ code: 0, stderr: expect.stringContaining(warned) });
  expect(on.stderr).toContain(how);
  const onForProgram = await at(birch, "federation", "on", "--json");
  expect(JSON.parse(onForProgram.stdout)).toMatchObject({ policy: { federation: "on" }, warning: on.stderr.trim() });
  expect(onForProgram.stderr).toBe("");
  // It does not read as loopback, although it is this machine.
  const elsewhere = await startPool({ env: { LIGAND_PUBLIC_URL: "http://0.0.0.0:80" } });
  await openFederation(elsewhere);
  const url = `http://0.0.0.0:${new URL(elsewhere.url).port}`;
  expect(await at(birch, "peers", "add", url)).toMatchObject({ code: 0, stderr: on.stderr });
  expect(await at(birch, "peers", "add", elsewhere.url)).toMatchObject({ code: 0, stderr: "" });
  await elsewhere.admin.changeFederation({ allow_private_peers: false });
  expect(await at(birch, "peers", "add", url)).toMatchObject({ code: 1, stderr: expect.stringContaining(warned) });
  expect(alder.output()).not.toContain("works only on this machine");
});
