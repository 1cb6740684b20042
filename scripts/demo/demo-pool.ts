import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import { type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { EventBody } from "../../schema/wire/events.ts";
import type { AdminClient } from "../runtime/admin-client.ts";
import { type RunningAgent, startAgent } from "../runtime/agent-process.ts";
import { followEvents } from "../runtime/event-stream.ts";
import { type LocalNetwork, startLocalNetwork } from "../runtime/local-network.ts";
import { readSecrets } from "../runtime/pool-secrets.ts";
import type { LogLine } from "../runtime/supervised-runtime.ts";

/** An event in a pool's log, and when its operator saw it. Times are epoch ms. */
export interface SeenEvent extends EventBody {
  contentId: string;
  seq: number;
  /** By the clock of the pool that wrote it. */
  writtenMs: number;
  seenMs: number;
}

export interface DemoContext {
  /** The parent of the pools' folders. */
  folder: string;
  log: LogLine;
  signal: AbortSignal;
}

/** Files with measurements of the first worker, which the other workers copy. */
const MEASUREMENT_FILES = ["calibration.json", "model-hashes.json"];

/** One pool with its own folder. Its operator follows its whole log. */
export class DemoPool {
  readonly name: string;
  readonly #context: DemoContext;
  readonly #agents: RunningAgent[] = [];
  readonly #starting = new Set<Promise<unknown>>();
  #network: LocalNetwork | undefined;
  #events: SeenEvent[] = [];
  #following: AbortController | undefined;
  #wake = new Set<() => void>();

  constructor(name: string, context: DemoContext) {
    this.name = name;
    this.#context = context;
  }

  /** Starts the pool. A second start uses the same folder and address. */
  async start(): Promise<void> {
    const port = this.#network === undefined ? 0 : Number(new URL(this.url).port);
    const { log, signal } = this.#context;
    const named = (line: string) => log(`${this.name}: ${line}`);
    const starting = startLocalNetwork({ stateDir: this.#stateDir, port, worker: false, signal, log: named });
    this.#network = await this.#tracked(starting);
    this.#events = [];
    this.#following = new AbortController();
    void this.#follow(this.#following.signal);
  }

  /** Ends all processes, also those that are still starting. */
  async stop(): Promise<void> {
    await Promise.allSettled(this.#starting);
    this.#following?.abort();
    await Promise.all(this.#agents.splice(0).map((agent) => agent.stop()));
    await this.#network?.stop();
  }

  get url(): string {
    return this.#running.credentials.url;
  }

  get atomId(): string {
    return this.#running.credentials.atom_id;
  }

  get adminToken(): string {
    return this.#running.credentials.admin_token;
  }

  get admin(): AdminClient {
    return this.#running.admin;
  }

  get #running(): LocalNetwork {
    if (this.#network === undefined) throw new Error(`${this.name} does not run`);
    return this.#network;
  }

  get #stateDir(): string {
    return join(this.#context.folder, this.name.toLowerCase());
  }

  get events(): readonly SeenEvent[] {
    return this.#events;
  }

  /** Resolves with the first matching event in the log. */
  async event(matches: (event: SeenEvent) => boolean): Promise<SeenEvent> {
    const { signal } = this.#context;
    for (;;) {
      signal.throwIfAborted();
      const found = this.#events.find(matches);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#wake.add(resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  }

  /** Starts a worker with the embedded model. Resolves when the log shows that it joined. */
  async join(worker: string): Promise<SeenEvent> {
    const stateDir = join(this.#stateDir, worker);
    mkdirSync(stateDir, { mode: 0o700 });
    const first = join(this.#stateDir, FIRST_WORKER);
    for (const name of MEASUREMENT_FILES.filter((each) => existsSync(join(first, each)))) {
      copyFileSync(join(first, name), join(stateDir, name));
    }
    const known = new Set(this.#events.map(({ contentId }) => contentId));
    const { log } = this.#context;
    const named = (line: string) => log(`${this.name}: ${line}`);
    const agent = await this.#tracked(startAgent({ poolUrl: this.url, admin: this.admin, stateDir, log: named }));
    this.#agents.push(agent);
    const joined = this.event(({ type, contentId }) => type === "worker_joined" && !known.has(contentId));
    return Promise.race([joined, agent.ended.then(() => joined)]);
  }

  /** The pool's own key. */
  async signer(): Promise<Signer> {
    const secret = fromBase64(readSecrets(this.#stateDir)?.pool_secret_key ?? "");
    if (secret === null) throw new Error(`${this.name} has no secret key`);
    return signerFrom(secret);
  }

  #tracked<T>(starting: Promise<T>): Promise<T> {
    const tracked = starting.finally(() => this.#starting.delete(tracked));
    this.#starting.add(tracked);
    return tracked;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { url, admin_token } = this.#running.credentials;
    const lost = () => this.#context.log(`${this.name}: the stream of its log was lost`);
    for await (const { seq, event } of followEvents(url, admin_token, { audience: "all", since: 0, lost, signal })) {
      const opened = await openEvent(event);
      if (!opened.ok || signal.aborted) continue;
      const writtenMs = opened.event.hlc.physical_us / 1_000;
      this.#events.push({ ...opened.event, contentId: event.content_id, seq, writtenMs, seenMs: now() });
      const waiting = [...this.#wake];
      this.#wake.clear();
      for (const wake of waiting) wake();
    }
  }
}

export const FIRST_WORKER = "worker-1";

/** Epoch ms with a fraction, like the clock of events. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
