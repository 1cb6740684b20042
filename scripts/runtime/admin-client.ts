import * as z from "zod";
import {
  adminTokenList,
  bannedWorker,
  clientKeyList,
  createdAdminToken,
  createdKey,
  createdWorkerToken,
  doctorAnswer,
  importedRows,
  logClock,
  newLog,
  pardonedWorker,
  poolAnswer,
  removedPeer,
  resetCircuits,
  revoked,
  revokedAdmin,
  workerCircuits,
  workerList,
} from "../../schema/wire/admin-api.ts";
import { addedAdminKey, adminKeyList, removedAdminKey } from "../../schema/wire/admin-keys.ts";
import {
  type RequestView,
  requestDetails,
  requestList,
  type sendRequestBody,
} from "../../schema/wire/admin-requests.ts";
import { type BackupRow, exportHead, type poolSettings, type RecordTable, rowsPage } from "../../schema/wire/backup.ts";
import { type EventSearch, eventSearchPage } from "../../schema/wire/event-search.ts";
import { type Audience, eventsPage, verifyPage } from "../../schema/wire/events.ts";
import {
  type FederationPolicy,
  federationPolicy,
  federationStatus,
  type GrantableLevel,
  peerDetails,
  peerList,
} from "../../schema/wire/federation.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type addSlashingBody, changedSlashing, type SlashingVerb, slashingList } from "../../schema/wire/market.ts";
import { removedWebhook, setWebhook, testedWebhook, webhookStatus } from "../../schema/wire/webhook.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { noAnswer } from "./pool-unreachable.ts";

/** The admin API of a pool (`/admin/api`), as the command line and the runner use it. */

const TIMEOUT_MS = 15_000;
/** The pool calls a new peer up to three times. */
const ADD_PEER_MS = 3 * LIMITS.peerCallMs + TIMEOUT_MS;

export interface NewKey {
  label?: string | undefined;
  requests_per_minute?: number | undefined;
  tokens_per_minute?: number | undefined;
  streams?: number | undefined;
}
export interface NewToken {
  label?: string | undefined;
  expires_in_days?: number | undefined;
}

/** Names a request of the pool's inbox, or one that it sent. */
export type RequestName = Pick<RequestView, "direction" | "peer" | "request_id">;

const requestPath = ({ direction, peer, request_id }: RequestName) =>
  `/requests/${direction}/${peer}/${encodeURIComponent(request_id)}`;

export interface NewAdminKey {
  public_key: string;
  peer?: string | undefined;
  label?: string | undefined;
}

export type PoolChange = Partial<z.infer<typeof poolSettings>>;

export type AdminClient = ReturnType<typeof adminClient>;

