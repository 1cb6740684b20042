import { existsSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import type { FolderLock } from "../../worker-agent/state/folder-lock.ts";
import { orFullDisk } from "./full-disk.ts";
import { allowedHosts, freePort, isLoopback, localUrl } from "./listen-address.ts";
import { applyMigrations, readMigrations } from "./migrations.ts";
import { NetworkNotes } from "./network-notes.ts";
import { openSecretsWarning } from "./open-secrets.ts";
import { loadPoolCode, type PoolCode } from "./pool-code.ts";
import {
  endFirstStart,
  FIRST_START,
  isFirstStart,
  loadSecrets,
  type PoolSecrets,
  RUNTIME_STATE,
  secretsFile,
} from "./pool-secrets.ts";
import { openPrivateFolder } from "./private-files.ts";
import { removeScratch } from "./runtime-scratch.ts";
import { lockState } from "./state-lock.ts";
import { isAddressInUse, type LogLine, type Prepared, startRuntime, supervise } from "./supervised-runtime.ts";
import {
  readCertificate,
  type TlsCertificate,
  type TlsFiles,
  publicUrl as urlOfCertificate,
} from "./tls-certificate.ts";
import { startTlsFront } from "./tls-front.ts";
import { trustedAuthorities } from "./trusted-authorities.ts";
import { endOrphan } from "./workerd-record.ts";

export interface PoolOptions {
  /** Holds all of the pool's state; made when absent, its owner's alone. */
  stateDir: string;
  host?: string;
  /** 0 picks a free one. */
  port?: number;
  /** Listen off loopback without TLS. */
  insecure?: boolean;
  /** Serve HTTPS with these; what workerd itself listens on is then loopback. */
  tls?: TlsFiles;
  /** Where others reach it: an origin, whose host it answers to. By default where it listens. */
  publicUrl?: string;
  /** Further host names the pool answers to. */
  allowHosts?: readonly string[];
  /** Whose pages may call the client API; as wrangler.toml says where there are none. */
  corsOrigins?: readonly string[];
  /** How long the status of a whole answer waits for the answer; as wrangler.toml says by default. */
  statusHoldSeconds?: number;
  /** The model that `auto` means for embeddings; as wrangler.toml says by default. */
  embeddingModel?: string;
  /** Of a pool that is brought into this folder; by default the folder's own, made when it has none. */
  secrets?: PoolSecrets;
  log: LogLine;
  /** The Worker's configuration; the repository's by default. */
  configPath?: string;
  /** Another entry of the Worker than the configuration's, for a measurement of what is behind its routes. */
  main?: string;
}

export interface RunningPool {
  /** How programs on this machine reach it. */
  url: string;
  /** How others do; what its card says. */
  publicUrl: string;
  secrets: PoolSecrets;
  /** No start before has done all that the one which makes a pool does; nobody brought it from elsewhere. */
  isNew: boolean;
  /** From here on it is not new any more. */
  endFirstStart(): void;
  /** Reads the certificate again, after it was renewed. Throws where it cannot be used; the old one then stays. */
  reloadCertificate(): void;
  stop(): Promise<void>;
  /** As `stop`, where it was all in vain: what this start put into a fresh state folder goes too. */
  abandon(): Promise<void>;
}

const PORT_TRIES = 3;

/**
 * The ways out to peers (docs/spec/federation.md#delivery): the runtime looks at the address that a name leads to, not at the name. Without
 * `tlsOptions` it speaks no TLS at all. `authorities`: trusted beside those that browsers trust.
 */
function peerNetworks(authorities: string[]) {
  const tlsOptions = { trustBrowserCas: true, trustedCertificates: authorities };
  return {
    PUBLIC_NETWORK: { network: { allow: ["public"], tlsOptions } },
    PRIVATE_NETWORK: { network: { allow: ["public", "private"], tlsOptions } },
  };
}
/** Where the runner notes which process is its runtime. */
export const WORKERD_RECORD = "workerd.pid";
/** What a start puts into its state folder. */
const STATE = [
  ".gitignore",
  "credentials.json",
  FIRST_START,
  "lock",
  RUNTIME_STATE,
  "secrets.json",
  "worker",
  WORKERD_RECORD,
];

/** The pool on one machine (docs/spec/pool.md#where-it-runs): the Worker of wrangler.toml in workerd, its state in a folder. */
export async function startPool(options: PoolOptions): Promise<RunningPool> {
  const host = options.host ?? "127.0.0.1";
  if (!isLoopback(host) && options.tls === undefined && options.insecure !== true) {
    throw new OperatorError(
      `Listening on ${host} lets other machines read what clients send. Serve TLS with --cert and --key, ` +
        "or say --insecure where the network is trusted.",
    );
  }
  const certificate = options.tls && readCertificate(options.tls);
  const authorities = trustedAuthorities(process.env);
  // For good, and for every process started from here: a folder that was there keeps its mode, and what Miniflare and
  // workerd put into it at whatever time is its owner's alone all the same.
  process.umask(0o077);
  const stateDir = resolve(options.stateDir);
  const found = await openPrivateFolder(stateDir, ["secrets.json", FIRST_START, WORKERD_RECORD]);
  const held = await lockState(stateDir);
  // Asked under the lock: between the look and the lock another start may have come and gone.
  const fresh = found !== "used" && !existsSync(secretsFile(stateDir));
  const lock: StateLock = {
    ...held,
    abandon() {
      if (fresh) removeState(stateDir, found === "nothing");
      held.release();
    },
  };
  try {
    const recordFile = join(stateDir, WORKERD_RECORD);
    const orphan = await endOrphan(recordFile);
    if (orphan !== undefined) options.log(`Ended the runtime that an earlier start left behind (pid ${orphan}).`);
    removeScratch(stateDir);

    const warning = openSecretsWarning(stateDir);
    if (warning !== undefined) options.log(warning);
    const isNew = options.secrets === undefined && isFirstStart(stateDir);
    const secrets = options.secrets ?? loadSecrets(stateDir);
    const code = await loadPoolCode(options);
    const prepared = migrations(code, options.log);
    // Of a pool without any state nobody has a key or a URL yet: its tables are made in the runtime that serves them.
    const isEmpty = !existsSync(join(stateDir, RUNTIME_STATE));
    if (!isEmpty) await migrateFirst(stateDir, prepared, recordFile, options.log);
    const served = { ...options, host, stateDir, certificate, authorities, secrets, isNew };
    return await serve(served, code, recordFile, lock, isEmpty ? prepared : undefined);
  } catch (error) {
    const told = orFullDisk(error, stateDir);
    lock.abandon();
    throw told;
  }
}

async function serve(
  options: PoolOptions & {
    host: string;
    certificate: TlsCertificate | undefined;
    authorities: string[];
    secrets: PoolSecrets;
    isNew: boolean;
  },
  code: PoolCode,
  recordFile: string,
  lock: StateLock,
  prepared: Prepared | undefined,
): Promise<RunningPool> {
  const { stateDir, log, tls, certificate, authorities, secrets, isNew } = options;
  const outer = { host: options.host, port: options.port || (certificate ? await freePort(options.host) : 0) };
  const notes = new NetworkNotes();
  // Behind TLS the pool itself is for this machine only, on a port that nobody needs to know.
  const { host, port: wanted } = certificate ? { host: "127.0.0.1", port: 0 } : outer;
  for (let attempt = 1; ; attempt++) {
    const port = wanted || (await freePort(host));
    const url = localUrl(host, port);
    const ownUrl = certificate ? urlOfCertificate(outer.host, outer.port, certificate.names) : url;
    const publicUrl = options.publicUrl ?? ownUrl;
    const hosts = [...(options.allowHosts ?? []), ...(certificate?.names ?? []), new URL(publicUrl).hostname];
    const bindings = {
      ...code.vars,
      POOL_SECRET_KEY: secrets.pool_secret_key,
      ADMIN_TOKEN: secrets.admin_token,
      METRICS_TOKEN: secrets.metrics_token,
      ONE_MACHINE: "yes",
      POOL_URL: publicUrl,
      ALLOWED_HOSTS: allowedHosts(outer.host, hosts),
      ...(options.corsOrigins?.length && { CORS_ORIGINS: options.corsOrigins.join(",") }),
      ...(options.statusHoldSeconds !== undefined && { STATUS_HOLD_SECONDS: String(options.statusHoldSeconds) }),
      ...(options.embeddingModel !== undefined && { EMBEDDING_MODEL: options.embeddingModel }),
    };
    const pool = {
      ...code.worker,
      // The entry's caller may name the worker that answers (`MF-Route-Override`): a name nobody can guess is no name.
      name: `pool-${crypto.randomUUID()}`,
      modules: true as const,
      script: code.script,
      bindings,
      serviceBindings: { ...peerNetworks(authorities), NETWORK_NOTES: notes.service },
      unsafeDirectSockets: [{ host, port }],
    };
    try {
      const served = { name: pool.name, crons: code.crons, notes };
      const supervised = await supervise(
        () => startRuntime(stateDir, [pool], recordFile, log, { served, prepared }),
        log,
      );
      const front =
        certificate &&
        (await startTlsFront(outer, { host, port }, certificate).catch(async (error: unknown) => {
          await supervised.stop();
          throw error;
        }));
      await lock.setUrl(publicUrl);
      const end = async () => {
        await front?.stop();
        await supervised.stop();
      };
      return {
        url,
        publicUrl,
        secrets,
        isNew,
        endFirstStart: () => endFirstStart(stateDir),
        reloadCertificate: () => tls && front?.use(readCertificate(tls)),
        stop: () => end().then(() => lock.release()),
        abandon: () => end().then(() => lock.abandon()),
      };
    } catch (error) {
      if (!isAddressInUse(error)) throw error;
      if (wanted) {
        throw new OperatorError(
          `Port ${port} on ${host} is in use. Choose another with --port, or 0 for any free one.`,
        );
      }
      if (attempt >= PORT_TRIES) throw error;
    }
  }
}

interface StateLock extends FolderLock {
  /** As `release`, after removing what was made here; before, so that whoever starts next keeps theirs. */
  abandon(): void;
}

/** Only what is ours: a file that a person put there stays, and all with it. */
function removeState(stateDir: string, made: boolean): void {
  const names = readdirSync(stateDir);
  if (!names.every((name) => STATE.includes(name))) return;
  if (made) rmSync(stateDir, { recursive: true });
  else for (const name of names) rmSync(join(stateDir, name), { recursive: true, force: true });
}

/**
 * Brings D1 up to date. What is applied D1 alone says, at every start: a note beside it would be believed over a database
 * that was restored from elsewhere.
 */
function migrations(code: PoolCode, log: LogLine): Prepared {
  return {
    databases: code.worker.d1Databases,
    async prepare(database) {
      const applied = await applyMigrations(database, readMigrations(code.migrationsDir));
      for (const migration of applied) log(`Applied migration ${migration}.`);
    },
  };
}

/** Before anything is served: with a fixed port, agents and clients return at once. */
async function migrateFirst(stateDir: string, prepared: Prepared, recordFile: string, log: LogLine): Promise<void> {
  const { dispose } = await startRuntime(stateDir, [], recordFile, log, { prepared });
  await dispose();
}
