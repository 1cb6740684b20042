import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import type { FolderLock } from "../../worker-agent/state/folder-lock.ts";
import { removeFailedStart } from "./failed-start.ts";
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
import { endOrphan, WORKERD_RECORD } from "./workerd-record.ts";

export interface PoolOptions {
  /** The folder for all state of the pool. A new one gets mode 0700. */
  stateDir: string;
  host?: string;
  /** 0 picks a free port. */
  port?: number;
  /** Allows other addresses than loopback without TLS. */
  insecure?: boolean;
  /** Serves HTTPS with these files; workerd itself then listens on loopback. */
  tls?: TlsFiles;
  /** The origin for clients, workers and peers. The pool answers to its host. By default the address it listens on. */
  publicUrl?: string;
  /** More host names that the pool answers to. */
  allowHosts?: readonly string[];
  /** Origins whose pages may call the client API. By default those of wrangler.toml. */
  corsOrigins?: readonly string[];
  /** How long a non-streamed response holds its status back. By default as in wrangler.toml. */
  statusHoldSeconds?: number;
  /** The model that `auto` means for embeddings. By default as in wrangler.toml. */
  embeddingModel?: string;
  /** The secrets of a pool that is imported into this folder. By default the folder's own, created if there are none. */
  secrets?: PoolSecrets;
  log: LogLine;
  /** The Worker's configuration. By default the repository's. */
  configPath?: string;
  /** Another entry file of the Worker, for measurements without its routes. */
  main?: string;
}

export interface RunningPool {
  /** The pool's URL for programs on this machine. */
  url: string;
  /** The pool's URL for other machines, which its card has too. */
  publicUrl: string;
  secrets: PoolSecrets;
  /** Whether the first start of a new pool is not complete yet. False for an imported pool. */
  isNew: boolean;
  /** Marks the first start as complete. */
  endFirstStart(): void;
  /** Reloads the certificate. Throws if the new one cannot be used; the old one then stays. */
  reloadCertificate(): void;
  stop(): Promise<void>;
  /** As `stop` after a failed start: also removes what this start put into a new state folder. */
  abandon(): Promise<void>;
}

const PORT_TRIES = 3;

/**
 * The networks for calls to peers (docs/spec/federation.md#delivery). The runtime checks the resolved address, not the name.
 * Without `tlsOptions` there is no TLS at all. `authorities` are trusted in addition to those that browsers trust.
 */
function peerNetworks(authorities: string[]) {
  const tlsOptions = { trustBrowserCas: true, trustedCertificates: authorities };
  return {
    PUBLIC_NETWORK: { network: { allow: ["public"], tlsOptions } },
    PRIVATE_NETWORK: { network: { allow: ["public", "private"], tlsOptions } },
  };
}

/** Starts the pool on one machine (docs/spec/pool.md#where-it-runs): the Worker in workerd, with its state in a folder. */
export async function startPool(options: PoolOptions): Promise<RunningPool> {
  const host = options.host ?? "127.0.0.1";
  if (!isLoopback(host) && options.tls === undefined && options.insecure !== true) {
    throw new OperatorError(
      `Listening on ${host} lets other machines read what clients send. Serve TLS with --cert and --key, ` +
        "or add --insecure if you trust the network.",
    );
  }
  const certificate = options.tls && readCertificate(options.tls);
  const authorities = trustedAuthorities(process.env);
  // For the rest of this process and its children: an existing folder keeps its mode, but only the owner may read the files
  // that Miniflare and workerd make in it.
  process.umask(0o077);
  const stateDir = resolve(options.stateDir);
  const found = await openPrivateFolder(stateDir, ["secrets.json", FIRST_START, WORKERD_RECORD]);
  const held = await lockState(stateDir);
  // Checked under the lock, because another start may have run before this one got the lock.
  const isNewState = found !== "used" && !existsSync(secretsFile(stateDir));
  const lock: StateLock = {
    ...held,
    abandon() {
      if (isNewState) removeFailedStart(stateDir, found === "nothing");
      held.release();
    },
  };
  try {
    const recordFile = join(stateDir, WORKERD_RECORD);
    const orphan = await endOrphan(recordFile);
    if (orphan !== undefined) options.log(`Ended the runtime of an earlier start (pid ${orphan}).`);
    removeScratch(stateDir);

    const warning = openSecretsWarning(stateDir);
    if (warning !== undefined) options.log(warning);
    const isNew = options.secrets === undefined && isFirstStart(stateDir);
    const secrets = options.secrets ?? loadSecrets(stateDir);
    const code = await loadPoolCode(options);
    const prepared = migrations(code, options.log);
    // No client has a key or the URL of a new pool yet, so its tables are created in the runtime that already serves.
    const isEmpty = !existsSync(join(stateDir, RUNTIME_STATE));
    if (!isEmpty) await migrateFirst(stateDir, prepared, recordFile, options.log);
    const served = { ...options, host, stateDir, certificate, authorities, secrets, isNew };
    return await serve(served, code, recordFile, lock, isEmpty ? prepared : undefined);
  } catch (error) {
    const explained = orFullDisk(error, stateDir);
    lock.abandon();
    throw explained;
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
  // With TLS, workerd itself listens on loopback, on any free port.
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
      // A caller of the entry could select this worker by name (`MF-Route-Override`), so the name is not guessable.
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
        throw new OperatorError(`Port ${port} on ${host} is in use. Choose another with --port. 0 picks a free port.`);
      }
      if (attempt >= PORT_TRIES) throw error;
    }
  }
}

interface StateLock extends FolderLock {
  /** Removes what this start made, then releases: the next start keeps its own files. */
  abandon(): void;
}

/**
 * Migrates D1. Only D1 itself records what is applied: a record outside of it would be wrong after a restore of the database.
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

/** Migrates before the pool serves, because with a fixed port workers and clients return immediately. */
async function migrateFirst(stateDir: string, prepared: Prepared, recordFile: string, log: LogLine): Promise<void> {
  const { dispose } = await startRuntime(stateDir, [], recordFile, log, { prepared });
  await dispose();
}