export function adminClient(url: string, adminToken: string) {
  const call = async <T>(
    method: string,
    path: string,
    shape: z.ZodType<T>,
    body?: object,
    timeoutMs = TIMEOUT_MS,
  ): Promise<T> => {
    const answer = shape.safeParse(await request(url, adminToken, method, path, body, timeoutMs));
    if (answer.success) return answer.data;
    throw new OperatorError(
      `The pool at ${url} has another version than this command. Update both to the same version.`,
    );
  };
  return {
    pool: () => call("GET", "/pool", poolAnswer),
    changePool: (settings: PoolChange) => call("PATCH", "/pool", poolAnswer, settings),
    exportHead: () => call("GET", "/export", exportHead),
    exportMetering: (after: number, until: number) =>
      call("GET", `/export/metering?after=${after}&until=${until}`, rowsPage),
    exportEvents: (after: number, until: number) =>
      call("GET", `/export/events?after=${after}&until=${until}`, rowsPage),
    importRows: (table: RecordTable, rows: BackupRow[]) => call("POST", "/import", importedRows, { table, rows }),
    newLog: (clockAnew = false) =>
      call("POST", "/new-log", newLog, {
        ...(clockAnew && { clock_anew: true }),
      }),
    confirmClock: () => call("POST", "/events/confirm-clock", logClock),
    doctor: () => call("GET", "/doctor", doctorAnswer),
    webhook: () => call("GET", "/webhook", webhookStatus),
    setWebhook: (url: string, secret?: string) =>
      call("PUT", "/webhook", setWebhook, { url, ...(secret !== undefined && { secret }) }),
    testWebhook: () => call("POST", "/webhook/test", testedWebhook, undefined, TIMEOUT_MS + LIMITS.webhookCallMs),
    removeWebhook: () => call("DELETE", "/webhook", removedWebhook),
    createKey: (options: NewKey) => call("POST", "/keys", createdKey, options),
    keys: async () => (await call("GET", "/keys", clientKeyList)).keys,
    revokeKey: (id: string) => call("DELETE", `/keys/${encodeURIComponent(id)}`, revoked),
    createAdmin: (name: string) => call("POST", "/admins", createdAdminToken, { name }),
    admins: async () => (await call("GET", "/admins", adminTokenList)).admins,
    rotateAdmin: (id: string) => call("POST", `/admins/${encodeURIComponent(id)}/rotate`, createdAdminToken),
    revokeAdmin: (id: string) => call("DELETE", `/admins/${encodeURIComponent(id)}`, revokedAdmin),
    adminKeys: async () => (await call("GET", "/admin-keys", adminKeyList)).keys,
    addAdminKey: (key: NewAdminKey) => call("POST", "/admin-keys", addedAdminKey, key),
    removeAdminKey: (id: string) => call("DELETE", `/admin-keys/${encodeURIComponent(id)}`, removedAdminKey),
    invite: (options: NewToken) => call("POST", "/workers/tokens", createdWorkerToken, options),
    workers: () => call("GET", "/workers", workerList),
    circuits: () => call("GET", "/workers/circuits", workerCircuits),
    resetCircuits: (worker_id?: string) => call("POST", "/workers/circuits/reset", resetCircuits, { worker_id }),
    banWorker: (id: string, note?: string) => call("POST", `/workers/${id}/ban`, bannedWorker, { note }),
    pardonWorker: (id: string) => call("POST", `/workers/${id}/pardon`, pardonedWorker),
    events: (audience: Audience, limit: number) =>
      call("GET", `/events?audience=${audience}&limit=${limit}`, eventsPage),
    searchEvents: (search: EventSearch) => call("GET", `/events/search?${searchParams(search)}`, eventSearchPage),
    verifyEvents: (since: number) => call("GET", `/events/verify?since=${since}`, verifyPage),
    peers: async () => (await call("GET", "/peers", peerList)).peers,
    peer: (id: string) => call("GET", `/peers/${encodeURIComponent(id)}`, peerDetails),
    addPeer: (peer: { url: string; atom_id?: string | undefined }) =>
      call("POST", "/peers", peerDetails, peer, ADD_PEER_MS),
    trustPeer: (id: string, level: GrantableLevel) =>
      call("PUT", `/peers/${encodeURIComponent(id)}/trust`, peerDetails, { level }),
    resyncPeer: (id: string) => call("POST", `/peers/${encodeURIComponent(id)}/follow-anew`, peerDetails),
    removePeer: (id: string) => call("DELETE", `/peers/${encodeURIComponent(id)}`, removedPeer),
    requests: (query: Record<string, string>) => call("GET", `/requests?${new URLSearchParams(query)}`, requestList),
    request: (of: RequestName) => call("GET", requestPath(of), requestDetails),
    approveRequest: (of: RequestName, reason?: string) =>
      call("POST", `${requestPath(of)}/approve`, requestDetails, { override_reason: reason }),
    rejectRequest: (of: RequestName, note?: string) =>
      call("POST", `${requestPath(of)}/reject`, requestDetails, { note }),
    eraseRequest: (of: RequestName) => call("POST", `${requestPath(of)}/erase`, requestDetails),
    sendRequest: (request: z.input<typeof sendRequestBody>) => call("POST", "/requests/sent", requestDetails, request),
    slashing: async (onlyOpen: boolean) =>
      (await call("GET", `/slashing${onlyOpen ? "?open=true" : ""}`, slashingList)).slashing,
    addSlashing: (slashing: z.infer<typeof addSlashingBody>) => call("POST", "/slashing", changedSlashing, slashing),
    changeSlashing: (id: string, verb: SlashingVerb, reason: string) =>
      call("POST", `/slashing/${encodeURIComponent(id)}/${verb}`, changedSlashing, { reason }),
    federation: () => call("GET", "/federation", federationStatus),
    changeFederation: async (change: Partial<FederationPolicy>) =>
      (await call("PATCH", "/federation", z.object({ policy: federationPolicy }), change)).policy,
    revokeToken: (id: string) => call("DELETE", `/workers/tokens/${encodeURIComponent(id)}`, revoked),
  };
}

function searchParams(search: EventSearch): URLSearchParams {
  const given = Object.entries(search).filter(([, value]) => value !== undefined);
  return new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
}

async function request(
  url: string,
  adminToken: string,
  method: string,
  path: string,
  body: object | undefined,
  timeoutMs: number,
): Promise<unknown> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${url}/admin/api${path}`, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, ...(body && { "content-type": "application/json" }) },
      ...(body && { body: JSON.stringify(body) }),
      // A redirect must not send the admin token elsewhere.
      redirect: "error",
      signal: AbortSignal.timeout(timeoutMs),
    });
    text = await response.text();
  } catch (error) {
    throw noAnswer(url, error);
  }
  const code = response.headers.get("x-ligand-code") ?? undefined;
  if (response.status === 401) {
    throw new OperatorError(
      `The pool at ${url} refuses this admin token. Set LIGAND_ADMIN_TOKEN to a valid one.`,
      code,
    );
  }
  const answer = parseJson(text);
  if (!response.ok) throw new OperatorError(refusal(answer) ?? unexpectedStatus(url, response.status), code);
  if (answer === undefined) throw new OperatorError(`The server at ${url} is not a Ligand pool. Check the URL.`);
  return answer;
}

const errorBody = z.object({ error: z.object({ message: z.string() }) });

/** The message for an error without a body of the pool. */
export function unexpectedStatus(url: string, status: number): string {
  const remedy = status >= 500 ? "Try again in a moment" : "Check the URL, and that it leads to a Ligand pool";
  return `The pool at ${url} answered ${status}. ${remedy}.`;
}

function refusal(answer: unknown): string | undefined {
  return errorBody.safeParse(answer).data?.error.message;
}
