/**
 * Signed events and checkpoints (docs/spec/events.md#events): canonical bytes, content id, signature. Keys, ids and signatures are
 * lowercase hex, an event's bytes standard base64. Opening malformed input returns a code and never throws.
 */

import type * as z from "zod";
import type { ErrorCode } from "../wire/errors.ts";
import {
  type Checkpoint,
  type EventBody,
  eventBody,
  type SignedCheckpoint,
  type SignedEvent,
  signedCheckpoint,
  signedEvent,
} from "../wire/events.ts";
import { parseJsonBytes } from "../wire/json-text.ts";
import { LIMITS } from "../wire/limits.ts";
import { concat, equalBytes, fromBase64, fromHex, toBase64, toHex } from "./bytes.ts";
import { canonicalBytes, canonicalBytesOrNull } from "./canonical.ts";
import { type Signer, verify } from "./ed25519.ts";
import { sha256Hex } from "./hash.ts";
import { idOfPublicKey } from "./ids.ts";

const NODE_ID_HEX = 16;

/** The chain before the first event of an audience: 32 zero bytes. */
export const GENESIS_CHAIN = "00".repeat(32);

/**
 * The next value of a hash chain: `sha256(previous chain ‖ content id)`, each as 32 bytes, in hex. Throws TypeError for
 * other lengths. `sha256` is a parameter because callers need a synchronous one.
 */
export function nextChain(previous: string, contentId: string, sha256: (bytes: Uint8Array) => Uint8Array): string {
  const [before, id] = [fromHex(previous), fromHex(contentId)];
  if (before?.length !== 32 || id?.length !== 32) throw new TypeError("a chain is made of 32-byte hashes");
  return toHex(sha256(concat(before, id)));
}

/** The node id of a clock: the first 8 bytes of the public key, in hex. */
export function nodeIdOf(publicKey: Uint8Array): string {
  return toHex(publicKey).slice(0, NODE_ID_HEX);
}

/** The parts of an event that its author chooses. Origin and node come from the signer. */
export interface EventContent extends Pick<EventBody, "type" | "visibility" | "payload"> {
  hlc: Pick<EventBody["hlc"], "physical_us" | "logical">;
}

/**
 * Signs an event. Throws TypeError for an event that other pools would refuse (wrong shape, not JSON, more than 64
 * KiB), which is a bug.
 */
export async function signEvent(signer: Signer, content: EventContent): Promise<SignedEvent> {
  const body = {
    v: 1,
    type: content.type,
    origin: signer.id,
    visibility: content.visibility,
    payload: content.payload,
    hlc: {
      physical_us: content.hlc.physical_us,
      logical: content.hlc.logical,
      node_id: nodeIdOf(signer.publicKey),
    },
  };
  const fault = eventBody.safeParse(body).error?.issues[0]?.path.join(".");
  if (fault !== undefined) throw new TypeError(`not an event: ${fault}`);
  const bytes = canonicalBytes(body);
  if (bytes.length > LIMITS.eventBytes) throw new TypeError(`an event is at most ${LIMITS.eventBytes} bytes`);
  const [contentId, signature] = await Promise.all([sha256Hex(bytes), signer.sign(bytes)]);
  return {
    event_bytes: toBase64(bytes),
    origin_pubkey: toHex(signer.publicKey),
    signature: toHex(signature),
    content_id: contentId,
  };
}

export type OpenedEvent =
  | { ok: true; event: EventBody; contentId: string; bytes: Uint8Array }
  | {
      ok: false;
      code: Extract<ErrorCode, "events/malformed" | "events/content-hash-mismatch" | "events/invalid-signature">;
    };

/** Opens an event from outside. Checks in this order: the event's form, its content id, its signature. */
export async function openEvent(wire: unknown): Promise<OpenedEvent> {
  const parsed = signedEvent.safeParse(wire);
  const bytes = parsed.success ? fromBase64(parsed.data.event_bytes) : null;
  const event = bytes === null ? null : readEvent(bytes);
  if (!parsed.success || bytes === null || event === null) return { ok: false, code: "events/malformed" };
  const { origin_pubkey: key, signature, content_id: contentId } = parsed.data;
  if (!(await belongsToKey(event, key))) return { ok: false, code: "events/malformed" };
  if ((await sha256Hex(bytes)) !== contentId) return { ok: false, code: "events/content-hash-mismatch" };
  if (!(await verifyHex(signature, bytes, key))) return { ok: false, code: "events/invalid-signature" };
  return { ok: true, event, contentId, bytes };
}

