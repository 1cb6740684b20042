import { signEvent } from "../../schema/crypto/signed-event.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { tick } from "./clock-rules.ts";
import type { NewLog } from "./event-log-rpc.ts";
import type { LogClock } from "./log-clock.ts";
import { startAnew } from "./log-machine.ts";
import { type LogStorage, randomLogId } from "./log-storage.ts";
import type { OwnEvents } from "./own-events.ts";

const RETRY_MS = 5;

/** Renames the log. The event that records the new name is the first event under it, in the same commit. */
export async function startNewLog(
  env: Parameters<typeof poolKeys>[0],
  { by, clockAnew }: { by: string; clockAnew: boolean },
  { log, clock, own }: { log: LogStorage; clock: LogClock; own: OwnEvents },
): Promise<NewLog> {
  const keys = await poolKeys(env);
  for (;;) {
    const nowUs = Date.now() * 1_000;
    const refused = clock.refusal(nowUs / 1_000);
    if (refused !== null) return { ok: false, code: refused };
    const signedAfter = log.state;
    const { logId: before } = signedAfter;
    const log_id = randomLogId();
    const start = clockAnew ? { physical_us: nowUs, logical: 0 } : log.clock;
    const started = clockAnew ? startAnew(signedAfter, log_id, start) : { ...signedAfter, logId: log_id, clock: start };
    const starts = clockAnew ? started.starts : undefined;
    const event = draft("log_started", { by, log_id, before, ...(starts && { starts }) });
    const hlc = tick(start, nowUs);
    const wire = await signEvent(keys.signer, { ...event, hlc });
    // Another event was appended meanwhile, or is being signed. Try again, so that the new log starts after it.
    if (log.state !== signedAfter || own.isWriting) {
      await scheduler.wait(RETRY_MS);
      continue;
    }
    log.commit(() => {
      log.replace(started);
      log.clock = hlc;
      own.place({ draft: event, wire, hlc }, keys);
    });
    return { ok: true, log_id, before };
  }
}
