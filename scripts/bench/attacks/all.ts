import type { AttackReport, AttackTarget } from "./attack.ts";

type Attack = (target: AttackTarget, signal: AbortSignal) => Promise<AttackReport>;

export interface KnownAttack {
  /** The name of the attack in the table of the bench. */
  readonly what: string;
  /** The attack needs a worker with the embedded model. */
  readonly onRealWorker?: true;
  readonly load: () => Promise<{ attack: Attack }>;
}

export const ATTACKS = {
  "large-schema": {
    what: "a client's schema of 990 long strings on a real worker",
    onRealWorker: true,
    load: () => import("./large-schema.ts"),
  },
  "invalid-tools": {
    what: "a client's 213 KiB of tools that end in 400, 4 connections",
    load: () => import("./invalid-tools.ts"),
  },
  "peer-flood": {
    what: "a peer that pulls pages of 1 MiB and sends a push of 1 MiB again and again",
    load: () => import("./peer-flood.ts"),
  },
  "stranger-grants": {
    what: "strangers that register and push grants",
    load: () => import("./stranger-grants.ts"),
  },
  "request-flood": {
    what: "a bonded peer that sends requests of its admin without a pause, 32 connections",
    load: () => import("./request-flood.ts"),
  },
  "unanswered-closes": {
    what: "3,000 sockets with a revoked token, no close answered",
    load: () => import("./unanswered-closes.ts"),
  },
  "reconnect-loop": {
    what: "one worker token that reconnects in a loop",
    load: () => import("./reconnect-loop.ts"),
  },
} satisfies Record<string, KnownAttack>;

export type AttackName = keyof typeof ATTACKS;
