/** The shapes of requests between admins, as they cross from routes to a `Bond` and back. Types only. */
import type * as z from "zod";
import type { AdminRequestRow } from "../../../schema/db/admin-requests.ts";
import type {
  AdminSignature,
  adminRequestBody,
  CallbackBody,
  RequestDetails,
  RequestStatus,
} from "../../../schema/wire/admin-requests.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { OpenSlashing } from "../../market/slashing-rpc.ts";
import type { ErasableText } from "../../record/erasable-text.ts";
import type { AdminSignatureState } from "./guard-rules.ts";

/** A request of the peer's admin. The route has verified both signatures. */
export interface IncomingRequest {
  readonly requestId: string;
  readonly action: string;
  /** As the peer sent them. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly email: ErasableText | null;
  readonly signature: AdminSignature | null;
  readonly signatureState: AdminSignatureState;
  readonly signatureVersion: 1 | 2;
  readonly contentsHash: string;
  /** Slashing events that are open now. */
  readonly openSlashings: number;
}

export type ReceivedRequest =
  | { readonly ok: true; readonly status: RequestStatus; readonly expiresAtMs: number }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly param?: string | undefined;
      readonly retryAfterSeconds?: number | undefined;
    };

/** What our admin's approval rests on, read just before. */
export interface ApprovalFacts {
  readonly signatureState: AdminSignatureState;
  readonly openSlashings: readonly OpenSlashing[];
}

export interface ActingAdmin {
  readonly name: string;
  readonly tokenId: string;
}

export type Decided =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: ErrorCode; readonly retryAfterSeconds?: number | undefined };

export interface OutgoingRequest {
  /** As the peer gets it. */
  readonly body: Omit<z.input<typeof adminRequestBody>, "action_params"> & {
    readonly action_params: Readonly<Record<string, unknown>>;
  };
  readonly contentsHash: string;
  readonly email: ErasableText | null;
}

/** The peer's answer to a request of ours. */
export interface ReceivedCallback {
  readonly requestId: string;
  readonly status: CallbackBody["final_status"];
  /** JSON text. */
  readonly result: string | null;
  readonly error: string | null;
}

export type SentAnswer = { readonly ok: true } | { readonly ok: false; readonly code: ErrorCode };

/** A request as the peer's `Bond` keeps it. `isRecorded`: D1 has its last change. */
export interface StoredRequest {
  readonly row: AdminRequestRow;
  /** JSON text. */
  readonly result: string | null;
  readonly callback: RequestDetails["callback"];
  readonly isRecorded: boolean;
}

export interface SignedRequest {
  readonly action: string;
  /** JSON text. */
  readonly params: string;
  readonly signature: AdminSignature | null;
}
