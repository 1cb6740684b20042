import { resolve } from "node:path";
import type { ClientKey, Workers } from "../../schema/wire/admin-api.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { LIGAND } from "../../worker-agent/cli/shared/called-as.ts";
import { type Command, EXIT, flag, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { shellWord } from "../../worker-agent/cli/shared/shell-word.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { isLoopback } from "../runtime/listen-address.ts";
import { writePrivateFile } from "../runtime/private-files.ts";
import { poolUrl, publicUrl } from "./access.ts";
import { days } from "./duration-flag.ts";
import { admins } from "./pool-admins.ts";
import { exportCommand, importCommand } from "./pool-backup.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { confirmClock } from "./pool-confirm-clock.ts";
import { doctor } from "./pool-doctor.ts";
import { nameCommand } from "./pool-name.ts";
import { newLog } from "./pool-new-log.ts";
import { poolStart } from "./pool-start.ts";
import { idOf, notRecorded } from "./short-id.ts";
import { maxLength } from "./text-flag.ts";

const LABEL_HELP = `--label TEXT  a name for your lists, at most ${LIMITS.labelChars} characters`;

const ID_HELP = ["ID            the id from the list, or its first 6 or more characters", ...COMMON_HELP] as const;

const invite: Command = {
  summary: "Create a worker token. It is printed once and saved in a file in the current folder.",
  usage: "[--expires 30d] [--label TEXT] [--json]",
  help: [
    `--expires D   how long the token is valid: 30d, 12h, 90s (default 30d, at most ${LIMITS.workerTokenMaxDays}d)`,
    LABEL_HELP,
    ...COMMON_HELP,
    "              (with --json, no file is written)",
  ],
  options: { ...COMMON_OPTIONS, expires: { type: "string" }, label: { type: "string" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const expires_in_days = days("expires", text(values, "expires"), LIMITS.workerTokenMaxDays);
    const label = maxLength("label", text(values, "label"), LIMITS.labelChars);
    const { id, token, expires_at } = await admin(values).invite({ label, expires_in_days });
    if (flag(values, "json")) return print(values, { id, token, expires_at }, "");
    // Print first: the token cannot be shown again, and saving it may fail.
    console.log(token);
    const file = saveToken(id, token);
    console.log(`\nWorker token ${id} is valid until ${expires_at}. It is also in ${file}, which only you can read.`);
    console.log(formatStart(publicUrl(values, poolUrl(values)), file));
    return EXIT.ok;
  },
};

/** Saves the token in the current folder. git ignores `*.token`. */
function saveToken(id: string, token: string): string {
  const file = `worker-${id}.token`;
  try {
    writePrivateFile(file, `${token}\n`);
    return file;
  } catch {
    throw new OperatorError(`Cannot save the token in ${resolve(file)}. Save it yourself, in a file of mode 0600.`);
  }
}

/** How to start a worker with the token in `file`. */
export function formatStart(url: string, file: string): string {
  const { protocol, hostname } = new URL(url);
  const local = isLoopback(hostname.replace(/^\[|\]$/g, ""));
  const insecure = protocol === "http:" && !local ? " --insecure" : "";
  return [
    "Give that file to the owner of the worker, who starts it with:",
    `  ${LIGAND} worker start --pool ${shellWord(url)} --token-file ${file}${insecure}`,
    ...(local
      ? [
          "This URL works only on this machine. On another machine, use the URL at which that machine reaches this pool.",
        ]
      : []),
  ].join("\n");
}

const keysCreate: Command = {
  summary: "Create a client key. It is printed once.",
  usage: "[--label TEXT] [--rpm N] [--streams N] [--json]",
  help: [LABEL_HELP, "--rpm N       requests per minute", "--streams N   concurrent streams", ...COMMON_HELP],
  options: { ...COMMON_OPTIONS, label: { type: "string" }, rpm: { type: "string" }, streams: { type: "string" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const { id, key } = await admin(values).createKey({
      label: maxLength("label", text(values, "label"), LIMITS.labelChars),
      requests_per_minute: integer("rpm", text(values, "rpm"), 1, LIMITS.keyMaxRequestsPerMinute),
      streams: integer("streams", text(values, "streams"), 1, LIMITS.keyMaxStreams),
    });
    return print(values, { id, key }, formatKey({ id, key }, publicUrl(values, poolUrl(values))));
  },
};

/** How to use the key. @param url the pool's URL for clients */
export function formatKey({ id, key }: { id: string; key: string }, url: string): string {
  return `${key}\n\nClient key ${id}. Use it as the API key of any OpenAI client, with the base URL ${url}/v1.`;
}

const keysList: Command = {
  summary: "List client keys and their usage.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const keys = await admin(values).keys();
    return print(values, { keys }, keysTable(keys, hints));
  },
};

const keysRevoke: Command = {
  summary: "Revoke a client key immediately.",
  usage: "ID [--json]",
  help: ID_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [id = ""]) {
    const client = admin(values);
    const revoked = await client.revokeKey(await idOf(id, "client key", client.keys));
    return print(values, revoked, `Key ${revoked.id} was revoked at ${revoked.revoked_at}.${notRecorded(revoked)}`);
  },
};

const workersList: Command = {
  summary: "List connected workers and worker tokens.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const workers = await admin(values).workers();
    return print(values, workers, workersTables(workers, Date.now(), hints));
  },
};

