import { resolve } from "node:path";
import { LIMITS } from "../../schema/wire/limits.ts";
import { LIGAND } from "../../worker-agent/cli/shared/called-as.ts";
import { type Command, EXIT, flag, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { shellWord } from "../../worker-agent/cli/shared/shell-word.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import type { ClientKey, Workers } from "../runtime/admin-client.ts";
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

const LABEL_HELP = `--label TEXT  whom it is for, in ${LIMITS.labelChars} characters at most`;

const ID_HELP = ["ID            as it is listed, or how it begins: 6 characters or more", ...COMMON_HELP] as const;

const invite: Command = {
  summary: "Make a worker token. It is shown this once, and saved in a file here.",
  usage: "[--expires 30d] [--label TEXT] [--json]",
  help: [
    `--expires D   how long it may be used: 30d, 12h, 90s (default 30d, at most ${LIMITS.workerTokenMaxDays}d)`,
    LABEL_HELP,
    ...COMMON_HELP,
    "              with --json no file is written",
  ],
  options: { ...COMMON_OPTIONS, expires: { type: "string" }, label: { type: "string" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const expires_in_days = days("expires", text(values, "expires"), LIMITS.workerTokenMaxDays);
    const label = maxLength("label", text(values, "label"), LIMITS.labelChars);
    const { id, token, expires_at } = await admin(values).invite({ label, expires_in_days });
    if (flag(values, "json")) return print(values, { id, token, expires_at }, "");
    // First, for it is shown only now, whatever comes after.
    console.log(token);
    const file = saveToken(id, token);
    console.log(`\nWorker token ${id}, good until ${expires_at}, is also in ${file}, readable by you alone.`);
    console.log(startWords(publicUrl(values, poolUrl(values)), file));
    return EXIT.ok;
  },
};

/** In the folder where this was called; git ignores `*.token`. */
function saveToken(id: string, token: string): string {
  const file = `worker-${id}.token`;
  try {
    writePrivateFile(file, `${token}\n`);
    return file;
  } catch {
    throw new OperatorError(`That token cannot be saved in ${resolve(file)}. Save it in a file yourself, mode 0600.`);
  }
}

/** Pure: how whoever has the token in `file` serves the pool at `url`. */
export function startWords(url: string, file: string): string {
  const { protocol, hostname } = new URL(url);
  const local = isLoopback(hostname.replace(/^\[|\]$/g, ""));
  const insecure = protocol === "http:" && !local ? " --insecure" : "";
  return [
    "Whoever runs the worker needs that file, and starts it with:",
    `  ${LIGAND} worker start --pool ${shellWord(url)} --token-file ${file}${insecure}`,
    ...(local ? ["On another machine, put the URL by which it reaches this one in its place."] : []),
  ].join("\n");
}

const keysCreate: Command = {
  summary: "Make a client key. It is shown this once.",
  usage: "[--label TEXT] [--rpm N] [--streams N] [--json]",
  help: [LABEL_HELP, "--rpm N       requests a minute", "--streams N   streams at once", ...COMMON_HELP],
  options: { ...COMMON_OPTIONS, label: { type: "string" }, rpm: { type: "string" }, streams: { type: "string" } },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const { id, key } = await admin(values).createKey({
      label: maxLength("label", text(values, "label"), LIMITS.labelChars),
      requests_per_minute: integer("rpm", text(values, "rpm"), 1, LIMITS.keyMaxRequestsPerMinute),
      streams: integer("streams", text(values, "streams"), 1, LIMITS.keyMaxStreams),
    });
    return print(values, { id, key }, keyWords({ id, key }, publicUrl(values, poolUrl(values))));
  },
};

/** Pure: how the key is used at the pool that others reach at `url`. */
export function keyWords({ id, key }: { id: string; key: string }, url: string): string {
  return `${key}\n\nKey ${id}. Use it with any OpenAI client: base URL ${url}/v1, this as the API key.`;
}

const keysList: Command = {
  summary: "List client keys and what they used.",
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
  summary: "Revoke a client key at once.",
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
  summary: "Show connected workers and worker tokens.",
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
  summary: "Revoke a worker token: its worker is cut off at once and cannot return.",
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
    ["ID", "LABEL", "A MINUTE", "STREAMS", "REQUESTS", "TOKENS IN", "TOKENS OUT", "STATE"],
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
    `There are no client keys. Make one with: ${hints.ligand("pool keys create")}`,
  );
}

/** Pure: who is connected, and who may be. */
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
    `No worker is connected. Invite one with: ${hints.ligand("pool invite")}`,
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
  return connected ? "connected" : "away";
}

/** `ligand pool …`: what the operator does with a running pool. */
export const pool: Group = {
  summary: "Run a pool: name it, invite workers, give out client keys, see who is there.",
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
      summary: "Client keys: create, list, revoke.",
      commands: { create: keysCreate, list: keysList, revoke: keysRevoke },
    },
    workers: {
      summary: "Workers: list, revoke.",
      commands: { list: workersList, revoke: workersRevoke },
      standard: "list",
    },
  },
};
