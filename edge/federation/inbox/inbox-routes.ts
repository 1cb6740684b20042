import { type Context, Hono } from "hono";
import { toHex } from "../../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../../schema/crypto/canonical.ts";
import { sha256Hex } from "../../../schema/crypto/hash.ts";
import {
  ACTIONS,
  approveBody,
  requestId as REQUEST_ID,
  type RequestDetails,
  type RequestDirection,
  rejectBody,
  requestDirection,
  requestQuery,
  sendRequestBody,
} from "../../../schema/wire/admin-requests.ts";
import { atomId as ATOM_ID } from "../../../schema/wire/events.ts";
import type { AdminEnv } from "../../http/app-env.ts";
import { adminBody } from "../../http/body.ts";
import { fail } from "../../http/errors.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { slashingForGuards } from "../../market/slashing-for.ts";
import { readFederationPolicy } from "../../pool/federation-check.ts";
import { erasable } from "../../record/erasable-text.ts";
import { bondForInbox } from "../bond-for.ts";
import { findPeer } from "../peering/store.ts";
import { isKnownAction, readParams, traitsOf } from "./actions.ts";
import { checkAdminSignature } from "./admin-signature-check.ts";
import type { Decided } from "./request-shapes.ts";
import { viewOf } from "./request-view.ts";
import { findRequest, listRequests } from "./store.ts";

/** `/admin/api/requests`: requests between our admin and the admins of peers. Mounted behind an admin token. */
export const inboxRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => {
    const query = requestQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const { before, status, waiting, limit, ...filter } = query.data;
    const [, atMs, id] = /^(\d+):(.+)$/.exec(before ?? "") ?? [];
    const rows = await listRequests(c.env.DB, {
      ...filter,
      status: waiting ? ["pending", "blocked"] : status && [status],
      before: id === undefined ? undefined : { createdAtMs: Number(atMs), id },
      limit,
    });
    const last = rows.at(-1);
    const next = last && rows.length === limit ? `${last.createdAtMs}:${last.id}` : null;
    return c.json({ requests: rows.map(viewOf), next });
  })

  /** Sends a request to a peer's admin. Answers when the peer has answered, or after `LIMITS.requestSendWaitMs`. */
  .post("/sent", async (c) => {
    const body = await adminBody(c, sendRequestBody);
    if (body instanceof Response) return body;
    const { peer, action_type, action_params, admin_signature, email } = body;
    const read = readParams(action_type, action_params);
    if (!read.ok) return fail(c, "http/invalid-body", { param: read.param });
    // A write is signed with its id, so that its id cannot be made here.
    const isSigned = admin_signature !== undefined && body.request_id !== undefined;
    if (ACTIONS[action_type].kind === "write" && !isSigned) return fail(c, "federation/signature-needed");
    if ((await findPeer(c.env.DB, peer)) === undefined) return fail(c, "federation/peer-not-found");
    const request_id = body.request_id ?? `req_${toHex(crypto.getRandomValues(new Uint8Array(12)))}`;
    const request = {
      request_id,
      origin_pool_id: (await poolKeys(c.env)).atomId,
      action_type,
      action_params,
      from_admin_email: email ?? null,
      ...(admin_signature !== undefined && { admin_signature }),
    };
    const contentsHash = await sha256Hex(canonicalBytes(request));
    const outgoing = { body: request, contentsHash, email: await erasable(email) };
    const sent = await bondForInbox(c.env, peer).sendRequest(outgoing, acting(c));
    return sent.ok ? shown(c, "sent", peer, request_id, 201) : fail(c, sent.code);
  })

  .get("/:direction/:peer/:id", async (c) => {
    const named = nameOf(c);
    return named === null ? fail(c, "federation/request-not-found") : shown(c, named.direction, named.peer, named.id);
  })

  .post("/received/:peer/:id/approve", async (c) => {
    const body = await adminBody(c, approveBody);
    if (body instanceof Response) return body;
    const named = nameOf(c, "received");
    const policy = await readFederationPolicy(c.env);
    if (policy === null) return fail(c, "pool/not-ready");
    const bond = named && bondForInbox(c.env, named.peer);
    const signed = named && (await bond?.signedRequest(named.id));
    if (!named || !bond || !signed) return fail(c, "federation/request-not-found");
    const traits = isKnownAction(signed.action) ? traitsOf(signed.action) : null;
    const request = { ...signed, params: JSON.parse(signed.params), peer: named.peer, requestId: named.id };
    const facts = {
      signatureState: traits?.kind === "write" ? await checkAdminSignature(c.env, request) : ("absent" as const),
      openSlashings: traits?.heedsSlashing ? await slashingForGuards(c.env).open() : [],
    };
    const reason = await erasable(body.override_reason);
    return decided(c, named, await bond.approveRequest(named.id, reason, facts, acting(c), policy));
  })

  .post("/received/:peer/:id/reject", async (c) => {
    const body = await adminBody(c, rejectBody);
    if (body instanceof Response) return body;
    const named = nameOf(c, "received");
    if (named === null) return fail(c, "federation/request-not-found");
    const note = await erasable(body.note);
    return decided(c, named, await bondForInbox(c.env, named.peer).rejectRequest(named.id, note, acting(c)));
  })

  /** Erases the email and the note. The log has only their salted hashes (docs/spec/events.md#events). */
  .post("/:direction/:peer/:id/erase", async (c) => {
    const named = nameOf(c);
    if (named === null) return fail(c, "federation/request-not-found");
    const { direction, peer, id } = named;
    const row = (await findRequest(c.env.DB, direction, peer, id)) ?? null;
    const isErased =
      row !== null && (await bondForInbox(c.env, peer).eraseTexts(direction, id, row, c.var.adminTokenId));
    return isErased ? shown(c, direction, peer, id) : fail(c, "federation/request-not-found");
  });

