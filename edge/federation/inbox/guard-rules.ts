/**
 * The guards between a peer's admin request and this pool's admin, in the order of docs/spec/federation.md#admin-requests.
 * The first guard that stops a request answers it. Some guards are asked again when our admin approves.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

export type ActionKind = "read" | "write";

/** The state of the admin's signature on a write request, as verified by the caller. */
export type AdminSignatureState = "absent" | "valid" | "invalid";

/** Everything that the guards look at. */
export interface GuardContext {
  readonly nowMs: number;
  /** Step 1: the request was admitted as a signed request of this peer. */
  readonly isSigned: boolean;
  readonly kind: ActionKind;
  /** Whether the action can change an economic table (docs/spec/federation.md#the-wallet-rule). */
  readonly touchesEconomy: boolean;
  /** Whether an open slashing event stops the action. */
  readonly heedsSlashing: boolean;
  /** The trust in effect for a request of this kind. */
  readonly trust: TrustLevel;
  readonly policy: Pick<
    FederationPolicy,
    "accept_reads" | "accept_writes" | "accept_settlement" | "peer_pending_requests"
  >;
  readonly signatureVersion: 1 | 2;
  readonly adminSignature: AdminSignatureState;
  /** Unix seconds; null without an admin's signature. */
  readonly adminSignatureExpiresAt: number | null;
  /** Requests of this peer that wait for our admin, blocked ones included. */
  readonly pending: number;
  /** When the first of them expires; null where none waits. */
  readonly firstExpiryMs: number | null;
  /** When our admin last approved a write of this peer; null if never. */
  readonly approvedWriteAtMs: number | null;
  /** Slashing events that are pending or contested. */
  readonly openSlashings: number;
}

export type Phase = "arrival" | "approval";

export type GuardStep = 1 | 2 | 3 | 4 | 5 | 6;

export interface Stopped {
  readonly type: "stopped";
  readonly step: GuardStep;
  readonly code: ErrorCode;
  readonly retryAfterSeconds?: number;
}

/** `blocked`: all guards but the slashing guard pass. The request lands, and needs an override. */
export type GuardVerdict = { readonly type: "passed" } | { readonly type: "blocked" } | Stopped;

type Refusal = Pick<Stopped, "code" | "retryAfterSeconds">;

interface Guard {
  readonly step: GuardStep;
  readonly at: readonly Phase[];
  /** Null: the request passes. */
  readonly stop: (context: GuardContext) => Refusal | null;
}

const ARRIVAL: readonly Phase[] = ["arrival"];
const BOTH: readonly Phase[] = ["arrival", "approval"];

export const GUARDS: readonly Guard[] = [
  { step: 1, at: ARRIVAL, stop: ({ isSigned }) => (isSigned ? null : { code: "federation/unauthenticated" }) },
  { step: 2, at: BOTH, stop: ({ trust }) => (trust >= 3 ? null : { code: "federation/untrusted" }) },
  { step: 3, at: BOTH, stop: isWriteInVersion1 },
  { step: 3, at: BOTH, stop: switchIsOff },
  { step: 3, at: BOTH, stop: economyIsClosed },
  { step: 3, at: BOTH, stop: adminKeyIsMissing },
  { step: 4, at: ARRIVAL, stop: tooManyPending },
  { step: 5, at: BOTH, stop: coolingDown },
  { step: 6, at: BOTH, stop: slashingIsOpen },
];

/** At approval, `blocked` means that the admin must give a reason for an override. */
export function passGuards(context: GuardContext, phase: Phase): GuardVerdict {
  for (const { step, at, stop } of GUARDS) {
    const refusal = at.includes(phase) ? stop(context) : null;
    if (refusal === null) continue;
    return step === 6 ? { type: "blocked" } : { type: "stopped", step, ...refusal };
  }
  return { type: "passed" };
}

function switchIsOff({ kind, policy }: GuardContext): Refusal | null {
  const isOn = kind === "read" ? policy.accept_reads : policy.accept_writes;
  return isOn ? null : { code: "federation/action-disabled" };
}

function economyIsClosed({ touchesEconomy, policy }: GuardContext): Refusal | null {
  return touchesEconomy && !policy.accept_settlement ? { code: "federation/action-disabled" } : null;
}

/**
 * Version 1 binds no destination, so that a write in version 1 could be replayed at another pool. Its sender hears what it
 * lacks before it hears of a switch, because no switch would help.
 */
function isWriteInVersion1({ kind, signatureVersion }: GuardContext): Refusal | null {
  return kind === "write" && signatureVersion === 1 ? { code: "federation/admin-key-required" } : null;
}

function adminKeyIsMissing(context: GuardContext): Refusal | null {
  if (context.kind === "read") return null;
  const { adminSignature, adminSignatureExpiresAt, nowMs } = context;
  const leftMs = adminSignatureExpiresAt === null ? 0 : adminSignatureExpiresAt * 1_000 - nowMs;
  const isCurrent = leftMs > 0 && leftMs <= LIMITS.adminSignatureMs;
  return adminSignature === "valid" && isCurrent ? null : { code: "federation/admin-key-required" };
}

function tooManyPending({ pending, policy, firstExpiryMs, nowMs }: GuardContext): Refusal | null {
  if (pending < policy.peer_pending_requests) return null;
  return { code: "federation/too-many-pending", retryAfterSeconds: secondsUntil(firstExpiryMs ?? nowMs, nowMs) };
}

function coolingDown({ kind, approvedWriteAtMs, nowMs }: GuardContext): Refusal | null {
  if (kind === "read" || approvedWriteAtMs === null) return null;
  // A clock that stepped back must not lengthen the cooldown.
  const untilMs = Math.min(approvedWriteAtMs, nowMs) + LIMITS.adminWriteCooldownMs;
  return nowMs >= untilMs ? null : { code: "federation/cooldown", retryAfterSeconds: secondsUntil(untilMs, nowMs) };
}

function slashingIsOpen({ heedsSlashing, openSlashings }: GuardContext): Refusal | null {
  return heedsSlashing && openSlashings > 0 ? { code: "federation/slashing-pending" } : null;
}

function secondsUntil(atMs: number, nowMs: number): number {
  return Math.max(1, Math.ceil((atMs - nowMs) / 1_000));
}
