import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PeerView } from "../../schema/wire/federation.ts";
import { adminClient } from "../../scripts/runtime/admin-client.ts";
import {
  ligand,
  type PoolProcess,
  run,
  spawnStart,
  startPool,
  startWorker,
  TERMINAL,
  temporaryFolder,
  waitFor,
} from "./support.ts";

/** `ligand federation …` and `ligand peers …` against pools that are separate processes. */

let [alder, birch]: PoolProcess[] = [];
const pools = () => [alder, birch] as [PoolProcess, PoolProcess];
const id = (pool: PoolProcess) => pool.credentials.atom_id;

beforeAll(async () => {
  [alder, birch] = await Promise.all([startPool(), startPool()]);
});

const at = (pool: PoolProcess, ...args: string[]) => ligand([...args, "--state", pool.stateDir]);
async function words(pool: PoolProcess, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await at(pool, ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}
async function json<Answer>(pool: PoolProcess, ...args: string[]): Promise<Answer> {
  const stdout = await words(pool, ...args, "--json");
  expect(stdout.trim().split("\n")).toHaveLength(1);
  return JSON.parse(stdout) as Answer;
}
async function refused(pool: PoolProcess, args: string[], says: string): Promise<void> {
  expect(await at(pool, ...args)).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(says) });
}

describe("the federation switch of a pool on one machine", () => {
  it("is on from the first start, and once it is off it stays off over a restart", async () => {
    const first = await startPool();
    expect(await words(first, "federation")).toContain("Federation is on.");
    expect(await words(first, "federation", "off")).toContain("Federation is off.");
    await first.stop();
    const again = await startPool({ stateDir: first.stateDir });
    expect((await json<{ policy: object }>(again, "federation", "status")).policy).toMatchObject({ federation: "off" });
    expect((await fetch(`${again.url}/v1/federation/info`)).status).toBe(503);
    expect(await json(again, "federation", "on")).toMatchObject({ policy: { federation: "on" } });
    expect((await fetch(`${again.url}/v1/federation/info`)).status).toBe(200);
    await again.stop();
  });

  it.each<[what: string, kill: (stateDir: string) => Promise<void>]>([
    [
      "after it had made the identity",
      async (stateDir) => {
        const { child } = spawnStart({}, stateDir);
        await waitFor(() => existsSync(join(stateDir, "secrets.json")), 30_000, "the identity");
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      },
    ],
    [
      "before it had made the identity",
      async (stateDir) => {
        mkdirSync(stateDir, { mode: 0o700 });
        writeFileSync(join(stateDir, ".gitignore"), "*\n");
      },
    ],
  ])("is on from the first start that completes, although an earlier start was killed %s", async (_what, kill) => {
    const stateDir = join(temporaryFolder(), "state");
    await kill(stateDir);
    const identity = () => readFileSync(join(stateDir, "secrets.json"), "utf8");
    const made = existsSync(join(stateDir, "secrets.json")) ? identity() : undefined;
    const first = await startPool({ stateDir });
    expect(identity()).toBe(made ?? identity());
    expect((await first.admin.federation()).policy.federation).toBe("on");
    await first.admin.changeFederation({ federation: "off" });
    await first.stop();
    const again = await startPool({ stateDir });
    expect((await again.admin.federation()).policy.federation).toBe("off");
    await again.stop();
  });
});