interface RequestName {
  readonly direction: RequestDirection;
  readonly peer: string;
  readonly id: string;
}

/** The request that the path names; null if the path names none. */
function nameOf(c: Context<AdminEnv>, given: string | undefined = c.req.param("direction")): RequestName | null {
  const direction = requestDirection.safeParse(given).data;
  const peer = ATOM_ID.safeParse(c.req.param("peer")).data;
  const id = REQUEST_ID.safeParse(c.req.param("id")).data;
  return direction && peer && id ? { direction, peer, id } : null;
}

function acting(c: Context<AdminEnv>) {
  return { name: c.var.admin, tokenId: c.var.adminTokenId };
}

function decided(c: Context<AdminEnv>, { direction, peer, id }: RequestName, decision: Decided) {
  if (decision.ok) return shown(c, direction, peer, id);
  return fail(c, decision.code, { retryAfterSeconds: decision.retryAfterSeconds });
}

/** The request as the peer's `Bond` has it now, or as D1 has it if the `Bond` does not keep it any more. */
async function shown(
  c: Context<AdminEnv>,
  direction: RequestDirection,
  peer: string,
  id: string,
  status: 200 | 201 = 200,
): Promise<Response> {
  const row = await findRequest(c.env.DB, direction, peer, id);
  // A stranger's id wakes no object: only peers have requests.
  const isPeer = row !== undefined || (await findPeer(c.env.DB, peer)) !== undefined;
  const stored = isPeer ? await bondForInbox(c.env, peer).request(direction, id) : null;
  const current = stored?.row ?? row;
  if (current === undefined) return fail(c, "federation/request-not-found");
  const details: RequestDetails = {
    ...viewOf(current),
    result: stored?.result ? JSON.parse(stored.result) : null,
    callback: stored?.callback ?? null,
    open_slashings: current.status === "blocked" ? (await slashingForGuards(c.env).open()).length : 0,
    ...(stored?.isRecorded === false && { recorded: false as const }),
  };
  return c.json(details, status);
}
