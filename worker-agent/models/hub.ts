import { rm, stat, statfs, truncate } from "node:fs/promises";
import { basename, join } from "node:path";
import { createModelDownloader, type ModelDownloader } from "node-llama-cpp";
import * as z from "zod";
import { formatGigabytes } from "../format-gigabytes.ts";
import { networkReason } from "../network-error.ts";
import { secretProblem } from "../secret-text.ts";
import { readJson, writeFileAtomically } from "../state/files.ts";
import { makeFolder } from "../state/make-folder.ts";
import { type HubName, hubName, splitFiles } from "./hub-name.ts";
import { sha256Of } from "./model-file.ts";

export interface DownloadOptions {
  /** The folder of model files. Each repository has a folder in it. */
  readonly modelsDir: string;
  /** The cache of file hashes. A file is hashed once. */
  readonly hashesPath: string;
  readonly onProgress: (progress: DownloadProgress) => void;
  readonly signal: AbortSignal;
  /** The hub's URL. By default `MODEL_ENDPOINT`, `HF_ENDPOINT` or Hugging Face. */
  readonly endpoint?: string;
  /** The token for gated models. By default `HF_TOKEN`. */
  readonly token?: string;
  /** A download that makes no progress for this long is aborted. The next start resumes it. */
  readonly stalledMs?: number;
}

export interface DownloadProgress {
  readonly file: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

export type Downloaded =
  | { readonly ok: true; readonly path: string }
  | { readonly ok: false; readonly message: string };

const STALLED_MS = 60_000;
const ASK_MS = 30_000;
/** The most redirects that are followed. A renamed repository redirects. */
const MOST_REDIRECTS = 5;

/** Persisted in `downloads.json` of the models folder: the files that are complete, so that a start needs no network. */
const downloadsFile = z.strictObject({
  v: z.literal(1),
  entries: z.record(z.string(), z.strictObject({ file: z.string(), bytes: z.number() })),
});

/**
 * Downloads a model from the hub unless it is here already. Resumes an interrupted download. Checks each file's size and
 * the hub's SHA-256 before it is loaded.
 */
export async function downloadModel(spec: string, options: DownloadOptions): Promise<Downloaded> {
  const name = hubName(spec);
  if (name === null) {
    return {
      ok: false,
      message: `${spec} is not the name of a model. Use --model hf:OWNER/REPO:QUANT or hf:OWNER/REPO/FILE.gguf.`,
    };
  }
  const record = join(options.modelsDir, "downloads.json");
  const entries = (await readJson(record, downloadsFile))?.entries ?? {};
  const known = entries[spec];
  if (known !== undefined) {
    const path = join(options.modelsDir, known.file);
    const found = await stat(path).catch(() => null);
    if (found?.size === known.bytes) return { ok: true, path };
  }
  try {
    const hub = new Hub(name, options);
    const files = await hub.files();
    const folder = join(options.modelsDir, name.owner, name.repo);
    makeFolder(folder);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const free = await statfs(folder);
    const freeBytes = free.bavail * free.bsize;
    if (bytes > freeBytes) {
      throw new CannotDownload(
        `${spec} needs ${formatGigabytes(bytes, 1)}, and the disk of ${folder} has ${formatGigabytes(freeBytes, 1)} free. Free some space, or use another --models-dir.`,
      );
    }
    const path = await hub.download(folder);
    for (const file of files) await check(join(folder, basename(file.path)), file, options.hashesPath);
    // Re-read: another worker may have changed the file during the download.
    const now = (await readJson(record, downloadsFile))?.entries ?? {};
    const entry = { file: join(name.owner, name.repo, basename(path)), bytes: files[0]?.bytes ?? 0 };
    await writeFileAtomically(record, JSON.stringify({ v: 1, entries: { ...now, [spec]: entry } }, null, 2));
    return { ok: true, path };
  } catch (error) {
    if (options.signal.aborted)
      return { ok: false, message: "Stopped during the download. The next start resumes it." };
    if (error instanceof CannotDownload) return { ok: false, message: error.message };
    const reason = error instanceof Error ? error.message : String(error);
    return {
      ok: false,
      message: `${spec} could not be downloaded (${reason}). Start the worker again to resume the download.`,
    };
  }
}

/** A failure for the owner, with a remedy. */
class CannotDownload extends Error {}

interface HubFile {
  readonly path: string;
  readonly bytes: number;
  /** Null for small files, for which the hub has no hash. */
  readonly sha256: string | null;
}

const manifest = z.object({ ggufFile: z.object({ rfilename: z.string() }) });

class Hub {
  readonly #name: HubName;
  readonly #spec: string;
  readonly #options: DownloadOptions;
  readonly #endpoint: string;
  readonly #token: string | undefined;
  #path = "";

