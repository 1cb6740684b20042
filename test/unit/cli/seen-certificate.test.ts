import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createSecureContext, createServer, type Server } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { seenCertificate } from "../../../scripts/cli/seen-certificate.ts";
import { temporaryFolder } from "../../temporary-folder.ts";
import { selfSigned } from "../runtime/self-signed.ts";

let folder: string;
let server: Server;
let port: number;
const notAfter = new Date("2031-04-05T06:07:08.000Z");
const named: string[] = [];

beforeAll(async () => {
  folder = temporaryFolder();
  const { cert, key } = await selfSigned(folder, { names: ["pool.invalid"], notAfter });
  server = createServer({
    cert,
    key,
    SNICallback(name, answer) {
      named.push(name);
      answer(null, createSecureContext({ cert, key }));
    },
  }).listen(0, "127.0.0.1");
  server.on("secureConnection", (socket) => socket.on("error", () => {}));
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => {
  server.close();
});

// RFC 6761 section 6.4: a name below .invalid resolves nowhere.
it.each<[what: string, host: string, isHere: boolean, seen: boolean, unresolved: boolean]>([
  ["an address", "127.0.0.1", false, true, false],
  ["the unresolvable name of a pool on this machine", "pool.invalid", true, true, true],
  ["the unresolvable name of a pool elsewhere", "pool.invalid", false, false, true],
])("%s", async (_what, host, isHere, seen, unresolved) => {
  const found = await seenCertificate(new URL(`https://${host}:${port}`), isHere);
  expect(found).toEqual({ validTo: seen ? notAfter : null, unresolved });
  // A server with several names must be asked for this one (SNI).
  if (unresolved && seen) expect(named.at(-1)).toBe("pool.invalid");
});

it("at a closed port there is no certificate, and the name is not the cause", async () => {
  const closedServer = createServer().listen(0, "127.0.0.1");
  await once(closedServer, "listening");
  const { port: closed } = closedServer.address() as AddressInfo;
  closedServer.close();
  await once(closedServer, "close");
  expect(await seenCertificate(new URL(`https://127.0.0.1:${closed}`), true)).toEqual({
    validTo: null,
    unresolved: false,
  });
});
