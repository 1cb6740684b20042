import * as fc from "fast-check";
import { expect, it } from "vitest";
import {
  type AdminRequestContents,
  signAdminRequest,
  verifyAdminRequest,
} from "../../../schema/crypto/admin-signature.ts";
import { fromBase64, utf8 } from "../../../schema/crypto/bytes.ts";
import { generateSecretKey, signerFrom, verify } from "../../../schema/crypto/ed25519.ts";
import { adminRequestBody, adminSignature } from "../../../schema/wire/admin-requests.ts";

const admin = await signerFrom(generateSecretKey());
const other = await signerFrom(generateSecretKey());
const EXPIRES_AT = 1_796_061_662;
const CONTENTS: AdminRequestContents = {
  origin: "a1".repeat(32),
  destination: "b2".repeat(32),
  request_id: "fadm_aef2e3fd49d14905",
  action_type: "circuit_reset",
  action_params: { worker_id: "w1", nested: { z: 1, a: [true, null] } },
};
const signature = await signAdminRequest(admin, CONTENTS, EXPIRES_AT);

it("a signature is of the shape that a request carries, and its bytes are the JCS of the request", async () => {
  expect(adminSignature.parse(signature)).toEqual(signature);
  const bytes = utf8(
    `{"action_params":{"nested":{"a":[true,null],"z":1},"worker_id":"w1"},"action_type":"circuit_reset",` +
      `"destination":"${"b2".repeat(32)}","expires_at":${EXPIRES_AT},"key_id":"${admin.id}","origin":"${"a1".repeat(32)}",` +
      `"request_id":"fadm_aef2e3fd49d14905","type":"admin_request","v":1}`,
  );
  expect(await verify(fromBase64(signature.signature) ?? expect.fail("base64"), bytes, admin.publicKey)).toBe(true);
});

it("verifies with the admin's key, and the order of members does not matter", async () => {
  const reordered = { ...CONTENTS, action_params: { nested: { a: [true, null], z: 1 }, worker_id: "w1" } };
  expect(await verifyAdminRequest(signature, CONTENTS, admin.publicKey)).toBe(true);
  expect(await verifyAdminRequest(signature, reordered, admin.publicKey)).toBe(true);
});

it.each<[what: string, contents: Partial<AdminRequestContents>, changed: Partial<typeof signature>]>([
  ["another destination", { destination: "c3".repeat(32) }, {}],
  ["another origin", { origin: "c3".repeat(32) }, {}],
  ["another request id", { request_id: "fadm_2" }, {}],
  ["another action", { action_type: "query_events" }, {}],
  ["other parameters", { action_params: { worker_id: "w2" } }, {}],
  ["no parameters", { action_params: {} }, {}],
  ["a later expiry", {}, { expires_at: EXPIRES_AT + 1 }],
  ["another key id", {}, { key_id: other.id }],
  ["a signature that is none", {}, { signature: "x" }],
])("does not verify with %s", async (_what, contents, changed) => {
  const verified = await verifyAdminRequest(
    { ...signature, ...changed },
    { ...CONTENTS, ...contents },
    admin.publicKey,
  );
  expect(verified).toBe(false);
});

it("does not verify with another key", async () => {
  expect(await verifyAdminRequest(signature, CONTENTS, other.publicKey)).toBe(false);
});

it("any JSON parameters can be signed and verified", async () => {
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.string(), fc.jsonValue()), async (params) => {
      const contents = {
        ...CONTENTS,
        action_params: JSON.parse(JSON.stringify(params)) as typeof CONTENTS.action_params,
      };
      const made = await signAdminRequest(admin, contents, EXPIRES_AT);
      expect(await verifyAdminRequest(made, contents, admin.publicKey)).toBe(true);
    }),
    { numRuns: 50 },
  );
});

it.each<[what: string, changes: object, ok: boolean]>([
  ["as a real pool sends it", {}, true],
  ["with unknown members", { more: 1 }, true],
  ["without an email", { from_admin_email: null }, true],
  ["with an id that is a path", { request_id: "../x" }, false],
  ["with an id of 65 characters", { request_id: "a".repeat(65) }, false],
  ["with an origin that is no atom id", { origin_pool_id: "x" }, false],
  ["with parameters that are a list", { action_params: [] }, false],
])("a request %s is read: %o", (_what, changes, ok) => {
  const sent = {
    request_id: "fadm_fd551cd8bae34a13",
    origin_pool_id: "a1".repeat(32),
    action_type: "query_events",
    action_params: { limit: 5, event_types: ["worker_joined"] },
    from_admin_email: "ops@alder.example",
  };
  expect(adminRequestBody.safeParse({ ...sent, ...changes }).success).toBe(ok);
});
