import type { Visibility } from "../../schema/wire/events.ts";

/**
 * Persisted contract: a draft as an outbox stores it and as `EventLog` takes it. An earlier release may have written
 * it, so neither checks it against the registry of events.
 */
export interface StoredDraft {
  type: string;
  visibility: Visibility;
  payload: Readonly<Record<string, unknown>>;
  /** The log appends one event for each key, however often the draft is sent. */
  key?: string;
}
