import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { beforeAll, describe, expect, it } from "vitest";
import { type PoolProcess, startPool } from "./support.ts";

/** Attacks by a client on the ports that a pool on one machine opens (docs/spec/pool.md#where-it-runs). */

let pool: PoolProcess;
beforeAll(async () => {
  pool = await startPool({ args: ["--no-worker", "--allow-host", "pool.lan"] });
});

interface Answer {
  status: number;
  body: string;
}

/** Sends the headers as given; `fetch` would set Host itself. */
function get(port: number, path: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request({ host: "127.0.0.1", port, path, headers, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    call.on("error", reject).end();
  });
}

const poolPort = () => Number(new URL(pool.url).port);
const host = () => ({ host: new URL(pool.url).host });
const STACK = /\n\s+at |node_modules|\.ts:\d/;

describe("the pool's port", () => {
  it.each<[what: string, headers: Record<string, string>]>([
    ["MF-Original-URL", { "MF-Original-URL": "http://127.0.0.1/healthz" }],
    ["MF-Original-URL of another host", { "MF-Original-URL": "http://evil.example/healthz" }],
    ["MF-Route-Override", { "MF-Route-Override": "closed" }],
    ["MF-CF-Blob", { "MF-CF-Blob": '{"clientIp":"203.0.113.9"}' }],
    ["MF-Disable-Pretty-Error", { "MF-Disable-Pretty-Error": "1", accept: "text/html" }],
    ["CF-Connecting-IP", { "CF-Connecting-IP": "203.0.113.9" }],
    [
      "X-Forwarded-Host",
      { "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9" },
    ],
    ["X-Original-URL", { "X-Original-URL": "/healthz", "X-Rewrite-URL": "/healthz" }],
    ["X-HTTP-Method-Override", { "X-HTTP-Method-Override": "DELETE" }],
  ])("%s has no effect", async (_what, headers) => {
    const without = await get(poolPort(), "/admin/api/pool", { ...host(), "x-request-id": "same" });
    const withIt = await get(poolPort(), "/admin/api/pool", { ...host(), "x-request-id": "same", ...headers });
    expect(withIt).toEqual(without);
    expect(withIt.status).toBe(401);
    expect((await get(poolPort(), "/healthz", { ...host(), ...headers })).status).toBe(200);
  });

  it.each<[name: string, known: boolean]>([
    ["127.0.0.1", true],
    ["localhost", true],
    ["[::1]", true],
    ["pool.lan", true],
    ["pool.lan:1", true],
    ["evil.example", false],
    ["127.0.0.1.evil.example", false],
    ["localhost.evil.example", false],
    ["0.0.0.0", false],
    ["169.254.169.254", false],
  ])("Host %s is accepted: %s", async (name, known) => {
    const answer = await get(poolPort(), "/healthz", { host: name });
    expect(answer.status === 200).toBe(known);
    expect(answer.body).not.toMatch(STACK);
    if (!known) expect(answer.status).toBeLessThan(500);
  });

  it.each<[what: string, path: string, headers: Record<string, string>]>([
    ["a blob that is not JSON", "/nowhere", { "MF-CF-Blob": "{nonsense" }],
    ["Miniflare's own paths", "/cdn-cgi/local/platform-proxy", { "MF-Op": "GET", "MF-Op-Secret": "00" }],
    ["Miniflare's triggers", "/cdn-cgi/local/scheduled", {}],
    ["a malformed path", "/%00%ff/../..//", {}],
    ["an invalid key", "/v1/models", { authorization: "Bearer lk_0_0_0" }],
  ])("%s gets an error without a stack trace", async (_what, path, headers) => {
    const answer = await get(poolPort(), path, { ...host(), ...headers });
    expect(answer.body).not.toMatch(STACK);
    expect(answer.status).toBeGreaterThanOrEqual(400);
  });
});

describe.runIf(process.platform === "linux")("every other port", () => {
  it("exposes nothing of the pool, for any path, header and worker name", async () => {
    const others = [pool.pid, pool.workerdPid()].flatMap(listeningPorts).filter((port) => port !== poolPort());
    // Miniflare's development entry, and the server that workerd calls back.
    expect(others).toHaveLength(2);
    const tries: [path: string, headers: Record<string, string>][] = [
      ["/healthz", {}],
      ["/v1/models", { authorization: `Bearer ${pool.credentials.client_key}` }],
      ...["ligand-pool", "pool", "closed", "core:user:ligand-pool", "", "0", "1", "migrate"].map(
        (name): [string, Record<string, string>] => [
          "/healthz",
          { "MF-Route-Override": name, "MF-Original-URL": `${pool.url}/healthz` },
        ],
      ),
      ["/core/error", { "MF-Original-URL": `${pool.url}/healthz` }],
      [
        "/cdn-cgi/local/platform-proxy",
        { "MF-Op": "GET", "MF-Op-Target": "env", "MF-Op-Key": "ADMIN_TOKEN", "MF-Op-Secret": "00" },
      ],
      ["/cdn-cgi/local/explorer/api", {}],
      ["/cdn-cgi/local/scheduled", {}],
      ["/cdn-cgi/mf/scheduled", {}],
    ];
    for (const port of others) {
      for (const [path, headers] of tries) {
        const answer = await get(port, path, { host: `127.0.0.1:${port}`, ...headers });
        expect([401, 403, 404], `${port}${path} ${JSON.stringify(headers)}`).toContain(answer.status);
        expect(answer.body).not.toMatch(STACK);
        expect(answer.body).not.toContain("ok");
      }
    }
  });

  it("listens on loopback only", () => {
    for (const pid of [pool.pid, pool.workerdPid()]) {
      for (const address of listeningAddresses(pid)) expect(address).toMatch(/^(127\.0\.0\.1|\[::1\]):/);
    }
  });
});

it("a CONNECT request for another host is refused", async () => {
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(poolPort(), "127.0.0.1", () =>
      socket.write("CONNECT pool.example:443 HTTP/1.1\r\nHost: pool.example:443\r\n\r\n"),
    );
    socket.once("data", (bytes) => {
      resolve(bytes.toString("latin1"));
      socket.destroy();
    });
    socket.once("error", reject);
  });
  expect(answer).toMatch(/^HTTP\/1\.1 [45]\d\d /);
  expect(answer).not.toMatch(STACK);
});

/** From /proc: sockets in state LISTEN (0A) whose inode this process holds. */
function listeningAddresses(pid: number): string[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  const rows = ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8")
      .split("\n")
      .slice(1)
      .map((line) => ({ v6: table === "tcp6", fields: line.trim().split(/\s+/) })),
  );
  return rows.flatMap(({ v6, fields }) => {
    const [local = "", state, inode = ""] = [fields[1], fields[3], fields[9]];
    if (state !== "0A" || !inodes.has(inode)) return [];
    const [address = "", port = ""] = local.split(":");
    const shown = address === "0100007F" ? "127.0.0.1" : v6 && address.endsWith("01000000") ? "[::1]" : address;
    return [`${shown}:${Number.parseInt(port, 16)}`];
  });
}

function listeningPorts(pid: number): number[] {
  return listeningAddresses(pid).map((address) => Number(address.slice(address.lastIndexOf(":") + 1)));
}
