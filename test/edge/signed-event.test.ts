import { expect, it } from "vitest";
import { fromHex, toBase64, utf8 } from "../../schema/crypto/bytes.ts";
import { signerFrom } from "../../schema/crypto/ed25519.ts";
import { openEvent, signEvent } from "../../schema/crypto/signed-event.ts";
import { visibility } from "../../schema/wire/events.ts";
import vectors from "../vectors/signed-events.json" with { type: "json" };

/** docs/spec/events.md#events: the same bytes in the runtime that the pool is deployed to. */
const origin = await signerFrom(fromHex(vectors.origin.secret_key_hex) ?? new Uint8Array());

it.each(vectors.cases)("workerd signs and opens: $comment", async ({ event, canonical, content_id, signature_hex }) => {
  const signed = await signEvent(origin, { ...event, visibility: visibility.parse(event.visibility) });
  expect(signed).toEqual({
    event_bytes: toBase64(utf8(canonical)),
    origin_pubkey: vectors.origin.public_key_hex,
    signature: signature_hex,
    content_id,
  });
  expect(await openEvent(signed)).toMatchObject({ ok: true, contentId: content_id });
});

it.each(vectors.refused)("workerd refuses: $comment", async ({ wire, code }) => {
  expect(await openEvent(wire)).toEqual({ ok: false, code });
});
