import { expect, it } from "vitest";
import { fromHex, utf8 } from "../../../schema/crypto/bytes.ts";
import { readSignedHeaders, verifyRequest } from "../../../schema/crypto/request-signature.ts";
import recorded from "../../vectors/existing-network.json" with { type: "json" };
import vectors from "../../vectors/federation-signatures.json" with { type: "json" };

type Recorded = (typeof recorded.requests)[number];

const signedRequests = recorded.requests.filter(({ signed }) => signed !== "no");

async function isVerified({ method, target, headers, body }: Recorded): Promise<boolean> {
  const read = readSignedHeaders(
    new Headers(headers.map(([name = "", value = ""]): [string, string] => [name, value])),
  );
  if (!read.ok) return false;
  // Version 1 signs the path alone.
  const path = new URL(target, "https://pool.example").pathname;
  const request = { method, target: path, body: utf8(body) };
  return (await verifyRequest(read, request, fromHex(vectors.origin.public_key_hex))).verified;
}

it("there are requests of both kinds", () => {
  expect(signedRequests.length).toBeGreaterThan(8);
  expect(new Set(signedRequests.map(({ signed }) => signed))).toEqual(new Set(["v1", "v1 over path and query"]));
});

it.each(signedRequests)("$name of a real pool verifies if it signs the path alone: $signed", async (request) => {
  expect(await isVerified(request)).toBe(request.signed === "v1");
});

it.each(signedRequests.filter(({ signed }) => signed === "v1"))(
  "$name with another body does not verify",
  async (request) => {
    expect(await isVerified({ ...request, body: `${request.body} ` })).toBe(false);
  },
);