describe("peers add", () => {
  const strangers: Server[] = [];
  /** A server that is no pool, or a pool that refuses. */
  const stranger = async (answer: RequestListener) => {
    const server = createServer(answer).listen(0, "127.0.0.1");
    strangers.push(server);
    await new Promise((resolve) => server.once("listening", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  afterAll(() => {
    for (const server of strangers) server.close();
  });
  const allow = "federation set allow_private_peers=on";

  it("with a plain http URL is refused, and the error names the setting", async () =>
    refused(pools()[0], ["peers", "add", pools()[1].url], `To allow it: npm run ligand -- ${allow}`));

  it("with a name that resolves to a private address is refused, and the error names the setting", async () =>
    refused(
      pools()[0],
      ["peers", "add", "https://127.0.0.1:9"],
      `This pool calls peers over https and at public addresses only, unless the policy allows others. Use the peer's public https URL, or set allow_plain_http for plain http, or allow_private_peers for private addresses. To allow it: npm run ligand -- ${allow}`,
    ));

  it("at a pool that admits no peer is refused, and the error says what that pool's operator must do", async () => {
    const [alder, birch] = pools();
    const changed = await words(alder, "federation", "set", "allow_private_peers=on", "max_peers=5");
    expect(changed).toMatch(/allow_private_peers +on /);
    expect(changed).toMatch(/max_peers +5 /);
    const says = `This pool's card says ${alder.url}, which is plain HTTP; that pool's operator can allow it with: npm run ligand -- ${allow}`;
    await refused(alder, ["peers", "add", birch.url], says);
    await words(birch, "federation", "set", "allow_private_peers=on");
  });

  it.each<[what: string, url: () => string | Promise<string>, says: string]>([
    [
      "a closed port",
      () => "http://127.0.0.1:9",
      "Nothing listens at that URL, or the server there closed the connection",
    ],
    ["an unknown host", () => "http://nobody.invalid", "The host of that URL cannot be found. Check the spelling"],
    [
      "a server without TLS",
      async () => (await stranger((_, response) => response.end())).replace("http:", "https:"),
      "The server at that URL does not use TLS. Check the port",
    ],
    [
      "a server that is no pool",
      () => stranger((_, response) => response.end("hello")),
      "No pool answers at that URL.",
    ],
    [
      "a redirect",
      () => stranger((_, response) => response.writeHead(302, { location: pools()[1].url }).end()),
      "The other pool answered 302.",
    ],
    ["the pool itself", () => pools()[0].url, "That is this pool's own URL."],
  ])("at %s is refused, and the error says what to do", async (_what, url, says) =>
    refused(pools()[0], ["peers", "add", await url()], says),
  );

  it("at a server that never answers shows in a terminal how long it has waited, and then fails with what to do", async () => {
    const url = await stranger(() => {});
    const args = ["scripts/ligand.ts", "peers", "add", url, "--state", pools()[0].stateDir];
    const { code, stdout, stderr } = await run([...TERMINAL, ...args]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    const [waited = "", errorLine = ""] = stderr.split("\r\u001b[K");
    expect(waited).toContain(`\rWaiting for ${url}: 1 s\u001b[K\rWaiting for ${url}: 2 s`);
    expect(errorLine).toMatch(/^The other pool did not answer within 10 s\. Check the host/);
  });

  it("with another atom id than the expected one is refused, with --json too", async () => {
    const [alder, birch] = pools();
    const { code, stdout } = await at(alder, "peers", "add", birch.url, "--atom-id", "ab".repeat(32), "--json");
    expect(code).toBe(1);
    const message = expect.stringContaining("The pool at that URL is not the expected one.");
    expect(JSON.parse(stdout)).toEqual({ error: { code: "federation/wrong-peer", message } });
  });

  it("while federation is off at either pool is refused, and the error says at which", async () => {
    const [alder, birch] = pools();
    await words(birch, "federation", "off");
    await refused(alder, ["peers", "add", birch.url], "Federation is switched off at the other pool.");
    await refused(birch, ["peers", "add", alder.url], "To turn it on: npm run ligand -- federation on");
    await json(birch, "federation", "on");
  });
});

describe("two operators", () => {
  it("add each other as peers", async () => {
    const [alder, birch] = pools();
    expect(await words(alder, "peers")).toContain(
      "This pool has no peers. To add one: npm run ligand -- peers add URL",
    );
    expect(await words(alder, "pool", "name")).toContain("This is the default name.");
    expect(await words(alder, "pool", "name", "Alder")).toContain(`Alder, ${id(alder)}\n`);
    expect(await json(alder, "pool", "name")).toEqual({ atom_id: id(alder), name: "Alder" });
    const added = await words(alder, "peers", "add", `${birch.url}/`, "--atom-id", id(birch).toUpperCase());
    expect(added).toContain(`${id(birch)}\nKnown: it has proven its key, and may not read events yet.`);
    expect(await json(birch, "peers", "list")).toMatchObject({
      peers: [{ atom_id: id(alder), name: "Alder", url: alder.url, effective: 1 }],
    });
    await words(birch, "pool", "name", "Birch");
    expect(await words(alder, "peers", "add", birch.url)).toContain(`Birch, ${id(birch)}\nIt already was a peer.`);
  });

  it("bond: the second operator sees which peer awaits an answer, and the command that answers it", async () => {
    const [alder, birch] = pools();
    const offered = await words(alder, "peers", "trust", id(birch).slice(0, 6), "3");
    const answer = `npm run ligand -- peers trust ${id(alder).slice(0, 16)} 3`;
    expect(offered).toContain(
      `Accepted: you granted trust 3, and it granted 0. The bond begins when its admin runs: ${answer}`,
    );
    const list = () => words(birch, "peers", "list");
    await waitFor(async () => (await list()).includes("offers trust 3"), 10_000, "the offer");
    expect(await list()).toContain(`Alder (${id(alder).slice(0, 16)}) offers trust 3. To accept: ${answer}`);
    expect(await words(birch, "federation")).toContain("1 peer offered trust, and you have not answered. To see them:");
    // The operator types the command as it is shown.
    const typed = answer.split(" -- ")[1]?.split(" ") ?? [];
    expect(await words(birch, ...typed)).toContain("Bonded: both admins granted trust 3");
    await waitFor(async () => (await words(alder, "peers")).includes("  bonded  "), 10_000, "the bond");
    expect(await json(alder, "federation")).toMatchObject({
      peers: { known: 1, accepted: 1, bonded: 1 },
      awaiting_admin: [],
      unfollowable: [],
    });
  });

  it("see how much of each log the other has", async () => {
    const [alder, birch] = pools();
    const worker = await startWorker(alder);
    const show = () => words(birch, "peers", "show", id(alder).slice(0, 8));
    await waitFor(async () => /peers +1 of 1, streaming/.test(await show()), 20_000, "the event of the other");
    expect(await show()).toMatch(/^public +0 of 0(, streaming)? +0 of 0/m);
    expect(await words(alder, "peers", "show", id(birch))).toMatch(/^peers +0 of 0(, streaming)? +1 of 1, streaming$/m);
    const shown = await json<PeerView>(birch, "peers", "show", id(alder));
    expect(shown).toMatchObject({
      effective: 3,
      deliveries_waiting: 0,
      sync: [{ audience: "public" }, { audience: "peers" }],
    });
    await worker.stop();
  });

  it("resync a peer's log", async () => {
    const [alder, birch] = pools();
    expect(await words(birch, "peers", "follow-anew", id(alder))).toContain("This pool now follows the log");
    const level = async () => /peers +1 of 1, streaming/.test(await words(birch, "peers", "show", id(alder)));
    await waitFor(level, 20_000, "the log to be followed again");
  });

  it("revoke and remove each other; requests of the other are then refused immediately", async () => {
    const [alder, birch] = pools();
    const revoked = await words(alder, "peers", "revoke", id(birch));
    expect(revoked).toContain(
      `Revoked: every request of this peer is refused. To undo that: npm run ligand -- peers trust ${id(birch).slice(0, 16)} 1 --state ${alder.stateDir}`,
    );
    expect(await words(alder, "peers")).toContain("  revoked  ");
    await waitFor(
      async () => (await words(birch, "peers")).includes("  accepted, revoked this pool  "),
      10_000,
      "the revocation",
    );
    await refused(birch, ["peers", "add", alder.url], "That pool has revoked this one. Its operator can undo that");
    const removed = await words(alder, "peers", "remove", id(birch));
    // The operator types the command as it is shown. It names the pool too.
    for (const [, typed = ""] of removed.matchAll(/npm run ligand -- (.*)$/gm)) {
      expect(await ligand(typed.split(" "))).toMatchObject({ code: 0, stderr: "" });
    }
    expect(await json(alder, "peers", "show", id(birch))).toMatchObject({ effective: 1, revoked_at_ms: null });
    expect(await json(alder, "peers", "remove", id(birch))).toEqual({
      recorded: true,
      atom_id: id(birch),
      removed: true,
    });
    expect(await json(alder, "peers")).toEqual({ peers: [] });
  });

  it("appear in the log by the ids of their tokens, because a name could not be erased from the log", async () => {
    const [alder, birch] = pools();
    const made = await alder.admin.createAdmin("Rosalind");
    const rosalind = adminClient(alder.url, made.token);
    await rosalind.addPeer({ url: birch.url });
    await rosalind.trustPeer(id(birch), 2);
    await rosalind.removePeer(id(birch));
    await rosalind.changeFederation({ max_peers: 7 });
    const { events } = await alder.admin.events("all", 10);
    const payloads = events.map(({ event }) => JSON.parse(atob(event.event_bytes)) as { payload: { by?: string } });
    expect(JSON.stringify(payloads)).not.toContain("Rosalind");
    expect(payloads.filter(({ payload }) => payload.by === made.id)).toHaveLength(4);
  });

  it.each<[what: string, args: string[], says: string]>([
    [
      "a trust level for an unknown peer",
      ["peers", "trust", "abcdef01", "2"],
      "No peer id begins with abcdef01. To list the peers:",
    ],
    [
      "accept_writes without an admin key",
      ["federation", "set", "accept_writes=on"],
      "Register the admin key of a peer first",
    ],
  ])("get an error with the remedy for %s", async (_what, args, says) => refused(pools()[0], args, says));
});
