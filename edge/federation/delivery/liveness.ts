import { fromHex, toBase64 } from "../../../schema/crypto/bytes.ts";
import { verifyLivenessAnswer } from "../../../schema/crypto/liveness-proof.ts";
import { verifyAnswer } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import type { BondStore } from "../bond-store.ts";
import type { SentGrants } from "../peering/sent-grants.ts";
import type { PeerAnswer } from "./peer-answer.ts";
import type { PeerChannel } from "./peer-channel.ts";

/** Asks the peer to prove that it can be reached and holds its key (docs/spec/federation.md#endpoints). */
export class Liveness {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #channel: PeerChannel;
  readonly #grants: SentGrants;
  #verifiedAtMs = 0;

  constructor(ctx: DurableObjectState, env: Env, store: BondStore, channel: PeerChannel, grants: SentGrants) {
    this.#ctx = ctx;
    this.#env = env;
    this.#store = store;
    this.#channel = channel;
    this.#grants = grants;
  }

  /** Asks the peer at most once per `LIMITS.peerVerifyMs`, and does not wait for the answer. */
  verifySeldom(nowMs: number): void {
    if (nowMs - this.#verifiedAtMs < LIMITS.peerVerifyMs) return;
    this.#verifiedAtMs = nowMs;
    this.#ctx.waitUntil(this.#verify());
  }

  async #verify(): Promise<void> {
    const publicKey = fromHex(this.#store.peer?.publicKey ?? "");
    if (publicKey === null) return;
    const challenge_b64 = toBase64(crypto.getRandomValues(new Uint8Array(32)));
    const body = { atom_id: (await poolKeys(this.#env)).atomId, challenge_b64 };
    const answer = await this.#channel.call({ method: "POST", target: "/v1/federation/verify", body });
    this.#noteRevocation(answer);
    const parsed = answer.ok && answer.status === 200 ? verifyAnswer.safeParse(answer.body) : null;
    if (!parsed?.success) return;
    if (!(await verifyLivenessAnswer(parsed.data.signed_response_b64, challenge_b64, publicKey))) return;
    // The peer may have been forgotten during the call.
    if (this.#store.trust === null) return;
    this.#store.seenAtMs = Date.now();
    this.#store.transaction(() => {
      this.#store.recordPeer();
      this.#grants.peerReached();
    });
  }

  /**
   * `verify` is open to every peer that was not revoked. A pool of the existing network, which tells no grants, answers
   * `403 {"error": "peer revoked"}`; a Ligand pool answers `403 federation/untrusted`.
   */
  #noteRevocation(answer: PeerAnswer): void {
    const isRevoked = answer.ok && answer.status === 403;
    const isSettled = isRevoked || (answer.ok && answer.status === 200);
    if (!isSettled || this.#store.trust === null || isRevoked === (this.#store.get("hasRevokedUs") ?? false)) return;
    // In a transaction, because the commit reports the new status to the registry.
    this.#store.transaction(() => {
      if (isRevoked) this.#store.put("hasRevokedUs", true);
      else this.#store.delete("hasRevokedUs");
    });
  }
}
