import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openFederation } from "./federation-support.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { type Finished, ligand, type PoolProcess, startPool, temporaryFolder, waitFor } from "./support.ts";

/** docs/webhook.md: a pool, the command line, and a receiver that verifies with the library of Standard Webhooks. */

interface Received {
  headers: IncomingMessage["headers"];
  body: string;
}

let pool: PoolProcess;
let receiver: Server;
let url: string;
let connections = 0;
const received: Received[] = [];
/** The statuses of the next answers; then 204. */
const statuses: number[] = [];

beforeAll(async () => {
  pool = await startPool();
  receiver = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    received.push({ headers: request.headers, body });
    response.writeHead(statuses.shift() ?? 204).end("a body that the pool does not read");
  }).listen(0, "127.0.0.1");
  receiver.on("connection", () => {
    connections += 1;
  });
  await once(receiver, "listening");
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
});
afterAll(() => receiver.close());

const run = (args: string[], env: Record<string, string> = {}) =>
  ligand(["webhook", ...args, "--state", pool.stateDir, "--json"], env);
const verify = (secret: string, { headers, body }: Received) =>
  new Webhook(secret).verify(body, headers as Record<string, string>);
const jsonOf = ({ code, stdout, stderr }: Finished): unknown => {
  if (code !== 0) throw new Error(`${code}: ${stdout}${stderr}`);
  return JSON.parse(stdout);
};
/** Names in the hosts file for this machine itself. The pool cannot see from such a name where it leads. */
function privateNames(): string[] {
  const lines = readFileSync("/etc/hosts", "utf8").split("\n");
  const names = lines.flatMap((line) => {
    const [address = "", ...rest] = line.replace(/#.*/, "").trim().split(/\s+/);
    return address.startsWith("127.") || address === "::1" ? rest : [];
  });
  return [...new Set(names.filter((name) => name !== "localhost"))];
}
const SECRET = `whsec_${Buffer.alloc(32, 9).toString("base64")}`;

describe("while private webhooks are not allowed", () => {
  it.each([
    ["plain http", () => url],
    ["https at a private address", () => url.replace("http:", "https:")],
  ])("%s is refused", async (_, given) => {
    const { code, stdout } = await run(["set", given()]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error.code).toBe("webhook/private-address");
  });

  it.each(privateNames())(
    "the name %s, which this machine resolves to a private address, is not called",
    async (name) => {
      await pool.admin.setWebhook(`https://${name}:${new URL(url).port}/`);
      await expect(pool.admin.testWebhook()).rejects.toMatchObject({ code: "webhook/private-address" });
      expect(connections).toBe(0);
      await pool.admin.removeWebhook();
    },
  );
});

describe("while private webhooks are allowed", () => {
  beforeAll(async () => {
    await pool.admin.changeFederation({ allow_private_webhook: true });
  });

  it("the secret that the pool makes is printed once, and the library verifies a message with it", async () => {
    const { secret, ...set } = jsonOf(await run(["set", url])) as { secret: string };
    expect(set).toEqual({ url });
    const tested = jsonOf(await run(["test"]));
    expect(tested).toEqual({ message_id: expect.stringMatching(/^test_/), status: 204 });
    const message = received.at(-1) as Received;
    expect(message.headers["webhook-id"]).toBe((tested as { message_id: string }).message_id);
    expect(verify(secret, message)).toMatchObject({
      type: "webhook.test",
      data: { pool: pool.credentials.atom_id },
    });
    expect(() => verify(secret, { ...message, body: `${message.body} ` })).toThrow(WebhookVerificationError);
    expect(() => verify(SECRET, message)).toThrow(WebhookVerificationError);
    const shown = await run(["show"]);
    expect(jsonOf(shown)).toMatchObject({ webhook: { url, waiting: 0, last: { delivered: true, status: 204 } } });
    expect(shown.stdout + pool.output()).not.toContain(secret);
  });

  it("a secret of one's own comes from a variable or a file, and is not printed", async () => {
    const file = join(temporaryFolder(), "webhook.secret");
    writeFileSync(file, `${SECRET}\n`, { mode: 0o600 });
    for (const given of [
      await run(["set", url], { LIGAND_WEBHOOK_SECRET: SECRET }),
      await run(["set", url, "--secret-file", file]),
    ]) {
      expect(jsonOf(given)).toEqual({ url });
      jsonOf(await run(["test"]));
      expect(verify(SECRET, received.at(-1) as Received)).toMatchObject({ type: "webhook.test" });
    }
  });

  it("an invalid secret is refused, and the error does not contain it", async () => {
    const secret = `whsec_${Buffer.alloc(8, 9).toString("base64")}`;
    const { code, stdout, stderr } = await run(["set", url], { LIGAND_WEBHOOK_SECRET: secret });
    expect(code).toBe(2);
    expect(JSON.parse(stdout).error.message).toContain("LIGAND_WEBHOOK_SECRET");
    expect(stdout + stderr).not.toContain(secret);
  });

  it("a receiver that fails is reported by test", async () => {
    statuses.push(500);
    const { code, stdout } = await run(["test"]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error).toMatchObject({ code: "webhook/failed", message: expect.stringContaining("500") });
  });

  it("a request of a peer's admin reaches the operator, is tried again after a failure, and carries no text of a stranger", async () => {
    await openFederation(pool);
    const peer = await ScriptedPeer.start();
    await peer.trustEachOther(pool, 3);
    jsonOf(await run(["set", url], { LIGAND_WEBHOOK_SECRET: SECRET }));
    statuses.push(500);
    const request = {
      request_id: "req_hook",
      origin_pool_id: peer.id,
      action_type: "query_events",
      action_params: { limit: 1 },
      from_admin_email: "click-here@stranger.example",
    };
    const before = received.length;
    expect((await peer.ask(pool, "POST", "/v1/federation/admin/request", request)).status).toBe(202);
    await waitFor(() => received.length >= before + 2, 20_000, "the message and its repetition");
    const [failed, repeated] = received.slice(before) as [Received, Received];
    expect(repeated.headers["webhook-id"]).toBe(failed.headers["webhook-id"]);
    expect(repeated.body).toBe(failed.body);
    expect(verify(SECRET, repeated)).toMatchObject({
      type: "admin_request.received",
      data: { peer: peer.id, request_id: "req_hook", action: "query_events", status: "pending" },
    });
    expect(repeated.body).not.toContain("stranger");
  });

  it("after remove, there is no webhook", async () => {
    expect(jsonOf(await run(["remove"]))).toEqual({ removed: true });
    expect(jsonOf(await run(["show"]))).toEqual({ webhook: null });
    expect(JSON.parse((await run(["test"])).stdout).error.code).toBe("webhook/not-set");
  });
});
