import { Hono } from "hono";
import { utf8 } from "../../../schema/crypto/bytes.ts";
import { canonicalBytesOrNull } from "../../../schema/crypto/canonical.ts";
import { sha256Hex } from "../../../schema/crypto/hash.ts";
import { adminRequestBody, callbackBody } from "../../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { fail } from "../../http/errors.ts";
import { slashingForGuards } from "../../market/slashing-for.ts";
import { erasable } from "../../record/erasable-text.ts";
import { bondForRequest } from "../bond-for.ts";
import { type PeerEnv, signedBody, signedPeer, unauthenticated } from "../signing/signed-peer.ts";
import { isKnownAction, traitsOf } from "./actions.ts";
import { checkAdminSignature } from "./admin-signature-check.ts";
import { isOpen } from "./received-request-machine.ts";

/** `/v1/federation/admin`: what admins of peers ask of our admin, and what they answer (docs/spec/federation.md#admin-requests). */
export const requestRoutes = new Hono<PeerEnv>()
  .post("/request", signedPeer({ legacy: "reads", touchesEconomy: false, rate: "request", minTrust: 0 }), async (c) => {
    const body = signedBody(c, c.var.body, adminRequestBody);
    if (body instanceof Response) return body;
    const { atomId, signatureVersion } = c.var.peer;
    if (body.origin_pool_id !== atomId) return unauthenticated(c, "wrong-key");
    const { request_id: requestId, action_type: action, action_params: params, from_admin_email: email } = body;
    if (utf8(JSON.stringify(params)).byteLength > LIMITS.adminParamsBytes) {
      return fail(c, "http/invalid-body", { param: "action_params" });
    }
    const signature = body.admin_signature ?? null;
    // Null: a text that is not well-formed Unicode, which nothing could sign or hash.
    const contents = canonicalBytesOrNull({ action, params, email, signature });
    if (contents === null) return fail(c, "http/invalid-body", { param: "action_params" });
    const traits = isKnownAction(action) ? traitsOf(action) : null;
    const signed = traits?.kind === "write" ? { peer: atomId, requestId, action, params, signature } : null;
    const received = await bondForRequest(c.env, atomId).receiveRequest(
      {
        requestId,
        action,
        params,
        email: await erasable(email),
        signature,
        signatureState: signed === null ? "absent" : await checkAdminSignature(c.env, signed),
        signatureVersion,
        contentsHash: await sha256Hex(contents),
        openSlashings: traits?.heedsSlashing ? (await slashingForGuards(c.env).open()).length : 0,
      },
      c.var.policy,
    );
    if (!received.ok) {
      const { code, ...details } = received;
      return code === "federation/unauthenticated" ? unauthenticated(c, "wrong-key") : fail(c, code, details);
    }
    const { status, expiresAtMs } = received;
    if (status === "blocked") return fail(c, "federation/slashing-pending");
    const answer = { request_id: requestId, status, expires_at: Math.floor(expiresAtMs / 1_000) };
    // What a pool of the existing network expects.
    if (signatureVersion === 1) return c.json({ ok: true, ...answer }, 200);
    return c.json(answer, isOpen({ status }) ? 202 : 200);
  })

  .post("/callback", signedPeer({ legacy: "all", touchesEconomy: false, rate: "request", minTrust: 0 }), async (c) => {
    const body = signedBody(c, c.var.body, callbackBody);
    if (body instanceof Response) return body;
    const { atomId } = c.var.peer;
    if (body.origin_pool_id !== atomId) return unauthenticated(c, "wrong-key");
    const { request_id: requestId, final_status: status, execution_result: result, execution_error: error } = body;
    const callback = { requestId, status, result: result === null ? null : JSON.stringify(result), error };
    const taken = await bondForRequest(c.env, atomId).takeCallback(callback, c.var.policy);
    return taken.ok ? c.json({ ok: true, request_id: requestId }) : fail(c, taken.code);
  });