  constructor(name: HubName, options: DownloadOptions) {
    this.#name = name;
    this.#spec = `${name.owner}/${name.repo}`;
    this.#options = options;
    const { MODEL_ENDPOINT, HF_ENDPOINT, HF_TOKEN } = process.env;
    const endpoint = options.endpoint || MODEL_ENDPOINT || HF_ENDPOINT || "https://huggingface.co";
    this.#endpoint = `${endpoint.replace(/\/+$/, "")}/`;
    this.#token = (options.token || HF_TOKEN || "").trim() || undefined;
    const problem = secretProblem(this.#token ?? "");
    if (problem !== null)
      throw new CannotDownload(`HF_TOKEN ${problem}, so it is not a token of the hub. Set it again.`);
  }

  /** All files of the model. */
  async files(): Promise<HubFile[]> {
    const { wants } = this.#name;
    this.#path = "path" in wants ? wants.path : await this.#chosenBy(wants.quant);
    const files: HubFile[] = [];
    for (const path of splitFiles(this.#path)) files.push(await this.#described(path));
    return files;
  }

  /** Downloads with node-llama-cpp, which resumes partial files. */
  async download(folder: string): Promise<string> {
    const { branch, owner, repo } = this.#name;
    const { signal, onProgress, stalledMs = STALLED_MS } = this.#options;
    const stalled = new AbortController();
    const timer = setTimeout(() => stalled.abort(), stalledMs);
    let seen = -1;
    let downloader: ModelDownloader | null = null;
    try {
      const downloading = createModelDownloader({
        modelUri: `hf:${owner}/${repo}/${this.#path}${branch === "main" ? "" : `#${branch}`}`,
        dirPath: folder,
        fileName: basename(this.#path),
        endpoints: { huggingFace: this.#endpoint },
        ...(this.#token === undefined ? {} : { tokens: { huggingFace: this.#token } }),
        showCliProgress: false,
        deleteTempFileOnCancel: false,
        onProgress: ({ downloadedSize, totalSize }) => {
          if (downloadedSize > seen) timer.refresh();
          seen = Math.max(seen, downloadedSize);
          onProgress({ file: basename(this.#path), bytes: downloadedSize, totalBytes: totalSize });
        },
      });
      const stop = AbortSignal.any([signal, stalled.signal]);
      downloader = await unlessAborted(downloading, stop);
      return await unlessAborted(downloader.download({ signal: stop }), stop);
    } catch (error) {
      await downloader?.cancel({ deleteTempFile: false });
      if (stalled.signal.aborted && !signal.aborted) {
        throw new CannotDownload(
          `The download of ${this.#spec} makes no progress. Start the worker again to resume it.`,
        );
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks the hub for the file of a quantisation, in the way llama.cpp does. */
  async #chosenBy(quant: string): Promise<string> {
    const { owner, repo } = this.#name;
    const response = await this.#ask(`v2/${owner}/${repo}/manifests/${encodeURIComponent(quant)}`, "GET", quant);
    const chosen = manifest.safeParse(await response.json().catch(() => null)).data?.ggufFile.rfilename;
    const named = chosen === undefined ? null : hubName(`hf:${owner}/${repo}/${chosen}`);
    if (named === null || !("path" in named.wants)) {
      throw new CannotDownload(`${this.#endpoint} does not answer like a model hub. Check HF_ENDPOINT.`);
    }
    return named.wants.path;
  }

  async #described(path: string): Promise<HubFile> {
    const { owner, repo, branch } = this.#name;
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    const response = await this.#ask(`${owner}/${repo}/resolve/${encodeURIComponent(branch)}/${encoded}`, "HEAD", path);
    const { headers, ok } = response;
    // The length and tag of a redirect do not describe the file.
    const own = (name: string) => (ok ? headers.get(name) : null);
    const bytes = Number(headers.get("x-linked-size") ?? own("content-length") ?? 0);
    const etag = (headers.get("x-linked-etag") ?? own("etag") ?? "").replace(/^W\//, "").replaceAll('"', "");
    return { path, bytes, sha256: /^[0-9a-f]{64}$/.test(etag) ? etag : null };
  }

  async #ask(path: string, method: "GET" | "HEAD", what: string): Promise<Response> {
    let url = new URL(path, this.#endpoint);
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      const response = await this.#fetch(url, method);
      if (response.status >= 400) throw new CannotDownload(this.#refused(response.status, what));
      const location = response.headers.get("location");
      // The hub's headers describe the file. Its storage location does not matter here.
      if (location === null || response.ok || response.headers.has("x-linked-size")) return response;
      const next = new URL(location, url);
      // Do not send the token to another origin.
      if (next.origin !== url.origin) return response;
      url = next;
    }
    throw new CannotDownload(`${this.#endpoint} redirects ${this.#spec} in a loop. Check HF_ENDPOINT.`);
  }

  async #fetch(url: URL, method: "GET" | "HEAD"): Promise<Response> {
    const { signal } = this.#options;
    try {
      return await fetch(url, {
        method,
        redirect: "manual",
        headers: {
          // The hub sends `ggufFile` only to this client.
          "user-agent": "llama-cpp",
          ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        },
        signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
      });
    } catch (error) {
      if (signal.aborted) throw error;
      throw new CannotDownload(
        `Could not reach ${this.#endpoint} for ${this.#spec}: ${networkReason(error)}. Without a network, use a local file: --model PATH.gguf.`,
      );
    }
  }

  #refused(status: number, what: string): string {
    const page = `${this.#endpoint}${this.#spec}`;
    if (status === 401 || status === 403) {
      const remedy =
        this.#token === undefined
          ? `If it is gated, accept its terms at ${page} and set HF_TOKEN. Otherwise check its name.`
          : `Accept its terms at ${page} with the account of HF_TOKEN. Otherwise check its name.`;
      return `The hub refuses ${this.#spec} (${status}). ${remedy}`;
    }
    if (status === 400 || status === 404) {
      return `The hub has no ${what === "latest" ? "GGUF file" : what} in ${this.#spec}. See ${page} for the available files.`;
    }
    return `The hub cannot serve ${this.#spec} now (${status}). Try again later, or use a local file: --model PATH.gguf.`;
  }
}

/** Rejects at the abort. The library itself retries for minutes. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

async function check(path: string, { bytes, sha256 }: HubFile, hashesPath: string): Promise<void> {
  // The downloader keeps its progress behind the content, and may write it again after truncating the file.
  if (sha256 !== null && bytes > 0 && (await stat(path)).size > bytes) await truncate(path, bytes);
  const found = await stat(path);
  let wrong: string | null = null;
  if (bytes > 0 && found.size !== bytes) wrong = `it has ${found.size} bytes, and the hub's file has ${bytes}`;
  else if (sha256 !== null && (await sha256Of(path, found, hashesPath)) !== sha256) wrong = "its SHA-256 differs";
  if (wrong === null) return;
  await rm(path, { force: true });
  throw new CannotDownload(
    `The download of ${basename(path)} differs from the hub's file (${wrong}), and was removed. Start the worker again to download it again.`,
  );
}
