import { Agent, type IncomingHttpHeaders, request } from "node:http";

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** HTTP to one pool on keep-alive connections. An answer that does not end in time is a finding. */
export class Http {
  readonly #agent: Agent;
  readonly #url: URL;
  readonly #timeoutMs: number;

  constructor(url: string, connections: number, timeoutMs: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: "fifo" });
    this.#url = new URL(url);
    this.#timeoutMs = timeoutMs;
  }

  /** @param path is sent as it is @param by a key, or headers instead of it @param onHead called when the answer begins */
  ask(
    method: string,
    path: string,
    by: string | Record<string, string>,
    body?: Uint8Array,
    onHead?: () => void,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers = {
        ...(typeof by === "string" ? { authorization: `Bearer ${by}` } : by),
        ...(body && { "content-type": "application/json", "content-length": body.byteLength }),
      };
      const { hostname, port } = this.#url;
      const asked = request({ agent: this.#agent, hostname, port, method, path, headers }, (answer) => {
        onHead?.();
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("error", reject);
        answer.on("end", () => {
          clearTimeout(late);
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString() });
        });
      });
      const late = setTimeout(
        () => asked.destroy(new Error(`no end of the answer within ${this.#timeoutMs} ms`)),
        this.#timeoutMs,
      );
      asked.on("error", (error) => {
        clearTimeout(late);
        reject(error);
      });
      asked.end(body);
    });
  }

  /** Opens new connections after a pause: an idle connection that the pool closed is not a finding. */
  forgetIdle(): void {
    for (const socket of Object.values(this.#agent.freeSockets).flatMap((idle) => idle ?? [])) socket.destroy();
  }

  close(): void {
    this.#agent.destroy();
  }
}
