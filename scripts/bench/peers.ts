import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../runtime/listen-address.ts";
import type { Target } from "./load.ts";
import { end, startChild } from "./rig.ts";

/** The software that the pool is compared with. It is installed outside the repository for one run. */
const PORTKEY = ["@portkey-ai/gateway@1.15.2"];
const FEDIFY = [
  "@fedify/fedify@2.3.6",
  "@fedify/vocab@2.3.6",
  "@fedify/sqlite@2.0.0-dev.279",
  "@hono/node-server@2.1.8",
];

/** Uses a new folder with a random name: another user could prepare a folder with a known name. */
function install(packages: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), "ligand-bench-peers-"));
  const flags = ["--no-audit", "--no-fund", "--loglevel=error"];
  try {
    // npm prints to stderr, so that it is not part of the output.
    execFileSync("npm", ["install", "--prefix", folder, ...flags, ...packages], { stdio: ["ignore", 2, 2] });
    return folder;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

export interface Gateway {
  url: string;
  headers: Record<string, string>;
  stop(): Promise<void>;
}

/** Starts Portkey's gateway in front of the instant server. */
export async function startPortkey(): Promise<Gateway> {
  const folder = install(PORTKEY);
  const double = spawn(process.execPath, [fileURLToPath(new URL("openai-double.ts", import.meta.url))], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(double.stdout, "data");
  const upstream = `http://127.0.0.1:${String(line).trim()}/v1`;
  const port = await freePort("127.0.0.1");
  const main = join(folder, "node_modules/@portkey-ai/gateway/build/start-server.js");
  const gateway = spawn(process.execPath, [main, "--headless", `--port=${port}`], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}/v1/chat/completions`;
  const stop = async () => {
    await end(gateway);
    await end(double);
    rmSync(folder, { recursive: true, force: true });
  };
  await untilListening(`http://127.0.0.1:${port}/`).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return {
    url,
    headers: { "x-portkey-provider": "openai", "x-portkey-custom-host": upstream, authorization: "Bearer none" },
    stop,
  };
}

export interface Inbox {
  /** New activities, signed by that many actors in turn. */
  activities(actors: number, count: number): Promise<Target[]>;
  stop(): Promise<void>;
}

/** Starts an inbox on Fedify with an SQLite store. */
export async function startFedify(): Promise<Inbox> {
  const folder = install(FEDIFY);
  const env = { BENCH_PEERS: folder, BENCH_STATE: folder, NODE_ENV: "production" };
  const child = await startChild("fedify-inbox.ts", env).catch((error: unknown) => {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  return {
    async activities(actors, count) {
      child.send({ actors, count });
      const [made] = await once(child, "message");
      return made as Target[];
    },
    async stop() {
      await end(child);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function untilListening(url: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (
      await fetch(url).then(
        () => true,
        () => false,
      )
    )
      return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${url} does not answer`);
}
