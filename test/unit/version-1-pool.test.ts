import { expect, it } from "vitest";
import recorded from "../vectors/existing-network.json" with { type: "json" };
import { pythonJson, version1Nonce } from "../version-1-pool.ts";

const bodies = recorded.requests.filter(({ body }) => body !== "");

it.each(bodies)("the double of the existing network writes JSON as in $name", ({ body }) =>
  expect(pythonJson(JSON.parse(body))).toBe(body),
);

it("its nonces have the length of the recorded ones", () => {
  const nonces = recorded.requests.flatMap(({ headers }) =>
    headers.flatMap(([name, value = ""]) => (name === "X-IAMINE-Nonce" ? [value] : [])),
  );
  expect(nonces.length).toBeGreaterThan(8);
  for (const nonce of [...nonces, version1Nonce()]) expect(nonce).toMatch(/^[0-9a-f]{16}$/);
});
