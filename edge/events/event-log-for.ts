/** Stubs of the pool's only `EventLog`, each narrowed to what its callers may do. */
import type { Env } from "../env.ts";
import { EVENT_LOG } from "../object-names.ts";
import type { EventLogForAdmins, EventLogForBonds, EventLogForReaders } from "./event-log-rpc.ts";

type Namespace = Pick<Env, "EVENT_LOG">;

export const eventLogForBonds = (env: Namespace): DurableObjectStub<EventLogForBonds> =>
  env.EVENT_LOG.getByName(EVENT_LOG);

export const eventLogForReaders = (env: Namespace): DurableObjectStub<EventLogForReaders> =>
  env.EVENT_LOG.getByName(EVENT_LOG);

export const eventLogForAdmins = (env: Namespace): DurableObjectStub<EventLogForAdmins> =>
  env.EVENT_LOG.getByName(EVENT_LOG);
