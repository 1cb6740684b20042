import { webhookKey } from "../../schema/crypto/webhook-signature.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { normalisedWebhookUrl, type WebhookStatus, type WebhookTry } from "../../schema/wire/webhook.ts";
import { type Command, type Group, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { readSecretFile } from "../../worker-agent/cli/shared/secret-file.ts";
import { SECRETS, secretOf } from "../../worker-agent/cli/shared/secrets.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

const { variable: VARIABLE } = SECRETS["webhook-secret"];
const NO_ARGUMENTS = { options: COMMON_OPTIONS, positionals: { min: 0, max: 0 }, help: COMMON_HELP } as const;

const set: Command = {
  summary:
    "Set the URL that hears when something waits for you. Without a secret the pool makes one and it is printed once.",
  usage: "URL [--secret-file FILE] [--json]",
  help: [
    "URL                 an https URL at a public address; others need the switch allow_private_webhook",
    "--secret-file FILE  the file with your own secret: whsec_ and the base64 of 24 to 64 random bytes",
    `                    (default: the variable ${VARIABLE})`,
    ...COMMON_HELP,
  ],
  options: { ...COMMON_OPTIONS, "secret-file": { type: "string" } },
  positionals: { min: 1, max: 1 },
  async run(values, [given = ""], hints) {
    const url = normalisedWebhookUrl(given);
    if (url === null) {
      throw new UsageError(
        `${printable(given)} is not a URL for a webhook. It must begin with https://, contain no user name, password or fragment (#), and have at most ${LIMITS.webhookUrlChars} characters.`,
      );
    }
    const done = await admin(values).setWebhook(url, secretFrom(values));
    return print(values, done, formatSet(done, hints));
  },
};

const show: Command = {
  summary: "Show the webhook's URL, how many messages wait, and the last try. The secret is never shown.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values, _, hints) {
    const found = await admin(values).webhook();
    return print(values, found, formatStatus(found, hints));
  },
};

const test: Command = {
  summary: "Send a message to the webhook now, and show what it answered.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values) {
    const tested = await admin(values).testWebhook();
    return print(values, tested, `The webhook took message ${tested.message_id}: it answered ${tested.status}.`);
  },
};

const remove: Command = {
  summary: "Remove the webhook. Messages that wait are dropped.",
  usage: "[--json]",
  ...NO_ARGUMENTS,
  async run(values) {
    return print(
      values,
      await admin(values).removeWebhook(),
      "The webhook is removed. Messages that waited were dropped.",
    );
  },
};

/** The operator's own secret; undefined if none is given. The error names the place and never the secret. */
function secretFrom(values: Values): string | undefined {
  const file = text(values, "secret-file");
  const secret =
    file === undefined
      ? secretOf("webhook-secret", process.env)
      : readSecretFile(file, "secret", `Make one: echo "whsec_$(openssl rand -base64 32)"`);
  if (secret === undefined || webhookKey(secret) !== null) return secret;
  throw new UsageError(
    `${file === undefined ? VARIABLE : `The secret in ${file}`} must be whsec_ and the base64 of 24 to 64 bytes. To make one: echo "whsec_$(openssl rand -base64 32)"`,
  );
}

function formatSet({ url, secret }: { url: string; secret?: string | undefined }, hints: Hints): string {
  const next = `The webhook is ${url}. To test it: ${hints.ligand("webhook test")}`;
  return secret === undefined ? next : `${secret}\n\nThis secret is not shown again. Give it to the receiver. ${next}`;
}

function formatStatus({ webhook }: WebhookStatus, hints: Hints): string {
  if (webhook === null) return `This pool has no webhook. To set one: ${hints.ligand("webhook set URL")}`;
  const rows: [label: string, value: string][] = [
    ["URL", webhook.url],
    ["Set", `${webhook.set_at} by ${printable(webhook.set_by)}`],
    ["Waiting", pluralize(webhook.waiting, "message")],
    ["Last try", webhook.last === null ? "none" : formatTry(webhook.last)],
  ];
  return rows.map(([label, value]) => `${label.padEnd(8)}  ${value}`).join("\n");
}

function formatTry({ at, delivered, status, failure }: WebhookTry): string {
  const outcome = status === null ? `no answer (${printable(failure)})` : `the webhook answered ${status}`;
  return `${at}: ${outcome}, ${delivered ? "delivered" : "not delivered"}`;
}

/** `ligand webhook …`: where the operator hears that something waits. */
export const webhook: Group = {
  summary: "Manage the webhook, which tells you that something waits for your decision: set, show, test, remove.",
  commands: { set, show, test, remove },
  standard: "show",
};
