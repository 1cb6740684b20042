import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePort } from "../../../scripts/runtime/listen-address.ts";
import { dnsNames, publicUrl, readCertificate } from "../../../scripts/runtime/tls-certificate.ts";
import { startTlsFront, type TlsFront } from "../../../scripts/runtime/tls-front.ts";
import { temporaryFolder } from "../../temporary-folder.ts";
import { selfSigned } from "./self-signed.ts";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

describe("the TLS front", () => {
  let server: Server;
  let front: TlsFront;
  let port: number;
  const pools: Socket[] = [];
  const clients: TLSSocket[] = [];
  let arrived: (pool: Socket) => void = () => {};

  beforeEach(async () => {
    // As workerd does: the end of the client's data is not the end of the connection.
    server = createServer({ allowHalfOpen: true }, (pool) => {
      pools.push(pool);
      pool.on("error", () => {});
      arrived(pool);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    port = await freePort("127.0.0.1");
    const inner = (server.address() as AddressInfo).port;
    const certificate = readCertificate(await selfSigned(folder));
    front = await startTlsFront({ host: "127.0.0.1", port }, { host: "127.0.0.1", port: inner }, certificate);
  });
  afterEach(async () => {
    for (const socket of [...clients.splice(0), ...pools.splice(0)]) socket.destroy();
    await front.stop();
    server.close();
  });

  async function pair(): Promise<{ client: TLSSocket; pool: Socket }> {
    const pool = new Promise<Socket>((resolve) => {
      arrived = resolve;
    });
    const client = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    client.on("error", () => {});
    clients.push(client);
    await once(client, "secureConnect");
    return { client, pool: await pool };
  }

  it("passes bytes unchanged in both directions", async () => {
    const { client, pool } = await pair();
    client.write("GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    expect(String((await once(pool, "data"))[0])).toBe("GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    pool.write("HTTP/1.1 200 OK\r\n\r\n");
    expect(String((await once(client, "data"))[0])).toBe("HTTP/1.1 200 OK\r\n\r\n");
  });

  it.each<[how: string, leave: (client: TLSSocket) => void]>([
    ["breaks off", (client) => client.destroy()],
    ["closes", (client) => client.end()],
  ])(
    "a client that %s resets the pool's connection, which the runtime notices without a write",
    async (_how, leave) => {
      const { client, pool } = await pair();
      pool.resume();
      const broken = new Promise<Error>((resolve) => pool.once("error", resolve));
      leave(client);
      expect(await broken).toMatchObject({ code: "ECONNRESET" });
    },
  );

  it("a pool that closes the connection ends the client's too, and its last bytes still arrive", async () => {
    const { client, pool } = await pair();
    const closed = once(client, "close");
    let received = "";
    client.on("data", (chunk) => {
      received += chunk;
    });
    pool.end("last words");
    await closed;
    expect(received).toBe("last words");
  });

  it("a client that does not read stops the pool from writing", async () => {
    const { client, pool } = await pair();
    client.pause();
    const chunk = Buffer.alloc(256 * 1024);
    let sent = 0;
    while (pool.write(chunk)) sent += chunk.length;
    // Whatever the system's buffers hold, a write that waits for its turn does not return while the client does not
    // read.
    const limit = 64 * 1024 * 1024;
    const drained = () =>
      Promise.race([once(pool, "drain").then(() => true), new Promise<false>((r) => setTimeout(() => r(false), 300))]);
    while (sent < limit && (await drained())) while (pool.write(chunk)) sent += chunk.length;
    expect(sent).toBeLessThan(limit);
    const end = once(client, "close");
    client.resume();
    pool.end();
    await end;
  });

  it("a renewed certificate is used for the next client", async () => {
    const before = (await pair()).client.getPeerCertificate().fingerprint256;
    front.use(readCertificate(await selfSigned(folder)));
    const after = (await pair()).client.getPeerCertificate().fingerprint256;
    expect(after).not.toBe(before);
  });

  it.each<[what: string, options: object]>([
    ["TLS 1.1", { maxVersion: "TLSv1.1", minVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" }],
    ["another protocol", { ALPNProtocols: ["h2"] }],
  ])("%s is refused, and the next client is served", async (_what, options) => {
    const client = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
    await expect(once(client, "secureConnect")).rejects.toThrow();
    await pair();
  });

  it("a port in use is reported in one sentence", async () => {
    const certificate = readCertificate(await selfSigned(folder));
    const second = startTlsFront({ host: "127.0.0.1", port }, { host: "127.0.0.1", port: 1 }, certificate);
    await expect(second).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use. Choose another with --port`);
  });
});

describe("the certificate", () => {
  it("is read with the host names that it covers", async () => {
    const files = await selfSigned(folder, { names: ["pool.example", "*.pool.example"] });
    expect(readCertificate(files)).toMatchObject({ names: ["pool.example"], cert: files.cert, key: files.key });
  });

  it("that cannot be used is reported before anything listens", async () => {
    const files = await selfSigned(folder);
    expect(() => readCertificate({ ...files, certFile: "/nowhere" })).toThrow("Cannot read --cert /nowhere (ENOENT)");
    expect(() => readCertificate({ ...files, certFile: files.keyFile })).toThrow("is not a PEM certificate");
    const other = await selfSigned(temporaryFolder());
    expect(() => readCertificate({ ...files, keyFile: other.keyFile })).toThrow("is not the private key of");
    writeFileSync(files.keyFile, "nonsense");
    expect(() => readCertificate(files)).toThrow("is not the private key of");
    const expired = await selfSigned(folder, { notAfter: new Date(Date.now() - 1_000) });
    expect(() => readCertificate(expired)).toThrow("expired at");
  });

  it.each<[alt: string, names: string[]]>([
    ["DNS:Pool.example, DNS:*.pool.example, IP Address:127.0.0.1", ["pool.example"]],
    ["", []],
    ['DNS:"odd, name", DNS:b.example', ["b.example"]],
  ])("with the names %j covers the hosts %j", (alt, names) => expect(dnsNames(alt)).toEqual(names));

  it.each<[host: string, names: string[], url: string]>([
    ["0.0.0.0", ["pool.example"], "https://pool.example:8443"],
    ["127.0.0.1", ["localhost"], "https://localhost:8443"],
    ["pool.internal", ["pool.example"], "https://pool.internal:8443"],
    ["::", [], "https://localhost:8443"],
    ["::1", [], "https://[::1]:8443"],
  ])("for the address %s and the names %j gives the URL %s", (host, names, url) =>
    expect(publicUrl(host, 8443, names)).toBe(url),
  );
});
