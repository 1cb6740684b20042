import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type AttackReport, type AttackTarget, rawSocket } from "./attack.ts";

const SOCKETS = 3_000;
const AT_ONCE = 20;
/** A text frame that is not JSON, masked with zeros. The pool closes a socket that sends it. */
const INVALID_FRAME = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x7b]);
const PAUSE_MS = 100;

export interface UnansweredCloses {
  /** `revoked`: the token is revoked before the attack. `valid`: the pool closes because the attacker sends an invalid frame. */
  readonly token?: "revoked" | "valid";
  readonly sockets?: number;
  /** Called when all sockets were opened or refused. They stay open until the attack ends. */
  readonly onHeld?: (report: AttackReport) => void;
}

/** The holder of a worker token opens sockets and never answers the pool's close. */
export async function attack(
  { url, admin }: AttackTarget,
  signal: AbortSignal,
  { token: kind = "revoked", sockets = SOCKETS, onHeld }: UnansweredCloses = {},
): Promise<AttackReport> {
  const { id, token } = await admin.invite({ label: "attack" });
  if (kind === "revoked") await admin.revokeToken(id);
  const held: Socket[] = [];
  const report: Record<string, number> = {};
  let left = sockets;
  const one = async () => {
    while (left-- > 0 && !signal.aborted) {
      const { socket, status } = await rawSocket(url, token);
      report[status] = (report[status] ?? 0) + 1;
      if (status === 101) socket.write(INVALID_FRAME);
      held.push(socket);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  onHeld?.({ ...report });
  while (!signal.aborted) await sleep(PAUSE_MS);
  for (const socket of held) socket.destroy();
  return report;
}
