import { createHash } from "node:crypto";
import { signerFrom } from "../../../schema/crypto/ed25519.ts";
import { GENESIS_CHAIN, nextChain, signCheckpoint, signEvent } from "../../../schema/crypto/signed-event.ts";
import type { Audience, RecordedEvent, SignedCheckpoint, Visibility } from "../../../schema/wire/events.ts";
import type { VerifyPage } from "../../../scripts/cli/log-walk.ts";
import { seed } from "../crypto/ed25519-cases.ts";

export const us = await signerFrom(await seed("pool"));
export const other = await signerFrom(await seed("other pool"));
const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

/** A log of six events as an honest pool writes it. */
async function recorded() {
  const heads: Record<Audience, { seq: number; chain: string }> = {
    all: { seq: 0, chain: GENESIS_CHAIN },
    public: { seq: 0, chain: GENESIS_CHAIN },
    peers: { seq: 0, chain: GENESIS_CHAIN },
  };
  const add = (audience: Audience, id: string) => {
    const { seq, chain } = heads[audience];
    heads[audience] = { seq: seq + 1, chain: nextChain(chain, id, sha256) };
    return heads[audience].seq;
  };
  const events: RecordedEvent[] = [];
  const kinds: [Visibility, typeof us, boolean][] = [
    ["private", us, false],
    ["public", us, true],
    ["peers", us, true],
    ["public", other, true],
    ["public", other, false],
    ["peers", other, false],
  ];
  for (const [i, [visibility, signer, inAudience]] of kinds.entries()) {
    const hlc = { physical_us: 1_000 + i, logical: 0 };
    const event = await signEvent(signer, { type: "overview", visibility, payload: { i }, hlc });
    const seq = add("all", event.content_id);
    events.push({
      seq,
      public_seq: inAudience && visibility === "public" ? add("public", event.content_id) : null,
      peers_seq: inAudience && visibility === "peers" ? add("peers", event.content_id) : null,
      chain: heads.all.chain,
      type: "overview",
      origin: signer.id,
      visibility,
      hlc,
      event,
    });
  }
  const sign = (audience: Audience, place: { seq: number; chain: string }, signer = us): Promise<SignedCheckpoint> =>
    signCheckpoint(signer, { log_id: "00".repeat(16), audience, ...place, hlc: { physical_us: 9, logical: 0 } });
  return { events, heads, sign };
}

export const { events, heads, sign } = await recorded();
export const checkpoints = await Promise.all(
  (["all", "public", "peers"] as const).map((audience) => sign(audience, heads[audience])),
);
export const third = await sign("all", { seq: 3, chain: events[2]?.chain ?? "" });
export const honest: VerifyPage = { origin: us.id, checkpoints, events, kept: [third], next: 6 };
