import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface HubFile {
  /** `OWNER/REPO/PATH`. */
  readonly at: string;
  readonly bytes: Buffer;
  readonly gated?: boolean;
  /** What the hub claims about the file, where that is false. */
  readonly sha256?: string;
  readonly size?: number;
}

/** The hub's side of a download on loopback: manifests, linked sizes and hashes, a redirect, ranges. */
export class HubDouble {
  readonly token = "hf_secret";
  /** The requested ranges, `from-to`. */
  readonly ranges: string[] = [];
  readonly files: HubFile[] = [];
  readonly quants = new Map<string, string>();
  /** Repositories that were renamed or are on another server: a URL. */
  readonly renamed = new Map<string, string>();
  /** A range's connection is cut after that many bytes, that many times. */
  cuts: { times: number; afterBytes: number } = { times: 0, afterBytes: 0 };
  /** Ranges are begun and not continued. */
  stalls = false;
  refuseWith = 0;
  url = "";
  readonly #http: Server;

  private constructor() {
    this.#http = createServer((request, response) => this.#handle(request, response));
  }

  static async listen(): Promise<HubDouble> {
    const hub = new HubDouble();
    hub.#http.listen(0, "127.0.0.1");
    await once(hub.#http, "listening");
    hub.url = `http://127.0.0.1:${(hub.#http.address() as AddressInfo).port}`;
    return hub;
  }

  close(): void {
    this.#http.closeAllConnections();
    this.#http.close();
  }

  #handle({ url = "", method, headers }: IncomingMessage, response: ServerResponse): unknown {
    if (this.refuseWith > 0) return end(response, this.refuseWith);
    const path = decodeURIComponent(new URL(url, this.url).pathname);
    const old = [...this.renamed.keys()].find(
      (repo) => path.startsWith(`/${repo}/`) || path.startsWith(`/v2/${repo}/`),
    );
    if (old !== undefined) {
      const to = this.renamed.get(old) ?? "";
      const location = to.startsWith("http") ? to : path.replace(old, to);
      const body = `Temporary Redirect. Redirecting to ${location}`;
      response.writeHead(307, { location, "content-length": Buffer.byteLength(body) });
      return response.end(method === "HEAD" ? undefined : body);
    }
    const manifest = /^\/v2\/([^/]+\/[^/]+)\/manifests\/(.+)$/.exec(path);
    if (manifest !== null) {
      const chosen = this.quants.get(`${manifest[1]}:${manifest[2]}`);
      if (chosen === undefined) return end(response, 404);
      if (headers["user-agent"] !== "llama-cpp") return end(response, 200, "{}");
      return end(response, 200, JSON.stringify({ ggufFile: { rfilename: chosen } }));
    }
    const [, where, repo, name] = /^\/(?:(cdn)\/)?([^/]+\/[^/]+)\/(?:resolve\/main\/)?(.+)$/.exec(path) ?? [];
    const file = this.files.find(({ at }) => at === `${repo}/${name}`);
    if (file === undefined) return end(response, 404);
    if (where === "cdn") return this.#content(file, headers.range, response);
    if (file.gated === true && headers.authorization !== `Bearer ${this.token}`) return end(response, 401);
    response.setHeader("x-linked-size", file.size ?? file.bytes.length);
    response.setHeader("x-linked-etag", `"${file.sha256 ?? sha256(file.bytes)}"`);
    response.setHeader("location", `${this.url}/cdn/${file.at}`);
    return end(response, method === "HEAD" || method === "GET" ? 302 : 405);
  }

  #content({ bytes }: HubFile, range: string | undefined, response: ServerResponse): void {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
    if (from === undefined || to === undefined) {
      response.writeHead(200, { "accept-ranges": "bytes", "content-length": bytes.length });
      response.end(bytes);
      return;
    }
    this.ranges.push(`${from}-${to}`);
    const part = bytes.subarray(Number(from), Number(to) + 1);
    response.writeHead(206, {
      "accept-ranges": "bytes",
      "content-length": part.length,
      "content-range": `bytes ${from}-${to}/${bytes.length}`,
    });
    if (this.stalls) response.write(part.subarray(0, 100));
    else if (this.cuts.times > 0) {
      this.cuts.times--;
      response.write(part.subarray(0, this.cuts.afterBytes), () => response.destroy());
    } else response.end(part);
  }
}

function end(response: ServerResponse, status: number, body = ""): ServerResponse {
  return response.writeHead(status, { "content-type": "application/json" }).end(body);
}

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
