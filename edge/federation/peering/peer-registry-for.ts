/** Stubs of the pool's only `PeerRegistry`, each narrowed to what its callers may do. */
import type { Env } from "../../env.ts";
import { PEER_REGISTRY } from "../../object-names.ts";
import type {
  RegistryForBonds,
  RegistryForReaders,
  RegistryForRefusals,
  RegistryForRegistrations,
} from "./peer-registry-rpc.ts";

type Namespace = Pick<Env, "PEER_REGISTRY">;

export const registryForRegistrations = (env: Namespace): DurableObjectStub<RegistryForRegistrations> =>
  env.PEER_REGISTRY.getByName(PEER_REGISTRY);

export const registryForBonds = (env: Namespace): DurableObjectStub<RegistryForBonds> =>
  env.PEER_REGISTRY.getByName(PEER_REGISTRY);

export const registryForRefusals = (env: Namespace): DurableObjectStub<RegistryForRefusals> =>
  env.PEER_REGISTRY.getByName(PEER_REGISTRY);

export const registryForReaders = (env: Namespace): DurableObjectStub<RegistryForReaders> =>
  env.PEER_REGISTRY.getByName(PEER_REGISTRY);
