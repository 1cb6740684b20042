/** Stubs of the bonds that subscribed to the log, narrowed to the notification. */
import type { BondForEventLog, Env } from "../env.ts";

export function subscriberFor(env: Pick<Env, "BOND">, atomId: string): DurableObjectStub<BondForEventLog> {
  return env.BOND.getByName(atomId);
}
