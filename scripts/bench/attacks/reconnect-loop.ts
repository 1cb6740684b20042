import { setImmediate as turn } from "node:timers/promises";
import { generateSecretKey, signerFrom } from "../../../schema/crypto/ed25519.ts";
import { WorkerSocket } from "../../../test/fuzz/worker-socket.ts";
import type { AttackReport, AttackTarget } from "./attack.ts";

const AT_ONCE = 4;
const TIMEOUT_MS = 10_000;

/** The holder of one worker token connects, proves its key and drops the connection, in a loop. */
export async function attack(
  { url, admin }: AttackTarget,
  signal: AbortSignal,
  { handshakes = Number.POSITIVE_INFINITY }: { handshakes?: number } = {},
): Promise<AttackReport> {
  const { token } = await admin.invite({ label: "attack" });
  const signer = await signerFrom(generateSecretKey());
  const report: Record<string, number> = {};
  let left = handshakes;
  const one = async () => {
    while (left-- > 0 && !signal.aborted) {
      const outcome = await WorkerSocket.serving({ url, token, signer, timeoutMs: TIMEOUT_MS }, OFFER).then(
        (worker) => {
          worker.vanish();
          return "welcome";
        },
        refusalOf,
      );
      report[outcome] = (report[outcome] ?? 0) + 1;
      await turn();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return report;
}

const OFFER = [{ name: "attack", slots: 1, kinds: ["chat" as const] }];

/** The HTTP status of a refusal, or `closed` for a socket that the pool closed, for example because a newer one replaced it. */
function refusalOf(error: unknown): string {
  return /Unexpected server response: (\d+)/.exec(String(error))?.[1] ?? "closed";
}
