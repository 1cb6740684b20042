import { utf8 } from "../../../schema/crypto/bytes.ts";
import { freshNonce, signRequest } from "../../../schema/crypto/request-signature.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { type FederationPolicy, isAllowedPeerUrl } from "../../../schema/wire/federation.ts";
import { parseJson } from "../../../schema/wire/json-text.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { aheadOfPeerMs } from "../../events/clock-guard-rules.ts";
import { callErrorOf, networkFailureOf } from "../../http/call-failure.ts";
import { hasMoreValuesThan } from "../../http/json-values.ts";
import { readRetryAfter } from "../../http/retry-after-rules.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { checkFederation } from "../../pool/federation-check.ts";
import type { CallFailure, NoAnswer, PeerAnswer } from "./peer-answer.ts";

/** The receiver of a call. The signature covers its atom id, so that no other pool accepts the request. */
export interface PeerAddress {
  readonly atomId: string;
  /** Origin of the peer, without a path. */
  readonly url: string;
  /**
   * The signature version. 1 if the peer's card lacks `sig_versions`; used only if the policy allows it, and never
   * after the peer has used 2.
   */
  readonly version: 1 | 2;
}

export interface PeerCall {
  readonly method: "GET" | "POST";
  /** `pathname + search`. */
  readonly target: string;
  readonly body?: unknown;
  /** The largest accepted answer; `LIMITS.federatedBodyBytes` if absent. */
  readonly maxBytes?: number;
}

const UNREACHABLE: NoAnswer = Object.freeze({ ok: false, code: "federation/unreachable" });

/**
 * Sends one signed request to a peer (docs/spec/federation.md#signed-requests) and reads the whole answer. The request
 * is sent only while federation is on, through the network that the policy allows. It follows no redirect, ends after
 * `LIMITS.peerCallMs`, and has a limit for the size of the answer. Errors are values (`NoAnswer`). No other file in
 * `edge/` calls peers.
 */
export async function callPeer(env: Env, peer: PeerAddress, call: PeerCall): Promise<PeerAnswer> {
  return withTimeLimit(async (signal) => {
    const sentMs = Date.now();
    return readAnswer(await openPeer(env, peer, call, signal), sentMs, call.maxBytes);
  });
}

/**
 * As `callPeer`, for an answer that is a stream. Resolves when the head of the answer has arrived. Aborting `signal`
 * ends the call or the stream.
 */
export async function openPeer(
  env: Env,
  peer: PeerAddress,
  call: PeerCall,
  signal: AbortSignal,
): Promise<Response | NoAnswer> {
  const open = await openNetwork(env, peer.url);
  if (!open.ok) return open;
  if (peer.version === 1 && open.policy.legacy_signatures === "off")
    return { ok: false, code: "federation/legacy-off" };
  const { signer } = await poolKeys(env);
  const { method, target } = call;
  const body = call.body === undefined ? new Uint8Array() : utf8(JSON.stringify(call.body));
  const signed = await signRequest(signer, {
    method,
    target,
    body,
    destination: peer.version === 1 ? null : peer.atomId,
    timestampSeconds: Math.floor(Date.now() / 1_000),
    nonce: freshNonce(),
  });
  const hasBody = call.body !== undefined;
  return send(open.network, new URL(target, peer.url), {
    method,
    headers: { ...signed, ...(hasBody && { "content-type": "application/json" }) },
    ...(hasBody && { body }),
    signal,
  });
}

/** Reads a public page of a pool, such as its card. The request is not signed; the limits are those of `callPeer`. */
export async function readPeer(env: Env, url: string, target: string): Promise<PeerAnswer> {
  const open = await openNetwork(env, url);
  if (!open.ok) return open;
  return withTimeLimit(async (signal) => {
    const sentMs = Date.now();
    return readAnswer(await send(open.network, new URL(target, url), { signal }), sentMs);
  });
}

/**
 * Ends a call after `LIMITS.peerCallMs`. `AbortSignal.timeout` would keep its timer running after the answer, which
 * keeps an object in memory.
 */
async function withTimeLimit(call: (signal: AbortSignal) => Promise<PeerAnswer>): Promise<PeerAnswer> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), LIMITS.peerCallMs);
  return call(abort.signal).finally(() => clearTimeout(timer));
}

type Network = { fetch: typeof fetch };

/** The network for this URL, if federation is on and the policy allows the URL. */
async function openNetwork(
  env: Env,
  url: string,
): Promise<NoAnswer | { ok: true; network: Network; policy: FederationPolicy }> {
  const checked = await checkFederation(env);
  if (!checked.open) return { ok: false, code: checked.code };
  const { policy } = checked;
  if (!isAllowedPeerUrl(url, policy)) return { ok: false, code: "federation/private-address" };
  // On Cloudflare neither binding exists: `fetch` reaches public addresses only.
  const given = policy.allow_private_peers ? env.PRIVATE_NETWORK : env.PUBLIC_NETWORK;
  return { ok: true, policy, network: (given as Network | undefined) ?? { fetch: (...args) => fetch(...args) } };
}

async function send(network: Network, url: URL, init: RequestInit): Promise<Response | NoAnswer> {
  try {
    return await network.fetch(url.href, { ...init, redirect: "manual" });
  } catch (error) {
    // Drop the error's text: it contains names and addresses, which no peer and no log may see.
    return { ...UNREACHABLE, ...failureOf(error) };
  }
}

function failureOf(error: unknown): Pick<NoAnswer, "failure"> {
  const failure = callErrorOf(error);
  if (failure === null) return {};
  return { failure: typeof failure === "string" ? `federation/${failure}` : failure };
}

/** The failure's code, for our admin. If nobody knows the cause, the code is `federation/unreachable`. */
export async function codeOf(env: Env, failure: CallFailure): Promise<ErrorCode> {
  if (typeof failure === "string") return failure;
  return (await networkFailureOf(env, failure.reference)) ?? UNREACHABLE.code;
}

async function readAnswer(
  sent: Response | NoAnswer,
  sentMs: number,
  maxBytes: number = LIMITS.federatedBodyBytes,
): Promise<PeerAnswer> {
  if (!(sent instanceof Response)) return sent;
  try {
    const text = await readBounded(sent, maxBytes);
    if (text === null) return UNREACHABLE;
    const retryAfterSeconds = readRetryAfter(sent.headers.get("retry-after"), Date.now());
    const aheadMs = aheadOfPeerMs(sent.headers, sentMs);
    return { ok: true, status: sent.status, body: parse(text), retryAfterSeconds, aheadMs };
  } catch (error) {
    // The peer began to answer, so "no connection" would be wrong. Only a time-out can be named.
    const { failure } = failureOf(error);
    return failure === "federation/silent" ? { ...UNREACHABLE, failure } : UNREACHABLE;
  }
}

/** The body as text; null if it has more than `maxBytes`. The rest is then not read. */
async function readBounded(response: Response, maxBytes: number): Promise<string | null> {
  if (!response.body) return "";
  if (Number(response.headers.get("content-length")) > maxBytes) {
    await response.body.cancel();
    return null;
  }
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    bytes += chunk.byteLength;
    // Leaving the loop cancels the body.
    if (bytes > maxBytes) return null;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The JSON value; null if the text is not JSON, or has more values than any answer of the protocol. */
function parse(text: string): unknown {
  if (hasMoreValuesThan(LIMITS.peerAnswerValues, text)) return null;
  return parseJson(text) ?? null;
}
