import { describe, expect, it } from "vitest";
import { toHex } from "../../../schema/crypto/bytes.ts";
import { signerFrom } from "../../../schema/crypto/ed25519.ts";
import {
  signManifest,
  signMetering,
  signWorkerProof,
  verifyManifest,
  verifyWorkerProof,
} from "../../../schema/crypto/worker-proof.ts";
import { type Manifest, type Metering, manifest, metering } from "../../../schema/wire/worker-frames.ts";
import { seed } from "./ed25519-cases.ts";
import { meteringHolds } from "./metering-verdict.ts";

const signer = await signerFrom(await seed("worker"));
const stranger = await signerFrom(await seed("stranger"));
const key = toHex(signer.publicKey);
const digest = "ab".repeat(32);

const statement: Manifest = manifest.parse({
  v: 1,
  type: "manifest",
  worker: signer.id,
  engine: "llama",
  models: [{ name: "small", sha256: null, slots: 2, contextTokens: 2_048, kinds: ["chat", "completion"] }],
  agentVersion: "0.1.0",
});
const record: Metering = metering.parse({
  v: 1,
  type: "metering",
  job_id: "0190f5fe-7c00-7a00-8000-000000000001",
  pool: digest,
  worker: signer.id,
  model: "small",
  model_sha256: null,
  prompt_tokens: 12,
  completion_tokens: 34,
  started_ms: 1_776_358_800_000,
  ended_ms: 1_776_358_801_000,
  finish_reason: "stop",
  request_sha256: digest,
  response_sha256: digest,
});
const proof = {
  pool: digest,
  worker: signer.id,
  nonce: "cd".repeat(32),
  tokenSha256: "ef".repeat(32),
  manifestSha256: digest,
};

const kinds = [
  { what: "manifest", sign: () => signManifest(signer, statement), verify: verifying(verifyManifest, statement) },
  { what: "metering", sign: () => signMetering(signer, record), verify: verifying(meteringHolds, record) },
  { what: "proof", sign: () => signWorkerProof(signer, proof), verify: verifying(verifyWorkerProof, proof) },
];

type Verify<T> = (value: T, signature: string, key: string) => Promise<boolean>;
function verifying<T extends object>(verify: Verify<T>, value: T) {
  return (signature: string, publicKey: string, changes: object = {}) =>
    verify({ ...value, ...changes }, signature, publicKey);
}

describe.each(kinds)("a $what", ({ what, sign, verify }) => {
  it("verifies only with the worker's key", async () => {
    const signature = await sign();
    expect(signature).toMatch(/^[A-Za-z0-9+/]{86}==$/);
    expect(await verify(signature, key)).toBe(true);
    expect(await verify(signature, toHex(stranger.publicKey))).toBe(false);
  });

  it("is refused when its worker id is not that of the key, although the signature matches", async () => {
    const changes = { worker: stranger.id };
    expect(await verify(await sign(), key, changes)).toBe(false);
    const forged = {
      manifest: () => signManifest(signer, { ...statement, ...changes }),
      metering: () => signMetering(signer, { ...record, ...changes }),
      proof: () => signWorkerProof(signer, { ...proof, ...changes }),
    }[what];
    expect(await verify((await forged?.()) ?? "", key, changes)).toBe(false);
  });

  it("is refused, and does not throw, when malformed", async () => {
    const signature = await sign();
    for (const bad of ["", signature.slice(0, -1), `${signature}=`, signature.replaceAll("=", ""), "é", "AA=="]) {
      expect(await verify(bad, key)).toBe(false);
    }
    for (const bad of ["", key.toUpperCase(), key.slice(2), `${key}00`, "zz".repeat(32)]) {
      expect(await verify(signature, bad)).toBe(false);
    }
  });

  it("never verifies as another kind", async () => {
    const signature = await sign();
    for (const other of kinds) expect(await other.verify(signature, key)).toBe(other.what === what);
  });
});

it.each<[field: keyof Metering, value: unknown]>([
  ["completion_tokens", 35],
  ["job_id", "0190f5fe-7c00-7a00-8000-000000000002"],
  ["pool", "00".repeat(32)],
  ["model_sha256", digest],
  ["finish_reason", "length"],
])("metering with another %s is refused", async (field, value) => {
  expect(await meteringHolds({ ...record, [field]: value }, await signMetering(signer, record), key)).toBe(false);
});

it.each<[field: keyof typeof proof]>([["pool"], ["nonce"], ["tokenSha256"], ["manifestSha256"]])(
  "a proof with another %s is refused",
  async (field) => {
    const replayed = { ...proof, [field]: "11".repeat(32) };
    expect(await verifyWorkerProof(replayed, await signWorkerProof(signer, proof), key)).toBe(false);
  },
);

it("a name that JSON cannot express is refused, and does not throw", async () => {
  const models = statement.models.map((model) => ({ ...model, name: "\ud800" }));
  expect(await verifyManifest({ ...statement, models }, await signManifest(signer, statement), key)).toBe(false);
});