const workersRevoke: Command = {
  summary: "Revoke a worker token. Its worker is disconnected immediately and cannot return.",
  usage: "ID [--json]",
  help: ID_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [id = ""]) {
    const client = admin(values);
    const revoked = await client.revokeToken(
      await idOf(id, "worker token", async () => (await client.workers()).tokens),
    );
    return print(
      values,
      revoked,
      `Worker token ${revoked.id} was revoked at ${revoked.revoked_at}.${notRecorded(revoked)}`,
    );
  },
};

function keysTable(keys: readonly ClientKey[], hints: Hints): string {
  return table(
    ["ID", "LABEL", "PER MINUTE", "STREAMS", "REQUESTS", "TOKENS IN", "TOKENS OUT", "STATE"],
    keys.map((key) => [
      key.id,
      printable(key.label),
      String(key.requests_per_minute),
      String(key.streams),
      String(key.requests),
      String(key.prompt_tokens),
      String(key.completion_tokens),
      key.revoked_at === null ? "valid" : `revoked ${key.revoked_at}`,
    ]),
    `There are no client keys. To create one: ${hints.ligand("pool keys create")}`,
  );
}

/** The connected workers and the worker tokens, as tables. */
export function workersTables({ tokens, workers }: Workers, nowMs: number, hints: Hints): string {
  const connected = table(
    ["WORKER", "TOKEN", "MODELS (FREE/SLOTS)", "AGENT", "SINCE"],
    workers.map((worker) => [
      worker.worker_id.slice(0, 16),
      worker.token_id,
      worker.models.map((model) => `${printable(model.name)} ${model.free}/${model.slots}`).join(", "),
      printable(worker.agent_version),
      worker.connected_at,
    ]),
    `No worker is connected. To invite one: ${hints.ligand("pool invite")}`,
  );
  const invited = table(
    ["TOKEN", "LABEL", "WORKER", "EXPIRES", "STATE"],
    tokens.map((token) => [
      token.id,
      printable(token.label),
      token.worker_id?.slice(0, 16) ?? "not used yet",
      token.expires_at,
      tokenState(token, nowMs),
    ]),
    "There are no worker tokens.",
  );
  return `${connected}\n\n${invited}`;
}

function tokenState({ revoked_at, expires_at, connected }: Workers["tokens"][number], nowMs: number): string {
  if (revoked_at !== null) return `revoked ${revoked_at}`;
  if (Date.parse(expires_at) <= nowMs) return "expired";
  return connected ? "connected" : "disconnected";
}

/** `ligand pool …`: the commands of a pool's operator. */
export const pool: Group = {
  summary: "Operate a pool: name it, invite workers, create client keys, check its health.",
  commands: {
    start: poolStart,
    invite,
    admins,
    doctor,
    export: exportCommand,
    import: importCommand,
    "new-log": newLog,
    "confirm-clock": confirmClock,
    name: nameCommand,
    keys: {
      summary: "Manage client keys: create, list, revoke.",
      commands: { create: keysCreate, list: keysList, revoke: keysRevoke },
    },
    workers: {
      summary: "Manage workers: list, revoke.",
      commands: { list: workersList, revoke: workersRevoke },
      standard: "list",
    },
  },
};
