import { once } from "node:events";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { authority, type Certificate } from "../unit/runtime/self-signed.ts";
import { bodyOf, bond, logOf, openFederation, streams } from "./federation-support.ts";
import { type PoolProcess, startPool, startRefused, startWorker, temporaryFolder, waitFor } from "./support.ts";

/** Pools under a private authority. Each pool checks the certificate of the other, over real TLS. */

let served: PoolProcess;
let trusting: PoolProcess;
let ignorant: PoolProcess;
let ca: Awaited<ReturnType<typeof authority>>;
const servers: Server[] = [];

beforeAll(async () => {
  ca = await authority(temporaryFolder());
  const { certFile, keyFile } = await ca.issue(temporaryFolder());
  const env = { NODE_EXTRA_CA_CERTS: ca.certFile };
  [served, trusting, ignorant] = await Promise.all([
    startPool({ args: ["--no-worker", "--cert", certFile, "--key", keyFile] }),
    startPool({ env }),
    startPool(),
  ]);
  await openFederation(served, trusting, ignorant);
});
afterAll(() => {
  for (const server of servers) server.close();
});

/** The pool at the URL that other pools use. */
const outside = (pool: PoolProcess) => ({ ...pool, url: pool.credentials.public_url ?? "" });

const codeOf = (pool: PoolProcess, url: string) =>
  pool.admin.addPeer({ url }).then(
    () => "added",
    (error: { code: string }) => error.code,
  );

it("two pools register over https, bond, and an event of one reaches the other by a stream", async () => {
  const other = outside(served);
  expect(other.url).toMatch(/^https:\/\/localhost:\d+$/);
  await bond(trusting, other);
  await waitFor(async () => !(await streams(trusting, served)).includes(false), 15_000, "streams both ways");
  await startWorker(served);
  const joined = { type: "worker_joined", origin: served.credentials.atom_id };
  await waitFor(
    async () =>
      (await logOf(trusting, "all"))
        .map(bodyOf)
        .some(({ type, origin }) => type === joined.type && origin === joined.origin),
    5_000,
    "the event to arrive at the other",
  );
});

it("a pool that does not know the authority refuses the connection", async () => {
  expect(await codeOf(ignorant, outside(served).url)).toBe("federation/untrusted-certificate");
  expect(await served.admin.peers()).not.toContainEqual(
    expect.objectContaining({ atom_id: ignorant.credentials.atom_id }),
  );
});

describe("a pool that knows the authority", () => {
  let requests = 0;
  const serve = async ({ cert, key }: Certificate): Promise<string> => {
    const server = createServer({ cert, key }, (_request, response) => {
      requests += 1;
      response.end("{}");
    });
    servers.push(server.listen(0, "127.0.0.1"));
    server.on("tlsClientError", () => {});
    await once(server, "listening");
    return `https://localhost:${(server.address() as AddressInfo).port}`;
  };

  it.each<[what: string, issued: Parameters<typeof ca.issue>[1], code: string, arrives: number]>([
    ["accepts a certificate for the host's name", {}, "unreachable", 1],
    [
      "sends nothing to a server with a certificate for another host",
      { names: ["other.example"] },
      "wrong-certificate",
      0,
    ],
    [
      "sends nothing to a server whose certificate has expired",
      { notAfter: new Date(Date.now() - 60_000) },
      "expired-certificate",
      0,
    ],
  ])("%s", async (_what, issued, code, arrives) => {
    const url = await serve(await ca.issue(temporaryFolder(), issued));
    const before = requests;
    expect(await codeOf(trusting, url)).toBe(`federation/${code}`);
    expect(requests - before).toBe(arrives);
  });
});

it("a start that cannot read the authorities file fails and says what to do", async () => {
  const missing = join(temporaryFolder(), "none.pem");
  const { code, stderr } = await startRefused({ env: { NODE_EXTRA_CA_CERTS: missing } });
  expect(code).toBe(1);
  expect(stderr).toContain(`NODE_EXTRA_CA_CERTS names ${missing}, which cannot be read (ENOENT).`);
});
