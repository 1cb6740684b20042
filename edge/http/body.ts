import type { Context } from "hono";
import type * as z from "zod";
import { concat } from "../../schema/crypto/bytes.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { deadline } from "../limits/timeout.ts";
import { fail } from "./errors.ts";
import { hasMoreValuesThan } from "./json-values.ts";
import type { UnauthenticatedBody, UnauthenticatedBodyBudget } from "./unauthenticated-bodies.ts";

/** `message`: replaces the code's own message where there is more to say. */
interface Unread {
  ok: false;
  code: ErrorCode;
  message?: string;
}

export type Body = { ok: true; value: unknown; bytes: number } | Unread;

/** Reads a JSON body of at most `maxBytes`, and for at most a minute. */
export async function readJson(request: Request, maxBytes: number): Promise<Body> {
  const read = await readBytes(request, maxBytes);
  return read.ok ? parseBody(read.bytes) : read;
}

const TOO_MANY_VALUES: Unread = {
  ok: false,
  code: "http/body-too-large",
  message: `The body has more than ${LIMITS.bodyValues} JSON values.`,
};

/** Parses the bytes of a body that was read. */
export function parseBody(bytes: Uint8Array | ArrayBuffer): Body {
  try {
    const text = UTF8.decode(bytes);
    if (hasMoreValuesThan(LIMITS.bodyValues, text)) return TOO_MANY_VALUES;
    return { ok: true, value: JSON.parse(text), bytes: bytes.byteLength };
  } catch {
    return { ok: false, code: "http/invalid-json" };
  }
}

export type Bytes = { ok: true; bytes: Uint8Array | ArrayBuffer } | Unread;

const MIB = 1024 * 1024;

function tooLarge(maxBytes: number): Unread {
  const most = maxBytes % MIB === 0 ? `${maxBytes / MIB} MiB` : `${maxBytes / 1024} KiB`;
  return {
    ok: false,
    code: "http/body-too-large",
    message: `The body is larger than the ${most} that this route accepts.`,
  };
}

/** The body's bytes. Counts the bytes that arrive, not the announced length. A missing body has no bytes. */
export async function readBytes(request: Request, maxBytes: number): Promise<Bytes> {
  const announced = Number(request.headers.get("content-length") ?? Number.NaN);
  if (announced > maxBytes) return tooLarge(maxBytes);
  if (!request.body) return { ok: true, bytes: new Uint8Array() };
  const tooSlow = deadline(LIMITS.bodyReadMs, "too-slow");
  try {
    // HTTP ends a body at its announced length, and reading it whole costs half of reading it in pieces.
    const reading = Number.isNaN(announced)
      ? readCounted(request.body, maxBytes, tooSlow.passed)
      : request.arrayBuffer();
    const bytes = await Promise.race([reading, tooSlow.passed]);
    if (bytes === "too-slow") return { ok: false, code: "http/body-timeout" };
    if (bytes === "too-large" || bytes.byteLength > maxBytes) return tooLarge(maxBytes);
    return { ok: true, bytes };
  } catch {
    return { ok: false, code: "http/invalid-json" };
  } finally {
    tooSlow.clear();
  }
}

/** How often a reader checks whether its body was dropped. */
const DROPPED_CHECK_MS = 250;
/** Without a buffer of our own the runtime reads 4 KiB at a time, each into a new buffer. */
const PIECE_BYTES = 64 * 1024;

