import { readFileSync } from "node:fs";
import type * as z from "zod";
import {
  ACTIONS,
  type ActionName,
  requestDirection,
  requestId,
  requestView,
  signedRequestFile,
  type UnsignedAdminRequest,
} from "../../schema/wire/admin-requests.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { LIGAND } from "../../worker-agent/cli/shared/called-as.ts";
import { type Command, EXIT, flag, type Group, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { FlagError, UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import type { AdminClient, RequestName } from "../runtime/admin-client.ts";
import { peerIdOf } from "./format-peer.ts";
import { formatRequest, requestsTable } from "./format-request.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { notRecorded } from "./short-id.ts";

const ID_HELP = [
  "ID                 the request's id, or the beginning of it",
  "--peer ID          the peer, if two peers used the same id",
] as const;
const ID_OPTIONS = { ...COMMON_OPTIONS, peer: { type: "string" } } as const;
const ONE = { min: 1, max: 1 } as const;

const list: Command = {
  summary: "List requests between this pool's admin and the admins of peers, the newest first.",
  usage: "[--waiting] [--sent | --received] [--status STATUS] [--peer ID] [--limit N] [--json]",
  help: [
    "--waiting          only requests that wait for a decision",
    "--received         only requests of peers",
    "--sent             only requests of this pool",
    `--status STATUS    one of ${requestView.shape.status.options.join(", ")}`,
    "--peer ID          only requests from and to this peer",
    `--limit N          at most so many (default 20, at most ${LIMITS.adminRequestsPerPage})`,
    ...COMMON_HELP,
  ],
  options: {
    ...ID_OPTIONS,
    waiting: { type: "boolean" },
    received: { type: "boolean" },
    sent: { type: "boolean" },
    status: { type: "string" },
    limit: { type: "string" },
  },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const client = admin(values);
    const status = text(values, "status");
    if (status !== undefined && !requestView.shape.status.safeParse(status).success) {
      throw new FlagError("status", `must be one of ${requestView.shape.status.options.join(", ")}.`);
    }
    const limit = integer("limit", text(values, "limit"), 1, LIMITS.adminRequestsPerPage) ?? 20;
    const peer = await peerOf(client, values, hints);
    const direction = flag(values, "sent") ? "sent" : flag(values, "received") ? "received" : undefined;
    const page = await client.requests({
      limit: String(limit),
      ...(direction && { direction }),
      ...(status && { status }),
      ...(peer && { peer }),
      ...(flag(values, "waiting") && { waiting: "true" }),
    });
    return print(values, page, requestsTable(page.requests, Date.now(), hints));
  },
};

const show: Command = {
  summary: "Show a request with its parameters and result, and what you can do with it.",
  usage: "ID [--peer ID] [--json]",
  help: [...ID_HELP, ...COMMON_HELP],
  options: ID_OPTIONS,
  positionals: ONE,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const request = await client.request(await nameOf(client, given, values, hints));
    return print(values, request, formatRequest(request, hints));
  },
};

const approve: Command = {
  summary: "Approve a request of a peer. Its action runs once, and the peer gets the result.",
  usage: "ID [--override-reason TEXT] [--peer ID] [--json]",
  help: [
    ...ID_HELP,
    "--override-reason TEXT  approve it although a slashing event is open. The reason is on record",
    ...COMMON_HELP,
  ],
  options: { ...ID_OPTIONS, "override-reason": { type: "string" } },
  positionals: ONE,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const of = await nameOf(client, given, values, hints, "received");
    const done = await client.approveRequest(of, text(values, "override-reason")).catch(withOverride(of, hints));
    return print(values, done, `${formatRequest(done, hints)}${notRecorded(done)}`);
  },
};

const reject: Command = {
  summary: "Reject a request of a peer. The peer hears that it is rejected, and not the note.",
  usage: "ID [--note TEXT] [--peer ID] [--json]",
  help: [...ID_HELP, "--note TEXT        for this pool's admins", ...COMMON_HELP],
  options: { ...ID_OPTIONS, note: { type: "string" } },
  positionals: ONE,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const of = await nameOf(client, given, values, hints, "received");
    const done = await client.rejectRequest(of, text(values, "note"));
    return print(values, done, `${formatRequest(done, hints)}${notRecorded(done)}`);
  },
};

