/** The stub of the pool's only `EventLog`, narrowed to what an outbox may do. */
import type { Env, EventLogForOutboxes } from "../env.ts";
import { EVENT_LOG } from "../object-names.ts";

export function eventLogForOutboxes(env: Pick<Env, "EVENT_LOG">): DurableObjectStub<EventLogForOutboxes> {
  return env.EVENT_LOG.getByName(EVENT_LOG);
}
