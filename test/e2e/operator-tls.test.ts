import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request } from "node:https";
import { connect } from "node:tls";
import { beforeAll, expect, it } from "vitest";
import { credentialsFile } from "../../scripts/runtime/credentials.ts";
import { selfSigned } from "../unit/runtime/self-signed.ts";
import { ligand, type PoolProcess, startPool, startRefused, startWorker, temporaryFolder, waitFor } from "./support.ts";

/** `npm start -- --cert --key`: clients and workers use TLS, with a certificate that they are configured to trust. */
const folder = temporaryFolder();
let pool: PoolProcess;
let files: Awaited<ReturnType<typeof selfSigned>>;
let url: string;
let trust: { NODE_EXTRA_CA_CERTS: string };

beforeAll(async () => {
  files = await selfSigned(folder);
  trust = { NODE_EXTRA_CA_CERTS: files.certFile };
  pool = await startPool({
    args: ["--no-worker", "--host", "0.0.0.0", "--cert", files.certFile, "--key", files.keyFile],
  });
  url = pool.credentials.public_url ?? "";
  await startWorker({ ...pool, url }, { env: trust, slots: 2 });
});

interface Answer {
  status: number | undefined;
  body: string;
}
async function get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const asked = request(`${url}${path}`, { ca: files.cert, servername: "localhost", headers }).end();
  const [response] = await once(asked, "response");
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, body };
}
const key = () => ({ authorization: `Bearer ${pool.credentials.client_key}` });
const fingerprint = async () => {
  const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1", ca: files.cert });
  await once(socket, "secureConnect");
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
};

it("the pool is served beyond loopback under the certificate's name; programs on this machine still reach it on loopback", async () => {
  expect(url).toMatch(/^https:\/\/localhost:\d+$/);
  expect(pool.output()).toContain(`"url":"${url}"`);
  expect(pool.credentials.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect((await get("/v1/models", key())).body).toContain("ligand-embedded");
});

it.each<[what: string, args: () => string[], code: number]>([
  ["an operator", () => ["pool", "workers"], 1],
  ["a follower of the log", () => ["events", "tail", "--follow"], 1],
  ["a client", () => ["chat", "Hello?"], 1],
  ["a worker", () => ["worker", "start", "--state", temporaryFolder()], 6],
])("%s that does not trust the certificate's authority is told how to", async (_what, args, code) => {
  const { token } = await pool.admin.invite({});
  const done = await ligand(args(), {
    LIGAND_POOL: url,
    LIGAND_KEY: pool.credentials.client_key,
    LIGAND_ADMIN_TOKEN: pool.credentials.admin_token,
    LIGAND_WORKER_TOKEN: token,
  });
  expect(done.code).toBe(code);
  expect(done.stdout + done.stderr).toMatch(
    /NODE_EXTRA_CA_CERTS=ca\.pem \((DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN)\)/,
  );
  expect(done.stdout + done.stderr).not.toContain("npm start");
});

it("the OpenAI client streams over https, and the worker is connected over wss", async () => {
  const { code, stdout, stderr } = await ligand(["chat", "What is a pool?", "--temperature", "0"], {
    ...trust,
    LIGAND_POOL: url,
    LIGAND_KEY: pool.credentials.client_key,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.trim().length).toBeGreaterThan(10);
});

it("a client that does not trust the certificate is told so", async () => {
  const { code } = await ligand(["chat", "Hello?"], { LIGAND_POOL: url, LIGAND_KEY: pool.credentials.client_key });
  expect(code).toBe(1);
});

it("clients that disconnect in the middle of their streams free the worker and the queue within a second", async () => {
  // The longest possible answer, sixteen times for four slots: most requests wait, and none finishes in time.
  const messages = [{ role: "user", content: "Tell me everything about Ligand." }];
  const body = { model: "auto", messages, temperature: 0, stream: true };
  const asked = Array.from({ length: 16 }, () =>
    request(`${url}/v1/chat/completions`, {
      method: "POST",
      ca: files.cert,
      headers: { ...key(), "content-type": "application/json" },
    }).end(JSON.stringify(body)),
  );
  const responses = await Promise.all(asked.map((each) => once(each, "response")));
  for (const [response] of responses) response.on("error", () => {});
  for (const each of asked) each.destroy();
  const metric = async (line: RegExp) =>
    Number(line.exec((await get("/metrics", { authorization: `Bearer ${pool.credentials.admin_token}` })).body)?.[1]);
  await waitFor(
    async () =>
      (await metric(/^ligand_num_requests_running\{.*\} (\d+)$/m)) === 0 &&
      (await metric(/^ligand_num_requests_waiting\{.*\} (\d+)$/m)) === 0,
    1_000,
    "nothing to run or wait",
  );
  expect(await metric(/^ligand_request_errors_total\{.*code="inference\/cancelled"\} (\d+)$/m)).toBeGreaterThan(0);
});

it.each<[what: string, headers: Record<string, string>, status: number]>([
  ["another host's name", { host: "evil.example" }, 421],
  ["a forwarding header", { host: "evil.example", "x-forwarded-host": "localhost" }, 421],
  ["a development proxy's header", { "mf-original-url": "http://127.0.0.1/metrics", "x-forwarded-proto": "http" }, 200],
])("%s has no effect", async (_what, headers, status) => {
  expect((await get("/healthz", headers)).status).toBe(status);
});

it.each<[what: string, bytes: string, answer: RegExp]>([
  ["CONNECT", "CONNECT pool.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", /^HTTP\/1\.1 [45]\d\d /],
  [
    "a request with two lengths",
    "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    /^HTTP\/1\.1 400/,
  ],
  ["nonsense", "\u0000\u0001\r\n\r\n", /^HTTP\/1\.1 [45]\d\d /],
])("%s is refused", async (_what, bytes, answer) => {
  const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1", ca: files.cert });
  await once(socket, "secureConnect");
  socket.write(bytes);
  const [received] = await once(socket, "data");
  expect(String(received)).toMatch(answer);
  expect(String(received)).not.toContain("    at ");
  socket.destroy();
  expect((await get("/healthz")).status).toBe(200);
});

it("plain HTTP gets no answer", async () => {
  await expect(fetch(url.replace("https", "http"))).rejects.toThrow();
});

it("SIGHUP loads a renewed certificate, and keeps the old one if the new one cannot be used", async () => {
  const before = await fingerprint();
  const { certFile } = files;
  writeFileSync(certFile, "half written");
  process.kill(pool.pid, "SIGHUP");
  await waitFor(() => pool.output().includes("The old certificate stays in use"), 5_000, "the refusal");
  expect(await fingerprint()).toBe(before);
  files = await selfSigned(folder);
  process.kill(pool.pid, "SIGHUP");
  await waitFor(() => pool.output().includes("Reloaded the certificate."), 5_000, "the reload");
  expect(await fingerprint()).not.toBe(before);
  expect((await get("/healthz")).status).toBe(200);
  expect((await pool.stop()).code).toBe(0);
});

it("an unusable certificate or key is reported before anything starts", async () => {
  const half = await startRefused({ args: ["--cert", files.certFile] });
  expect(half).toMatchObject({ code: 2, stderr: expect.stringContaining("TLS needs both") });
  const swapped = await startRefused({ args: ["--cert", files.certFile, "--key", credentialsFile(pool.stateDir)] });
  expect(swapped).toMatchObject({ code: 1, stderr: expect.stringContaining("is not the private key of") });
  expect(swapped.stderr).not.toContain("    at ");
});