const erase: Command = {
  summary: "Erase the email and the note of a request. The event log stays valid: it has only their hashes.",
  usage: "ID [--peer ID] [--json]",
  help: [...ID_HELP, ...COMMON_HELP],
  options: ID_OPTIONS,
  positionals: ONE,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const done = await client.eraseRequest(await nameOf(client, given, values, hints));
    return print(values, done, `Erased the email and the note of request ${done.request_id}.${notRecorded(done)}`);
  },
};

const send: Command = {
  summary: "Ask a peer's admin for an action. A write is first printed to be signed, and then sent with its signature.",
  usage: "[PEER ACTION [NAME=VALUE …]] [--signed FILE] [--email TEXT] [--json]",
  help: [
    "PEER               the peer's atom id, or its first 6 or more hex digits",
    ...Object.entries(ACTIONS).map(
      ([name, { kind, params }]) => `${name.padEnd(18)} a ${kind}; parameters: ${Object.keys(params.shape).join(", ")}`,
    ),
    "NAME=VALUE         a parameter. A list is separated by commas: event_types=worker_joined,worker_left",
    "--email TEXT       shown to the peer's admin, as a claim",
    "--id ID            the request's id (default: a random one)",
    "--signed FILE      send the write request that this file holds, as `admin-keys sign` wrote it; - reads stdin",
    ...COMMON_HELP,
    "",
    "A write needs three steps, so that the admin key never leaves the admin's machine:",
    "  requests send PEER circuit_reset > request.json",
    "  admin-keys sign request.json > signed.json        on the admin's machine",
    "  requests send --signed signed.json",
  ],
  options: {
    ...COMMON_OPTIONS,
    email: { type: "string" },
    id: { type: "string" },
    signed: { type: "string" },
  },
  positionals: { min: 0, max: 64 },
  async run(values, [peer, action, ...given], hints) {
    const client = admin(values);
    const file = text(values, "signed");
    if (file !== undefined) {
      if (peer !== undefined) throw new UsageError("With --signed FILE, the file names the peer and the action.");
      return sent(values, hints, await client.sendRequest(signedRequest(file, text(values, "email"))));
    }
    if (peer === undefined || action === undefined) throw new UsageError("PEER and ACTION are missing.");
    const action_type = actionOf(action);
    const action_params = paramsOf(action_type, given) as Record<string, never>;
    const request = {
      peer: peerIdOf(peer, await client.peers(), hints),
      action_type,
      action_params,
      request_id: idOf(text(values, "id")),
    };
    if (ACTIONS[request.action_type].kind === "read") {
      return sent(values, hints, await client.sendRequest({ ...request, email: text(values, "email") }));
    }
    console.log(jsonLine(toSign(request, (await client.pool()).atom_id)));
    console.error(
      // This command talks to no pool, and takes neither --pool nor --state.
      `This is a write. Sign this line on the admin's machine with: ${LIGAND} admin-keys sign FILE\n` +
        `Then send it: ${hints.ligand("requests send --signed FILE")}`,
    );
    return EXIT.ok;
  },
};

function toSign(
  request: {
    peer: string;
    action_type: ActionName;
    action_params: Record<string, never>;
    request_id: string | undefined;
  },
  origin: string,
): UnsignedAdminRequest {
  const { peer: destination, action_type, action_params, request_id = `req_${crypto.randomUUID()}` } = request;
  return { v: 1, type: "admin_request", origin, destination, request_id, action_type, action_params };
}

/** The request in a file that `admin-keys sign` wrote. The pool verifies nothing of it; the peer does. */
function signedRequest(file: string, email: string | undefined) {
  const read = signedRequestFile.safeParse(parseJson(readFileSync(file === "-" ? 0 : file, "utf8")));
  if (!read.success) throw new OperatorError(`${printable(file)} is not a request that admin-keys sign wrote.`);
  const { request, signature } = read.data;
  const { destination: peer, request_id, action_type, action_params } = request;
  return { peer, request_id, action_type: actionOf(action_type), action_params, email, admin_signature: signature };
}

