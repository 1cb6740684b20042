import type { Manifest } from "../../schema/wire/worker-frames.ts";
import type { Engine } from "../engine/engine.ts";
import { AGENT_VERSION } from "../version.ts";

/** What this worker offers (docs/spec/workers.md#profile-and-manifest). Its key signs it for the `hello`. */
export function manifestOf(worker: string, engine: Engine): Manifest {
  const models = engine.models().map((offer) => ({ ...offer, kinds: [...offer.kinds] }));
  return { v: 1, type: "manifest", worker, engine: engine.kind, models, agentVersion: AGENT_VERSION };
}
