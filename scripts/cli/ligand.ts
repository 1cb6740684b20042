import type { Group } from "../../worker-agent/cli/shared/command.ts";
import { adminKeys } from "./admin-keys.ts";
import { audit } from "./audit.ts";
import { chat } from "./chat.ts";
import { events } from "./events.ts";
import { federation } from "./federation.ts";
import { peers } from "./peers.ts";
import { policy } from "./policy.ts";
import { pool } from "./pool.ts";
import { requests } from "./requests.ts";
import { slashing } from "./slashing.ts";
import { webhook } from "./webhook.ts";
import { worker } from "./worker.ts";
import { workers } from "./workers.ts";

/** The command line: a noun, then a verb (docs/spec/pool.md#command-line). */
export const ligand: Group = {
  summary: "Ligand, a federated AI inference network. --version prints the version.",
  commands: {
    pool,
    worker,
    workers,
    peers,
    requests,
    slashing,
    "admin-keys": adminKeys,
    policy,
    federation,
    webhook,
    events,
    audit,
    chat,
  },
};
