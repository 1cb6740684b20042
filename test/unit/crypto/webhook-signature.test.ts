import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toBase64, utf8 } from "../../../schema/crypto/bytes.ts";
import { newWebhookSecret, signWebhook, webhookKey } from "../../../schema/crypto/webhook-signature.ts";
import { setWebhookBody } from "../../../schema/wire/webhook.ts";

const secretOf = (bytes: number) => `whsec_${toBase64(new Uint8Array(bytes).fill(7))}`;

it("a signature is that of the libraries of Standard Webhooks", async () => {
  const key = webhookKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
  if (key === null) throw new Error("not a secret");
  const payload = utf8('{"test": 2432232314}');
  expect(await signWebhook(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, payload)).toBe(
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  );
});

describe("a secret", () => {
  it.each([24, 32, 64])("of %i bytes is taken", (bytes) => {
    expect(webhookKey(secretOf(bytes))).toHaveLength(bytes);
    expect(setWebhookBody.safeParse({ url: "https://hooks.example/", secret: secretOf(bytes) }).success).toBe(true);
  });

  it.each([
    ["is too short", secretOf(23)],
    ["is too long", secretOf(65)],
    ["has no prefix", secretOf(32).slice(6)],
    ["is not base64", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-w"],
    ["lacks its padding", secretOf(32).slice(0, -1)],
    ["has white space", ` ${secretOf(32)}`],
    ["is that of another scheme", secretOf(32).replace("whsec_", "whsk_")],
    ["is empty", ""],
  ])("that %s is refused", (_, secret) => {
    expect(webhookKey(secret)).toBeNull();
    expect(setWebhookBody.safeParse({ url: "https://hooks.example/", secret }).success).toBe(false);
  });

  it("that the pool makes is valid, and new", () => {
    const made = Array.from({ length: 20 }, newWebhookSecret);
    expect(made.every((secret) => webhookKey(secret)?.length === 32)).toBe(true);
    expect(new Set(made).size).toBe(20);
  });
});

it("the signature depends on the id, the time, every byte and the key", () =>
  fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 24, maxLength: 64 }),
      fc.stringMatching(/^[a-z0-9_]{1,64}$/),
      fc.nat(),
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      async (key, id, seconds, payload) => {
        const changed = (bytes: Uint8Array) => bytes.map((byte, i) => (i === 0 ? byte ^ 1 : byte));
        const all = await Promise.all([
          signWebhook(key, id, seconds, payload),
          signWebhook(changed(key), id, seconds, payload),
          signWebhook(key, `${id}a`, seconds, payload),
          signWebhook(key, id, seconds + 1, payload),
          signWebhook(key, id, seconds, changed(payload)),
        ]);
        expect(new Set(all).size).toBe(all.length);
      },
    ),
  ));
