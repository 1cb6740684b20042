/** Stubs of the pool's only `PeerRegistry`, each narrowed to what its callers may do. */
import type { Env } from "../../env.ts";
import { PEER_REGISTRY } from "../../object-names.ts";
import type { RegistryForPeers, RegistryForReaders } from "./peer-registry-rpc.ts";

type Namespace = Pick<Env, "PEER_REGISTRY">;

export const registryForPeers = (env: Namespace): DurableObjectStub<RegistryForPeers> =>
  env.PEER_REGISTRY.getByName(PEER_REGISTRY);

export const registryForReaders = (env: Namespace): DurableObjectStub<RegistryForReaders> =>
  env.PEER_REGISTRY.getByName(PEER_REGISTRY);
