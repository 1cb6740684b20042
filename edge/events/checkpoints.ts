import { signCheckpoint } from "../../schema/crypto/signed-event.ts";
import { type Audience, audience, type SignedCheckpoint } from "../../schema/wire/events.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import type { RecordOutbox } from "../record/record-outbox.ts";
import { checkpointRow } from "./checkpoint-row.ts";
import { type LogState, numberIn } from "./log-machine.ts";

type KeysEnv = Parameters<typeof poolKeys>[0];

/** Signs checkpoints of this log when they are read, and stores some of them in the record. */
export class Checkpoints {
  readonly #env: KeysEnv;
  readonly #storage: DurableObjectStorage;
  readonly #records: RecordOutbox;
  /** The last checkpoint of each audience, so that the same number is not signed twice. */
  readonly #last = new Map<Audience, SignedCheckpoint>();

  constructor(env: KeysEnv, storage: DurableObjectStorage, records: RecordOutbox) {
    this.#env = env;
    this.#storage = storage;
    this.#records = records;
  }

  async of(which: Audience, state: LogState): Promise<SignedCheckpoint> {
    const { logId: log_id } = state;
    const { chain, hlc, seq: place } = state.heads[which];
    const seq = numberIn(state, which, place);
    const last = this.#last.get(which);
    if (last?.checkpoint.log_id === log_id && last.checkpoint.seq === seq) return last;
    const { signer } = await poolKeys(this.#env);
    const signed = await signCheckpoint(signer, { log_id, audience: which, seq, chain, hlc });
    this.#last.set(which, signed);
    return signed;
  }

  ofAll(state: LogState): Promise<SignedCheckpoint[]> {
    return Promise.all(audience.options.map((which) => this.of(which, state)));
  }

  /**
   * Stores a checkpoint of each audience in the record. Stored checkpoints show later whether the log was cut or
   * rewritten.
   */
  async keep(state: LogState): Promise<void> {
    const nowMs = Date.now();
    const signed = await this.ofAll(state);
    this.#storage.transactionSync(() => {
      for (const each of signed) {
        if (each.checkpoint.seq > 0) this.#records.put("checkpoints", checkpointRow(each, nowMs));
      }
    });
  }
}