/** Reads a body whose sender is not authenticated yet, within the budget of all such bodies; "dropped": it exceeded it. */
export async function readUnauthenticated(
  request: Request,
  budget: UnauthenticatedBodyBudget,
): Promise<Uint8Array | "unreadable" | "dropped"> {
  const announced = Number(request.headers.get("content-length") ?? Number.NaN);
  if (announced > LIMITS.federatedBodyBytes) return "unreadable";
  if (!request.body) return new Uint8Array();
  const growing = budget.begin(Date.now());
  // It needs no more than every body counts as, so it is read whole, which costs half.
  const isSmall = announced <= LIMITS.unauthenticatedBodyMinBytes;
  const reader = isSmall ? null : request.body.getReader({ mode: "byob" });
  let check: ReturnType<typeof setInterval> | undefined;
  // Polled, not signalled: in workerd one request must not resume another's promise.
  const dropped = new Promise<"dropped">((resolve) => {
    check = setInterval(() => growing.isDropped && resolve("dropped"), DROPPED_CHECK_MS);
  });
  const tooSlow = deadline(LIMITS.unauthenticatedBodyReadMs, "unreadable");
  try {
    const reading = reader ? readInto(growing, reader) : request.arrayBuffer();
    const read = await Promise.race([reading, dropped, tooSlow.passed]);
    if (read instanceof ArrayBuffer) return growing.isDropped ? "dropped" : new Uint8Array(read);
    if (read === "all") return growing.finish();
    // Nothing depends on when the cancellation is confirmed.
    reader?.cancel().catch(() => {});
    return read;
  } catch {
    return "unreadable";
  } finally {
    clearInterval(check);
    tooSlow.clear();
    growing.finish();
  }
}

async function readInto(
  growing: UnauthenticatedBody,
  reader: ReadableStreamBYOBReader,
): Promise<"all" | "unreadable" | "dropped"> {
  for (let piece = new Uint8Array(PIECE_BYTES); ; ) {
    const { done, value } = await reader.read(piece);
    if (growing.isDropped) return "dropped";
    if (done || value === undefined) return "all";
    if (!growing.add(value)) return "unreadable";
    piece = new Uint8Array(value.buffer);
  }
}

/** The runtime itself discards this much of an unread body, and closes the connection beyond it. */
const DISCARDED_BY_RUNTIME_BYTES = 64 * 1024;

/** Discards a body that is refused unread. Otherwise a client that still sends gets a closed connection, not our answer. */
export async function discardBody({ body, headers }: Request): Promise<void> {
  if (!body || Number(headers.get("content-length") ?? Number.NaN) <= DISCARDED_BY_RUNTIME_BYTES) return;
  const tooLong = deadline(LIMITS.bodyDiscardMs, null);
  try {
    const reader = body.getReader();
    for (;;) {
      const step = await Promise.race([reader.read(), tooLong.passed]);
      if (step === null) await reader.cancel();
      if (step === null || step.done) return;
    }
  } catch {
    // The client disconnected, or the body is being read elsewhere. The refusal holds.
  } finally {
    tooLong.clear();
  }
}

/** RFC 8259 section 8.1: JSON is UTF-8. Any other bytes are malformed and are not repaired. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

/** Reads a body of unknown length and never holds more than `maxBytes` of it. */
async function readCounted(
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
  tooSlow: Promise<"too-slow">,
): Promise<Uint8Array | "too-large" | "too-slow"> {
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const step = await Promise.race([reader.read(), tooSlow]);
    if (step === "too-slow") {
      await reader.cancel();
      return "too-slow";
    }
    if (step.done) return concat(...chunks);
    bytes += step.value.byteLength;
    if (bytes > maxBytes) {
      await reader.cancel();
      return "too-large";
    }
    chunks.push(step.value);
  }
}

/** The body of an admin request by its schema (a missing body counts as `{}`), or the error response that names the fault. */
export async function adminBody<T>(c: Context, schema: z.ZodType<T>): Promise<T | Response> {
  const read: Body = c.req.raw.body
    ? await readJson(c.req.raw, LIMITS.adminBodyBytes)
    : { ok: true, value: {}, bytes: 0 };
  if (!read.ok) return fail(c, read.code, { message: read.message });
  const parsed = schema.safeParse(read.value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === "unrecognized_keys";
  const path = [...(issue?.path ?? []), ...(unknown ? issue.keys.slice(0, 1) : [])];
  if (path.length === 0) return fail(c, "http/invalid-body", { message: "The body must be a JSON object." });
  const param = path.map(String).join(".").slice(0, 100);
  return unknown
    ? fail(c, "http/unknown-parameter", { param, message: `The parameter ${param} is not known.` })
    : fail(c, "http/invalid-body", { param, message: `The value of ${param} is not valid.` });
}
