import { signCheckpoint } from "../../schema/crypto/signed-event.ts";
import { type Audience, audience, type SignedCheckpoint } from "../../schema/wire/events.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import type { RecordOutbox } from "../record/record-outbox.ts";
import { checkpointRow } from "./checkpoint-row.ts";
import { type LogState, numberIn } from "./log-machine.ts";

type KeysEnv = Parameters<typeof poolKeys>[0];

/** Signed checkpoints of this log: made when they are read, and kept in the record from time to time. */
export class Checkpoints {
  readonly #env: KeysEnv;
  readonly #storage: DurableObjectStorage;
  readonly #records: RecordOutbox;
  /** The last one of each audience: a checkpoint of the same number is not signed twice. */
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

  /** Keeps them in the record: they show later whether the log was cut or rewritten. */
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
