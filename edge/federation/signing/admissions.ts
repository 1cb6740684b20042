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

/** What one peer's signed requests leave in its `Bond`: nonces and the rate. The rules are in `signed-admission-rules.ts`. */
export class Admissions {
  readonly #storage: DurableObjectStorage;
  #traffic: PeerTraffic;
  /** As the policy said with the last request. */
  #workMsPerSecond: number = LIMITS.peerWorkMsPerSecond;
  /** Admitted, and not on disk yet. */
  #rows = new Map<string, NonceRow>();
  #committing: Promise<void> | null = null;

  constructor(storage: DurableObjectStorage) {
    const { kv, sql } = storage;
    sql.exec("CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, timestamp_s INTEGER NOT NULL) WITHOUT ROWID");
    sql.exec("CREATE INDEX IF NOT EXISTS nonces_timestamp ON nonces (timestamp_s)");
    this.#storage = storage;
    this.#traffic = kv.get("traffic") ?? NO_TRAFFIC;
  }

  /** The newest that the peer has signed with. */
  get signatureVersion(): 1 | 2 {
    return this.#traffic.signatureVersion;
  }

  /** Decided at once, in the order of arrival; what passes is on disk when this resolves. */
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

  /** How long until the peer may have this pool do more for it. */
  workWaitMs(nowMs: number): number {
    return workWaitMs(this.#traffic.rate.workPaidAtMs ?? 0, this.#workMsPerSecond, nowMs);
  }

  /** On disk with the next request that is admitted: what a crash forgets is less than one burst. */
  chargeWork(costUs: number, nowMs: number): void {
    const { rate } = this.#traffic;
    const workPaidAtMs = chargeWork(rate.workPaidAtMs ?? 0, costUs, this.#workMsPerSecond, nowMs);
    this.#traffic = { ...this.#traffic, rate: { ...rate, workPaidAtMs } };
  }

  /** Inside the transaction of a registration that it came with. */
  noteSignatureVersion(signatureVersion: 1 | 2): void {
    this.#save({ ...this.#traffic, signatureVersion: signatureVersion === 2 ? 2 : this.#traffic.signatureVersion });
  }

  /** Inside a transaction: of a peer whose nonces are lost, nothing signed until now is taken. */
  refuseEarlierRequests(signatureVersion: 1 | 2, nowMs: number): void {
    this.#save({ ...NO_TRAFFIC, signatureVersion, purgedThroughSeconds: Math.floor(nowMs / 1_000) });
  }

  /** Whether there will be something to purge. */
  holdsNonces(): boolean {
    return this.#rows.size > 0 || [...this.#storage.sql.exec("SELECT 1 FROM nonces LIMIT 1")].length > 0;
  }

  /** So many of what has expired, the oldest first; true where there may be more. */
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

  /** Before the storage is emptied: nothing is written any more. */
  forget(): void {
    this.#rows.clear();
    this.#traffic = NO_TRAFFIC;
  }

  #hasSeen(nonce: string): boolean {
    if (this.#rows.has(nonce)) return true;
    return [...this.#storage.sql.exec("SELECT 1 FROM nonces WHERE nonce = ?", nonce)].length > 0;
  }

  /** Requests that come in one moment share one transaction: to wait for the disk is most of what each would cost. */
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
