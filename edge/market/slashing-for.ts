/** Stubs of the pool's only `SlashingBook`, each narrowed to what its callers may do. */
import type { Env } from "../env.ts";
import { SLASHING } from "../object-names.ts";
import type { SlashingForAdmins, SlashingForGuards, SlashingForReaders } from "./slashing-rpc.ts";

type Namespace = Pick<Env, "SLASHING">;

export const slashingForAdmins = (env: Namespace): DurableObjectStub<SlashingForAdmins> =>
  env.SLASHING.getByName(SLASHING);

export const slashingForGuards = (env: Namespace): DurableObjectStub<SlashingForGuards> =>
  env.SLASHING.getByName(SLASHING);

export const slashingForReaders = (env: Namespace): DurableObjectStub<SlashingForReaders> =>
  env.SLASHING.getByName(SLASHING);
