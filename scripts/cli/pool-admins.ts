import { resolve } from "node:path";
import { adminName, BOOTSTRAP_ADMIN } from "../../schema/wire/admin-api.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import type { AdminToken } from "../runtime/admin-client.ts";
import { credentialsFile } from "../runtime/credentials.ts";
import { DEFAULT_STATE_DIR } from "./access.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { idOf, notRecorded } from "./short-id.ts";

const NAME_RULE = `It has ${LIMITS.labelChars} characters at most, begins with a letter or a digit, goes on with those, spaces and . _ @ + -, and is not "${BOOTSTRAP_ADMIN}".`;

const create: Command = {
  summary: "Make an admin token for a person or a program. It is shown this once. Only the bootstrap token makes one.",
  usage: "NAME [--json]",
  help: ["NAME          what the record says of whoever uses it", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [name = ""]) {
    if (!adminName.safeParse(name).success)
      throw new UsageError(`"${name}" is no name for an admin token. ${NAME_RULE}`);
    const made = await admin(values).createAdmin(name);
    return print(values, made, shown(made));
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
  summary: "Revoke an admin token and every token that replaced it: they are refused from the next request on.",
  usage: "ID [--json]",
  help: ["ID            as it is listed, or how it begins: 6 characters or more", ...COMMON_HELP],
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
  summary: "Put a new admin token in the place of an old one, which is refused at once.",
  usage: "[ID] [--json]",
  help: [
    "ID            the named token to rotate: your own, or any with the bootstrap token; the new one is shown this once",
    "              without it, the bootstrap token of a pool on this machine, which must be stopped",
    ...COMMON_HELP,
  ],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 1 },
  async run(values, [id]) {
    if (id !== undefined) {
      const made = await admin(values).rotateAdmin(id);
      return print(values, made, shown(made));
    }
    if (text(values, "pool") !== undefined) {
      throw new UsageError(
        "The bootstrap token of a pool elsewhere is changed where it is set; for one on Cloudflare:\n" +
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
      `The bootstrap admin token is a new one, in ${credentials}. The old one opens nothing any more. Start the pool again.`,
    );
  },
};

function replacements({ id, revoked = [] }: { id: string; revoked?: string[] | undefined }): string {
  const others = revoked.filter((each) => each !== id);
  return others.length === 0 ? "" : ` It had been rotated: what replaced it is revoked too, ${others.join(", ")}.`;
}

function shown(made: { id: string; name: string; token: string }): string {
  return `${made.token}\n\nAdmin token ${made.id} of ${printable(made.name)}. It is used through LIGAND_ADMIN_TOKEN.`;
}

function adminsTable(admins: readonly AdminToken[], hints: Hints): string {
  return table(
    ["ID", "NAME", "MADE BY", "SINCE", "STATE"],
    admins.map((each) => [
      each.id,
      printable(each.name),
      printable(each.created_by),
      each.created_at,
      each.revoked_at === null ? "valid" : `revoked ${each.revoked_at} by ${printable(each.revoked_by)}`,
    ]),
    `There are no named admin tokens. Make one with: ${hints.ligand("pool admins create NAME")}`,
  );
}

/** `ligand pool admins …`: who may administer the pool, by name. */
export const admins: Group = {
  summary: "Admin tokens: create, list, revoke, rotate.",
  commands: { create, list, revoke, rotate },
};