function sent(values: Values, hints: Hints, request: Awaited<ReturnType<AdminClient["sendRequest"]>>): number {
  const { status, error } = request;
  const words: Record<string, string> = {
    sending: "The peer has not answered yet. The pool keeps trying until the request expires.",
    pending: "The request waits for the peer's admin. The result will be here:",
    blocked: "The request has arrived. A slashing event is open there, so that it needs an override.",
    refused: `The peer refused the request: ${printable(error)}`,
  };
  const follow = hints.ligand(`requests show ${request.request_id}`);
  const text = `${formatRequest(request, hints)}\n${words[status] ?? ""}${status === "pending" ? ` ${follow}` : ""}`;
  print(values, request, text.trim());
  return status === "refused" ? EXIT.failed : EXIT.ok;
}

function actionOf(given: string): ActionName {
  if (Object.hasOwn(ACTIONS, given)) return given as ActionName;
  throw new UsageError(
    `There is no action "${printable(given)}". The actions are: ${Object.keys(ACTIONS).join(", ")}.`,
  );
}

function idOf(given: string | undefined): string | undefined {
  if (given === undefined || requestId.safeParse(given).success) return given;
  throw new FlagError("id", "has 1 to 64 letters, digits and . _ - and begins with a letter or digit.");
}

/** `NAME=VALUE`: a number, a list with commas, or text, as the action's schema wants it. */
function paramsOf(action: ActionName, given: readonly string[]): Record<string, unknown> {
  const shape: Readonly<Record<string, z.ZodType>> = ACTIONS[action].params.shape;
  const params = given.map((each): [string, unknown] => {
    const [, name = "", value = ""] = /^([a-z][a-z0-9_]*)=(.*)$/s.exec(each) ?? [];
    const schema = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (schema === undefined) {
      const names = Object.keys(shape).map((known) => `${known}=VALUE`);
      throw new UsageError(`"${printable(each)}" is no parameter of ${action}. It takes: ${names.join(", ")}.`);
    }
    const readings: unknown[] = [/^-?\d{1,15}$/.test(value) ? Number(value) : value, value, value.split(",")];
    const read = readings.find((reading) => schema.safeParse(reading).success);
    if (read === undefined) throw new UsageError(`"${printable(value)}" is not a value for ${name} of ${action}.`);
    return [name, read];
  });
  return Object.fromEntries(params);
}

async function peerOf(client: AdminClient, values: Values, hints: Hints): Promise<string | undefined> {
  const given = text(values, "peer");
  return given === undefined ? undefined : peerIdOf(given, await client.peers(), hints);
}

/** Finds the request by its id, or by the beginning of it. */
async function nameOf(
  client: AdminClient,
  given: string,
  values: Values,
  hints: Hints,
  direction?: RequestName["direction"],
): Promise<RequestName> {
  const peer = await peerOf(client, values, hints);
  const query = { ...(peer && { peer }), ...(direction && { direction: requestDirection.parse(direction) }) };
  const found: RequestName[] = [];
  for (let before: string | null = ""; before !== null; ) {
    const page = await client.requests({ ...query, ...(before && { before }) });
    const exact = page.requests.filter(({ request_id }) => request_id === given);
    found.push(...(exact.length > 0 ? exact : page.requests.filter(({ request_id }) => request_id.startsWith(given))));
    before = exact.length > 0 ? null : page.next;
  }
  const [first, ...others] = found;
  if (first === undefined) {
    throw new OperatorError(
      `There is no request ${printable(given)}. To list them: ${hints.ligand("requests list")}`,
      "federation/request-not-found",
    );
  }
  if (others.length > 0) {
    throw new OperatorError(`Several requests begin with ${printable(given)}. Give more of the id, or --peer ID.`);
  }
  return first;
}

/** Adds the command that overrides the slashing guard to the pool's refusal. */
function withOverride({ request_id }: RequestName, hints: Hints) {
  return (error: unknown): never => {
    if (!(error instanceof OperatorError) || error.code !== "federation/slashing-pending") throw error;
    const command = hints.ligand(`requests approve ${request_id} --override-reason TEXT`);
    throw new OperatorError(`${error.message} To approve it all the same: ${command}`, error.code);
  };
}

/** `ligand requests …`: what admins of pools ask each other. */
export const requests: Group = {
  summary: "Requests between admins of pools: list, show, approve, reject, send, erase.",
  commands: { list, show, approve, reject, send, erase },
  standard: "list",
};
