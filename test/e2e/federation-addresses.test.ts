import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toHex } from "../../schema/crypto/bytes.ts";
import { ERRORS } from "../../schema/wire/errors.ts";
import { freePort } from "../../scripts/runtime/listen-address.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { type PoolProcess, startPool, waitFor } from "./support.ts";

/**
 * docs/spec/federation.md#delivery: the address that a name resolves to decides, not its spelling. A server on loopback
 * counts the connections that arrive.
 */

let pool: PoolProcess;
let port: number;
let connections = 0;
const servers: Server[] = [];
/** The machine may have no IPv6; no connection can then arrive over it. */
const HAS_IPV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));

beforeAll(async () => {
  pool = await startPool();
  port = await freePort("127.0.0.1");
  for (const host of ["127.0.0.1", ...(HAS_IPV6 ? ["::1"] : [])]) {
    const server = createServer((socket) => {
      connections += 1;
      socket.on("error", () => {}).destroy();
    });
    servers.push(server.listen(port, host));
    await once(server, "listening");
  }
});
afterAll(() => {
  for (const server of servers) server.close();
});

/** Names that this machine itself resolves to loopback. The resolver's answer counts, not the name. */
function namesOfLoopback(): string[] {
  const lines = readFileSync("/etc/hosts", "utf8").split("\n");
  return lines.flatMap((line) => {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    return address.startsWith("127.") || address === "::1" ? names : [];
  });
}

const SPELLINGS = [
  ...new Set([
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "１２７．０．０．１",
    "LOCALHOST",
    ...namesOfLoopback(),
  ]),
];

const codeOf = async (url: string) =>
  pool.admin.addPeer({ url }).then(
    () => "added",
    (error: { code: string }) => error.code,
  );

describe("while private peers are not allowed", () => {
  it.each([...SPELLINGS, "localhost."])("%s is not called", async (host) => {
    // Whether a resolver knows the name with its trailing dot depends on the machine.
    const codes =
      host === "localhost." ? /^federation\/(private-address|unknown-host)$/ : /^federation\/private-address$/;
    expect(await codeOf(`https://${host}:${port}`)).toMatch(codes);
    expect(await codeOf(`http://${host}:${port}`)).toBe("federation/private-address");
    expect(connections).toBe(0);
  });

  it("a peer whose card has such a URL is not called, although messages wait for it", async () => {
    const peer = await ScriptedPeer.start();
    await expect(peer.register(pool)).rejects.toThrow("refused");
    await peer.register(pool, `https://localhost:${port}`);
    // Each grant is a delivery, and at level 2 this pool also follows the peer.
    for (const level of [2, 1, 2, 1, 2] as const) await pool.admin.trustPeer(peer.id, level);
    await peer.grant(pool, 2);
    await waitFor(async () => (await pool.admin.peer(peer.id)).circuit === "open", 15_000, "the circuit to open");
    expect(connections).toBe(0);
  });

  it("a handshake that asks for a call back to such a URL is not called back", async () => {
    const peer = await ScriptedPeer.start();
    const body = { atom_id: peer.id, name: "scripted", pubkey_hex: toHex(peer.signer.publicKey) };
    const url = `https://localhost:${port}`;
    const answer = await peer.ask(pool, "POST", "/v1/federation/handshake", { ...body, url });
    expect(answer.headers.get("x-ligand-code")).toBe("federation/registration-refused");
    // Only our own admin may learn what is at that address.
    const { message, remedy } = ERRORS["federation/registration-refused"];
    expect(await answer.json()).toMatchObject({ error: { message: `${message} ${remedy}` } });
    expect(connections).toBe(0);
  });
});

it("the runtime's notes about these calls, and the addresses, stay out of the log", async () => {
  expect(pool.output()).not.toMatch(/pool error|wdErrId|is not allowed/);
});

describe("while plain http is allowed, and private peers are not", () => {
  beforeAll(async () => {
    await pool.admin.changeFederation({ allow_plain_http: true });
  });
  afterAll(async () => {
    await pool.admin.changeFederation({ allow_plain_http: false });
  });

  it.each(SPELLINGS)("%s is not called over http", async (host) => {
    expect(await codeOf(`http://${host}:${port}`)).toBe("federation/private-address");
    expect(connections).toBe(0);
  });
});

describe("while private peers are allowed", () => {
  beforeAll(async () => {
    await pool.admin.changeFederation({ allow_private_peers: true });
  });

  it.each(SPELLINGS.filter((host) => HAS_IPV6 || !host.includes("::1]")))(
    "%s is called over http and https, and the connection ends",
    async (host) => {
      for (const [scheme, code] of [
        ["http", "federation/no-connection"],
        ["https", "federation/tls-failed"],
      ]) {
        const before = connections;
        expect(await codeOf(`${scheme}://${host}:${port}`)).toBe(code);
        expect(connections).toBeGreaterThan(before);
      }
    },
  );
});
