import { type ClockRefusal, clockRefusal } from "./clock-guard-rules.ts";
import type { LogClock as LogClockView } from "./event-log-rpc.ts";
import type { LogStorage } from "./log-storage.ts";

/**
 * Knows whether the wall clock may move the log's clock, from the log's own past and from the clocks of trusted peers.
 * The rules are in `clock-guard-rules.ts`.
 */
export class LogClock {
  readonly #sql: SqlStorage;
  readonly #log: LogStorage;
  /** Trusted peers that report this pool's clock as ahead, and whose reports count. */
  #witnesses: string[];

  /** Construct it after `Subscribers`, whose table has the peers that an admin trusts. */
  constructor(sql: SqlStorage, log: LogStorage) {
    this.#sql = sql;
    this.#log = log;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS peer_clocks (atom_id TEXT PRIMARY KEY, ahead_ms INTEGER NOT NULL,
       disbelieved INTEGER NOT NULL) WITHOUT ROWID`,
    );
    this.#witnesses = this.#readWitnesses();
  }

  /** Why the log takes no events now; null if it takes them. */
  refusal(nowMs: number): ClockRefusal | null {
    const { confirmedUs = 0 } = this.#log.state;
    return clockRefusal(nowMs * 1_000, {
      clock: this.#log.clock,
      confirmedUs,
      aheadOfPeers: this.#witnesses.length,
    });
  }

  view(): LogClockView {
    const nowMs = Date.now();
    return {
      refused: this.refusal(nowMs),
      last_ms: Math.floor(this.#log.clock.physical_us / 1_000),
      now_ms: nowMs,
      peers_ahead: [...this.#witnesses],
    };
  }

  /** A report that an admin has dismissed stays dismissed until the peer reports null. */
  report(atomId: string, aheadMs: number | null): void {
    if (aheadMs === null) this.#sql.exec("DELETE FROM peer_clocks WHERE atom_id = ?", atomId);
    else {
      this.#sql.exec(
        "INSERT INTO peer_clocks VALUES (?1, ?2, 0) ON CONFLICT (atom_id) DO UPDATE SET ahead_ms = ?2",
        atomId,
        Math.round(aheadMs),
      );
    }
    this.trustChanged();
  }

  /** Only reports of peers that an admin trusts count. */
  trustChanged(): void {
    this.#witnesses = this.#readWitnesses();
  }

  /** An admin confirms the wall clock, which read `nowMs`, and dismisses all reports until now. */
  confirm(nowMs: number): void {
    this.#log.commit(() => {
      this.#sql.exec("UPDATE peer_clocks SET disbelieved = 1");
      this.#log.replace({ ...this.#log.state, confirmedUs: nowMs * 1_000 });
    });
    this.#witnesses = [];
  }

  #readWitnesses(): string[] {
    const rows = this.#sql.exec<{ atom_id: string }>(
      `SELECT atom_id FROM peer_clocks
       WHERE disbelieved = 0 AND atom_id IN (SELECT atom_id FROM told) ORDER BY atom_id`,
    );
    return [...rows].map((row) => row.atom_id);
  }
}
