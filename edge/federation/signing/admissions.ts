import { LIMITS } from "../../../schema/wire/limits.ts";
import { chargeWork, workWaitMs } from "../sync/peer-work-rate-rules.ts";
import type { PeerRateLimits } from "./peer-rate-rules.ts";
import { afterPurge, expiredThroughSeconds, type NonceRow } from "./replay-window-rules.ts";
import {
  type AdmissionRequest,
  admitSigned,
  NO_TRAFFIC,
  type PeerTraffic,
  type SignedAdmission,
} from "./signed-admission-rules.ts";

const EXPIRED = "SELECT nonce, timestamp_s FROM nonces WHERE timestamp_s <= ? ORDER BY timestamp_s, nonce LIMIT ?";

/**
 * Admits the signed requests of one peer, in the peer's `Bond`, and stores nonces and rates. The rules are in
 * `signed-admission-rules.ts`.
 */
export class Admissions {
  readonly #storage: DurableObjectStorage;
  #traffic: PeerTraffic;
  /** The operator's setting, as of the last request. */
  #workMsPerSecond: number = LIMITS.peerWorkMsPerSecond;
  /** Nonces of admitted requests that are not on disk yet. */
  #rows = new Map<string, NonceRow>();
  #committing: Promise<void> | null = null;

  constructor(storage: DurableObjectStorage) {
    const { kv, sql } = storage;
    sql.exec("CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, timestamp_s INTEGER NOT NULL) WITHOUT ROWID");
    sql.exec("CREATE INDEX IF NOT EXISTS nonces_timestamp ON nonces (timestamp_s)");
    this.#storage = storage;
    this.#traffic = kv.get("traffic") ?? NO_TRAFFIC;
  }

  /** The newest version that the peer has signed with. */
  get signatureVersion(): 1 | 2 {
    return this.#traffic.signatureVersion;
  }

  /**
   * Admits or refuses a request. Decides in the order of the calls, without waiting. When this resolves, an admitted
   * request is on disk.
   */
  async admit(request: AdmissionRequest, limits: PeerRateLimits, nowMs: number): Promise<SignedAdmission> {
    this.#workMsPerSecond = limits.workMsPerSecond;
    const step = admitSigned(this.#traffic, request, this.#hasSeen(request.nonce), limits, nowMs);
    if (!step.ok) return step;
    this.#traffic = step.traffic;
    this.#rows.set(step.row.nonce, step.row);
    this.#committing ??= this.#commitSoon();
    await this.#committing;
    return step;
  }

  /** How long until the peer may cost this pool more work, in ms. */
  workWaitMs(nowMs: number): number {
    return workWaitMs(this.#traffic.rate.workPaidAtMs ?? 0, this.#workMsPerSecond, nowMs);
  }

  /**
   * Charges the peer for work. The charge is stored with the next admitted request, so a crash loses less than one
   * burst.
   */
  chargeWork(costUs: number, nowMs: number): void {
    const { rate } = this.#traffic;
    const workPaidAtMs = chargeWork(rate.workPaidAtMs ?? 0, costUs, this.#workMsPerSecond, nowMs);
    this.#traffic = { ...this.#traffic, rate: { ...rate, workPaidAtMs } };
  }

  /** Call inside the transaction of a registration, with the version that the peer signed it with. */
  noteSignatureVersion(signatureVersion: 1 | 2): void {
    this.#save({ ...this.#traffic, signatureVersion: signatureVersion === 2 ? 2 : this.#traffic.signatureVersion });
  }

  /** Call inside a transaction, for a peer whose nonces are lost: requests that were signed before now are refused. */
  refuseEarlierRequests(signatureVersion: 1 | 2, nowMs: number): void {
    this.#save({ ...NO_TRAFFIC, signatureVersion, purgedThroughSeconds: Math.floor(nowMs / 1_000) });
  }

  /** Whether any nonce is stored, expired or not. */
  holdsNonces(): boolean {
    return this.#rows.size > 0 || [...this.#storage.sql.exec("SELECT 1 FROM nonces LIMIT 1")].length > 0;
  }

  /** The nonces on disk, the oldest first. */
  storedNonces(): NonceRow[] {
    const stored = "SELECT nonce, timestamp_s AS timestampSeconds FROM nonces ORDER BY timestamp_s, nonce";
    return this.#storage.sql.exec<NonceRow & Record<string, SqlStorageValue>>(stored).toArray();
  }

  /** Deletes expired nonces, the oldest first, at most `noncesPerPurge`. True: there may be more. */
  purge(nowMs: number): boolean {
    const which = [expiredThroughSeconds(Math.floor(nowMs / 1_000)), LIMITS.noncesPerPurge];
    return this.#storage.transactionSync(() => {
      const { sql } = this.#storage;
      const { n, newest } = sql
        .exec<{ n: number; newest: number | null }>(
          `SELECT count(*) AS n, max(timestamp_s) AS newest FROM (${EXPIRED})`,
          ...which,
        )
        .one();
      if (newest === null) return false;
      sql.exec(`DELETE FROM nonces WHERE nonce IN (SELECT nonce FROM (${EXPIRED}))`, ...which);
      this.#save({ ...this.#traffic, purgedThroughSeconds: afterPurge(this.#traffic.purgedThroughSeconds, newest) });
      return n === LIMITS.noncesPerPurge;
    });
  }

  /** Call before the storage is deleted. Requests that were admitted and are not on disk are then not written. */
  forget(): void {
    this.#rows.clear();
    this.#traffic = NO_TRAFFIC;
  }

  #hasSeen(nonce: string): boolean {
    if (this.#rows.has(nonce)) return true;
    return [...this.#storage.sql.exec("SELECT 1 FROM nonces WHERE nonce = ?", nonce)].length > 0;
  }

  /**
   * Commits the requests of one turn in one transaction, because most of the cost of a request is the wait for the
   * disk.
   */
  #commitSoon(): Promise<void> {
    return new Promise((resolve, reject) => {
      setTimeout(() => {
        const rows = [...this.#rows.values()];
        this.#rows.clear();
        this.#committing = null;
        try {
          if (rows.length > 0) this.#commit(rows);
          resolve();
        } catch (error) {
          this.#traffic = this.#storage.kv.get("traffic") ?? NO_TRAFFIC;
          reject(error);
        }
      }, 0);
    });
  }

  #commit(rows: readonly NonceRow[]): void {
    this.#storage.transactionSync(() => {
      for (const { nonce, timestampSeconds } of rows) {
        this.#storage.sql.exec("INSERT INTO nonces VALUES (?, ?)", nonce, timestampSeconds);
      }
      this.#save(this.#traffic);
    });
  }

  #save(traffic: PeerTraffic): void {
    this.#storage.kv.put("traffic", traffic);
    this.#traffic = traffic;
  }
}
