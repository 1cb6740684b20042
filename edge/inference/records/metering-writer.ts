import type { Hash } from "node:crypto";
import { canonicalBytes } from "../../../schema/crypto/canonical.ts";
import type { MeteringRow } from "../../../schema/db/metering.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { RecordOutbox } from "../../record/record-outbox.ts";
import { WorkerKeys } from "../../workers/worker-keys.ts";
import type { Job, JobEnd } from "../jobs/lane-state.ts";
import { doubtsOf, wholeHash } from "./metering-record.ts";

const UTF8 = new TextDecoder();

interface MeteringWriterContext {
  readonly storage: DurableObjectStorage;
  readonly outbox: RecordOutbox;
  /** The pool's own atom id. */
  atomId(): Promise<string>;
  /** Called when rows are in the outbox. */
  written(): void;
}

/** The parts of a metering row that are known when the job is done. */
interface DoneJob {
  readonly row: Omit<MeteringRow, "outcome" | "flags">;
  readonly flags: readonly string[];
  readonly publicKey: string;
  /** The hash of the streamed text; null for a whole answer. */
  readonly streamedHash: Hash | null;
}

/**
 * Writes a metering row for each ended job, after its answer is out. Rows of jobs that end close together share one
 * write and one trip to D1 (docs/spec/pool.md#shape, rules 4 and 6).
 */
export class MeteringWriter {
  readonly #context: MeteringWriterContext;
  readonly #workerKeys = new WorkerKeys();
  readonly #unwritten: MeteringRow[] = [];
  #writeTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(context: MeteringWriterContext) {
    this.#context = context;
  }

  get unwrittenRows(): number {
    return this.#unwritten.length;
  }

  add(row: MeteringRow): void {
    this.#unwritten.push(row);
    this.#writeTimer ??= setTimeout(() => {
      this.#writeTimer = null;
      this.write();
      this.#context.written();
    }, LIMITS.recordGroupMs);
  }

  /** Checks the record that the worker signed, and adds the row with flags for what is wrong. */
  async addDone(job: Job, end: Extract<JobEnd, { outcome: "done" }>, done: DoneJob): Promise<void> {
    // Compute the hash before the first await: afterwards the answer may be read and its vectors freed.
    const responseSha256 = (done.streamedHash ?? wholeHash(job, end)).digest("hex");
    const signed = canonicalBytes(end.metering);
    const [pool, key] = [await this.#context.atomId(), await this.#workerKeys.of(done.publicKey)];
    const doubts = await doubtsOf(job, end, { pool, key, signed, responseSha256 });
    this.add({
      ...done.row,
      outcome: "done",
      claimedPromptTokens: end.usage.promptTokens,
      claimedCompletionTokens: end.usage.completionTokens,
      flags: [...done.flags, ...doubts].join(","),
      record: UTF8.decode(signed),
      signature: end.signature,
    });
  }

  /** Moves all rows into the outbox. */
  write(): void {
    const rows = this.#unwritten.splice(0);
    this.#context.storage.transactionSync(() => {
      for (const row of rows) this.#context.outbox.put("metering", row);
    });
  }
}
