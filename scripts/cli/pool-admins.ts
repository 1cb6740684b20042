import { resolve } from "node:path";
import type { AdminToken } from "../../schema/wire/admin-api.ts";
import { adminName, BOOTSTRAP_ADMIN } from "../../schema/wire/admin-api.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { credentialsFile } from "../runtime/credentials.ts";
import { DEFAULT_STATE_DIR } from "./access.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { idOf, notRecorded } from "./short-id.ts";

const NAME_RULE = `A name has at most ${LIMITS.labelChars} characters, begins with a letter or digit, contains only letters, digits, spaces and . _ @ + -, and is not "${BOOTSTRAP_ADMIN}".`;

const create: Command = {
  summary: "Create an admin token for a person or a program. It is printed once. This needs the bootstrap token.",
  usage: "NAME [--json]",
  help: ["NAME          the name in the record for everything done with this token", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [name = ""]) {
    if (!adminName.safeParse(name).success)
      throw new UsageError(`"${name}" is not a valid name for an admin token. ${NAME_RULE}`);
    const made = await admin(values).createAdmin(name);
    return print(values, made, formatToken(made));
  },
};

const list: Command = {
  summary: "List admin tokens.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const admins = await admin(values).admins();
    return print(values, { admins }, adminsTable(admins, hints));
  },
};

const revoke: Command = {
  summary: "Revoke an admin token and all tokens that replaced it. The next request with one of them is refused.",
  usage: "ID [--json]",
  help: ["ID            the id from the list, or its first 6 or more characters", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [id = ""]) {
    const client = admin(values);
    const revoked = await client.revokeAdmin(await idOf(id, "admin token", client.admins));
    return print(
      values,
      revoked,
      `Admin token ${revoked.id} was revoked at ${revoked.revoked_at}.${replacements(revoked)}${notRecorded(revoked)}`,
    );
  },
};

const rotate: Command = {
  summary: "Replace an admin token. The old one stops working immediately.",
  usage: "[ID] [--json]",
  help: [
    "ID            the named token to replace: your own, or any token if you use the bootstrap token. The new one is printed",
    "              once. Without ID: the bootstrap token of a pool on this machine, which must be stopped",
    ...COMMON_HELP,
  ],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 1 },
  async run(values, [id]) {
    if (id !== undefined) {
      const made = await admin(values).rotateAdmin(id);
      return print(values, made, formatToken(made));
    }
    if (text(values, "pool") !== undefined) {
      throw new UsageError(
        "Change the bootstrap token of a remote pool where it is configured. For a pool on Cloudflare:\n" +
          "  openssl rand -hex 24 | tee admin.token | npx wrangler secret put ADMIN_TOKEN",
      );
    }
    const stateDir = resolve(text(values, "state") ?? DEFAULT_STATE_DIR);
    const { rotateBootstrapToken } = await import("../runtime/admin-rotation.ts");
    await rotateBootstrapToken(stateDir);
    const credentials = credentialsFile(stateDir);
    return print(
      values,
      { rotated: "admin", credentials },
      `The new bootstrap admin token is in ${credentials}. The old one no longer works. Start the pool again.`,
    );
  },
};

function replacements({ id, revoked = [] }: { id: string; revoked?: string[] | undefined }): string {
  const others = revoked.filter((each) => each !== id);
  return others.length === 0 ? "" : ` The tokens that replaced it are revoked too: ${others.join(", ")}.`;
}

function formatToken(made: { id: string; name: string; token: string }): string {
  return `${made.token}\n\nAdmin token ${made.id} of ${printable(made.name)}. To use it, set LIGAND_ADMIN_TOKEN.`;
}

function adminsTable(admins: readonly AdminToken[], hints: Hints): string {
  return table(
    ["ID", "NAME", "CREATED BY", "CREATED", "STATE"],
    admins.map((each) => [
      each.id,
      printable(each.name),
      printable(each.created_by),
      each.created_at,
      each.revoked_at === null ? "valid" : `revoked ${each.revoked_at} by ${printable(each.revoked_by)}`,
    ]),
    `There are no named admin tokens. To create one: ${hints.ligand("pool admins create NAME")}`,
  );
}

/** `ligand pool admins …`: named admin tokens. */
export const admins: Group = {
  summary: "Manage admin tokens: create, list, revoke, rotate.",
  commands: { create, list, revoke, rotate },
};
