import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ServerStarted } from "./llama-http-server.ts";

/** The server of `llama-http-server.ts`, in a process of its own. */
export interface LlamaServer {
  /** With `/v1`. */
  readonly url: string;
  readonly process: ChildProcess;
  /** The number of answers that the server generates now. */
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

export interface ReceivedRequest {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** The parsed body; empty if there was none. */
  readonly body: Record<string, unknown>;
}

/** A server whose answers a test writes. */
export class ScriptedServer {
  readonly requests: ReceivedRequest[] = [];
  readonly url: string;
  readonly #http: ReturnType<typeof createServer>;

  private constructor(http: ReturnType<typeof createServer>, asked: ReceivedRequest[]) {
    this.#http = http;
    this.requests = asked;
    this.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  }

  /** @param answer receives the number of the request, starting at 0 */
  static async listen(
    answer: (response: ServerResponse, asked: ReceivedRequest, nth: number) => unknown,
  ): Promise<ScriptedServer> {
    const asked: ReceivedRequest[] = [];
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