/**
 * Opens an event that was opened before under this id. Equal bytes need no second verification, which makes it ten
 * times cheaper. `sha256`: as for `nextChain`.
 */
export function openKnownEvent(wire: SignedEvent, sha256: (bytes: Uint8Array) => Uint8Array): OpenedEvent {
  const bytes = fromBase64(wire.event_bytes);
  const value = bytes === null ? undefined : parseJsonBytes(bytes);
  if (bytes === null || value === undefined) return { ok: false, code: "events/malformed" };
  if (toHex(sha256(bytes)) !== wire.content_id) return { ok: false, code: "events/content-hash-mismatch" };
  return { ok: true, event: value as EventBody, contentId: wire.content_id, bytes };
}

/** The body of an event that was opened before, so that its bytes are known to be well formed. It checks nothing. */
export function bodyOfOpened(wire: Pick<SignedEvent, "event_bytes">): EventBody {
  return JSON.parse(new TextDecoder().decode(fromBase64(wire.event_bytes) ?? new Uint8Array()));
}

/**
 * Parses the bytes. Null unless they are canonical (JCS): no repeated key, no white space, no other spelling of a
 * number.
 */
function readEvent(bytes: Uint8Array): EventBody | null {
  if (bytes.length > LIMITS.eventBytes) return null;
  const value = parseJsonBytes(bytes);
  const canonical = value === undefined ? null : canonicalBytesOrNull(value);
  if (canonical === null || !equalBytes(canonical, bytes)) return null;
  return parseOrNull(eventBody, value);
}

// ---- checkpoints

/** Signs a checkpoint of this pool's log. Origin and node come from the signer. */
export async function signCheckpoint(
  signer: Signer,
  content: Omit<Checkpoint, "v" | "type" | "origin" | "hlc"> & { hlc: EventContent["hlc"] },
): Promise<SignedCheckpoint> {
  const checkpoint: Checkpoint = {
    v: 1,
    type: "checkpoint",
    origin: signer.id,
    log_id: content.log_id,
    audience: content.audience,
    seq: content.seq,
    chain: content.chain,
    hlc: { physical_us: content.hlc.physical_us, logical: content.hlc.logical, node_id: nodeIdOf(signer.publicKey) },
  };
  const signature = await signer.sign(canonicalBytes(checkpoint));
  return { checkpoint, origin_pubkey: toHex(signer.publicKey), signature: toHex(signature) };
}

export type OpenedCheckpoint =
  | { ok: true; checkpoint: Checkpoint }
  | { ok: false; code: Extract<ErrorCode, "events/malformed" | "events/invalid-signature"> };

/** Opens a checkpoint from outside: checks its form, that its key belongs to its origin, and its signature. */
export async function openCheckpoint(wire: unknown): Promise<OpenedCheckpoint> {
  const parsed = parseOrNull(signedCheckpoint, wire);
  if (parsed === null) return { ok: false, code: "events/malformed" };
  const { checkpoint, origin_pubkey: key, signature } = parsed;
  if (!(await belongsToKey(checkpoint, key))) return { ok: false, code: "events/malformed" };
  const signed = await verifyHex(signature, canonicalBytes(checkpoint), key);
  return signed ? { ok: true, checkpoint } : { ok: false, code: "events/invalid-signature" };
}

/** Whether two opened checkpoints prove that their origin signed two histories of one log. */
export function equivocation(a: Checkpoint, b: Checkpoint): boolean {
  const onePlace = a.origin === b.origin && a.log_id === b.log_id && a.audience === b.audience && a.seq === b.seq;
  return onePlace && !equalBytes(canonicalBytes(a), canonicalBytes(b));
}

// ---- shared

/** Whether origin and node belong to the key (docs/spec/events.md#events). */
async function belongsToKey(content: Pick<EventBody, "origin" | "hlc">, keyHex: string): Promise<boolean> {
  const key = fromHex(keyHex);
  return key !== null && content.hlc.node_id === nodeIdOf(key) && content.origin === (await idOfPublicKey(key));
}

async function verifyHex(signatureHex: string, message: Uint8Array, keyHex: string): Promise<boolean> {
  const [signature, key] = [fromHex(signatureHex), fromHex(keyHex)];
  return signature !== null && key !== null && verify(signature, message, key);
}

function parseOrNull<T>(schema: z.ZodType<T>, value: unknown): T | null {
  return schema.safeParse(value).data ?? null;
}
