import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { BondStore } from "../../edge/federation/bond-store.ts";
import { DeliveryQueue } from "../../edge/federation/delivery/delivery-queue.ts";
import { Admissions } from "../../edge/federation/signing/admissions.ts";
import { EventOutbox } from "../../edge/record/event-outbox.ts";
import type { PeerDouble } from "./peer-double.ts";

interface BondParts {
  readonly storage: DurableObjectStorage;
  readonly deliveries: DeliveryQueue;
  readonly admissions: Admissions;
  /** Drafts that the event log does not have yet. */
  readonly events: EventOutbox;
}

const NO_HOOKS = { opened: () => {}, appended: () => {}, row: () => null, committed: () => {} };
const NEVER_SENDS = {
  send: () => Promise.reject(new Error("this queue sends nothing")),
  delivered: () => {},
  givenUp: () => {},
};

/**
 * A second set of the parts of a `Bond`, on the storage of the first. Tests read and write by these parts what the `Bond`
 * keeps, so that no test knows the tables. The `Bond` reads what `admissions` keeps only when it starts: evict it after a
 * write to them.
 */
export function bondParts(storage: DurableObjectStorage): BondParts {
  return {
    storage,
    deliveries: new DeliveryQueue(storage, new BondStore(storage, env, NO_HOOKS), NEVER_SENDS),
    admissions: new Admissions(storage),
    events: new EventOutbox(storage, env, "untold"),
  };
}

export function inBond<T>(peer: PeerDouble, use: (parts: BondParts) => T | Promise<T>): Promise<T> {
  return runInDurableObject(peer.bond(), (_bond, { storage }) => use(bondParts(storage)));
}
