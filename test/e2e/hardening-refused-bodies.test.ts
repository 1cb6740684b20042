import { afterAll, beforeAll, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { chatBody, type HardPool, startHardPool } from "./hardening-support.ts";

let pool: HardPool;
beforeAll(async () => {
  pool = await startHardPool();
});
afterAll(() => pool.stop());

/** Posts as a client does that sends its whole body before it reads the answer. */
const post = (key: string, chars: number) =>
  fetch(`${pool.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: chatBody("nobody", "x".repeat(chars)),
  });

it.each([
  [
    "of a key over its limit",
    () => pool.admin.createKey({ requests_per_minute: 1 }),
    LIMITS.clientBodyBytes - 1_000,
    429,
  ],
  ["that is too large", () => pool.admin.createKey({}), 2 * LIMITS.clientBodyBytes, 413],
])(
  "a client that sends a large body %s gets the refusal, and no broken connection",
  async (_what, makeKey, chars, status) => {
    const { key } = await makeKey();
    for (let i = 0; i < 2; i++) await (await post(key, 1)).text();
    const answers = await Promise.all(Array.from({ length: 10 }, () => post(key, chars)));
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(status));
    await Promise.all(answers.map((answer) => answer.text()));
    expect(pool.logged).toEqual([]);
  },
);
