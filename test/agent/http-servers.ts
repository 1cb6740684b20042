import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ServerStarted } from "./llama-http-server.ts";

/** The server of `llama-http-server.ts` as a process. */
export interface LlamaServer {
  /** With `/v1`. */
  readonly url: string;
  readonly process: ChildProcess;
  /** Answers that it makes at this moment. */
  active(): Promise<number>;
  stop(): Promise<void>;
}

export async function startLlamaServer(key = "", env: Record<string, string> = {}): Promise<LlamaServer> {
  const child = fork(new URL("./llama-http-server.ts", import.meta.url), {
    env: { ...process.env, SERVER_KEY: key, ...env },
    execArgv: [],
  });
  const [{ port }] = (await once(child, "message")) as [ServerStarted];
  const origin = `http://127.0.0.1:${port}`;
  return {
    url: `${origin}/v1`,
    process: child,
    async active() {
      const response = await fetch(`${origin}/slots`, { headers: { authorization: `Bearer ${key}` } });
      return ((await response.json()) as { active: number }).active;
    },
    async stop() {
      const exited = once(child, "exit");
      child.kill();
      await exited;
    },
  };
}

export interface Asked {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** Parsed, where there was one. */
  readonly body: Record<string, unknown>;
}

/** A server that does to its clients what a test says. */
export class ScriptedServer {
  readonly asked: Asked[] = [];
  readonly url: string;
  readonly #http: ReturnType<typeof createServer>;

  private constructor(http: ReturnType<typeof createServer>, asked: Asked[]) {
    this.#http = http;
    this.asked = asked;
    this.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  }

  /** @param answer gets the number of the request, from 0 */
  static async listen(
    answer: (response: ServerResponse, asked: Asked, nth: number) => unknown,
  ): Promise<ScriptedServer> {
    const asked: Asked[] = [];
    const http = createServer(async (request, response) => {
      const text = Buffer.concat(await Array.fromAsync(request)).toString();
      const { url = "", headers } = request;
      asked.push({ path: url, headers, body: text === "" ? {} : JSON.parse(text) });
      const last = asked.at(-1);
      if (last !== undefined) answer(response, last, asked.length - 1);
    });
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    return new ScriptedServer(http, asked);
  }

  close(): void {
    this.#http.closeAllConnections();
    this.#http.close();
  }
}
