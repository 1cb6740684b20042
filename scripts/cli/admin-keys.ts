import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { signAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { toHex } from "../../schema/crypto/bytes.ts";
import { type UnsignedAdminRequest, unsignedAdminRequest } from "../../schema/wire/admin-requests.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, EXIT, flag, type Group, text } from "../../worker-agent/cli/shared/command.ts";
import { decimal } from "../../worker-agent/cli/shared/number-flags.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { readIfPresent } from "../../worker-agent/cli/shared/read-if-present.ts";
import { shellWord } from "../../worker-agent/cli/shared/shell-word.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { jsonLine } from "../../worker-agent/terminal-text.ts";
import { createAdminKey, openAdminKey, publicKeyIn, standardKeyFile } from "../runtime/admin-key-file.ts";
import { confirm } from "./confirm.ts";
import { adminKeysTable, formatOwner, formatToSign } from "./format-admin-key.ts";
import { peerIdOf } from "./format-peer.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { completeId } from "./short-id.ts";
import { maxLength } from "./text-flag.ts";

const HOUR_MS = 3_600_000;
const LONGEST_HOURS = LIMITS.adminSignatureMs / HOUR_MS;
const STANDARD_HOURS = 24;

const make: Command = {
  summary: "Make an admin's key pair on this machine. The secret key stays in the file; no pool is called.",
  usage: "[--file PATH] [--label TEXT] [--json]",
  help: [
    "--file PATH   where the key goes (default: admin.key in Ligand's XDG config folder). An existing file is not replaced",
    "--label TEXT  a note for those who register the key, such as your name",
    "--json        print one JSON value",
  ],
  options: { file: { type: "string" }, label: { type: "string" }, json: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const file = resolve(text(values, "file") ?? standardKeyFile());
    const label = maxLength("label", text(values, "label"), LIMITS.adminKeyLabelChars);
    const { id: key_id, publicKey } = await createAdminKey(file);
    const public_key = toHex(publicKey);
    const noted = label === undefined ? "" : ` --label ${shellWord(label)}`;
    const next =
      "The admin of each pool that you want to send write requests to registers the public key:\n" +
      `  ${hints.ligand(`admin-keys add ${public_key} --peer ID${noted}`)}   ID is the atom id of your pool`;
    return print(
      values,
      { key_id, public_key, file, ...(label !== undefined && { label }) },
      `Key id      ${key_id}\nPublic key  ${public_key}\nSecret key  in ${file}; nobody else may read it\n\n${next}`,
    );
  },
};

const add: Command = {
  summary: "Register the public key of an admin. Get it from the person, not through the other pool.",
  usage: "KEY [--peer ID] [--label TEXT] [--json]",
  help: [
    "KEY           the public key, 64 hex digits, as `admin-keys new` prints it; or a file with it, or your own key file",
    "--peer ID     the peer whose admin has the key: its atom id, or its first 6 or more hex digits",
    "              (default: an admin of this pool)",
    `--label TEXT  a note, such as the person's name (at most ${LIMITS.adminKeyLabelChars} characters)`,
    ...COMMON_HELP,
  ],
  options: { ...COMMON_OPTIONS, peer: { type: "string" }, label: { type: "string" } },
  positionals: { min: 1, max: 1 },
  async run(values, [given = ""], hints) {
    const label = maxLength("label", text(values, "label"), LIMITS.adminKeyLabelChars);
    const public_key = await publicKeyOf(given);
    const client = admin(values);
    const peers = await client.peers();
    const peerText = text(values, "peer");
    const peer = peerText === undefined ? undefined : peerIdOf(peerText, peers, hints);
    const added = await client.addAdminKey({ public_key, peer, label });
    const what = added.is_new ? "Registered" : "Was registered already:";
    const next = `To let peers send write requests: ${hints.ligand("policy set accept_writes=on")}`;
    return print(values, added, `${what} admin key ${added.key_id} of ${formatOwner(added.peer, peers)}. ${next}`);
  },
};

const list: Command = {
  summary: "List the registered admin keys.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const client = admin(values);
    const [keys, peers] = await Promise.all([client.adminKeys(), client.peers()]);
    return print(values, { keys }, adminKeysTable(keys, peers, hints));
  },
};

const remove: Command = {
  summary:
    "Remove an admin key. Requests that it signed are not accepted any more. The last key turns accept_writes off.",
  usage: "ID [--json]",
  help: ["ID            the id from the list, or its first 6 or more characters", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: 1 },
  async run(values, [given = ""]) {
    const client = admin(values);
    const keys = (await client.adminKeys()).map(({ key_id }) => ({ id: key_id }));
    const removed = await client.removeAdminKey(completeId(given, "admin key", keys));
    const off = removed.turned_writes_off ? " It was the last one: accept_writes is off now." : "";
    return print(values, removed, `Removed admin key ${removed.key.key_id}.${off}`);
  },
};

const sign: Command = {
  summary: "Sign a write request on this machine. No pool is called, and the secret key stays here.",
  usage: "[FILE|-] [--key PATH] [--expires-in HOURS] [--yes] [--json]",
  help: [
    "FILE          what `requests send` printed (default: standard input)",
    "--key PATH    your key (default: admin.key in Ligand's XDG config folder)",
    `--expires-in HOURS  how long the signature is good (default: ${STANDARD_HOURS}, at most ${LONGEST_HOURS})`,
    "--yes         do not ask",
    "--json        the same output, and errors as JSON",
    "",
    "The signed request goes to standard output, for `requests send --signed FILE`. What it says goes to standard error.",
  ],
  options: {
    key: { type: "string" },
    "expires-in": { type: "string" },
    yes: { type: "boolean" },
    json: { type: "boolean" },
  },
  positionals: { min: 0, max: 1 },
  async run(values, [file = "-"]) {
    const hours = decimal("expires-in", text(values, "expires-in"), 0.1, LONGEST_HOURS) ?? STANDARD_HOURS;
    const request = readRequest(file);
    const signer = await openAdminKey(resolve(text(values, "key") ?? standardKeyFile()));
    const nowMs = Date.now();
    const expiresAt = Math.floor((nowMs + hours * HOUR_MS) / 1_000);
    console.error(formatToSign(request, signer.id, expiresAt * 1_000, nowMs));
    if (!flag(values, "yes")) {
      if (file === "-") throw new UsageError("To be asked, give the request as a file. To sign it unasked, add --yes.");
      await confirm("Sign it?", "Nothing was signed. To sign it, answer y.");
    }
    const { v: _, type: __, ...contents } = request;
    const signature = await signAdminRequest(signer, contents, expiresAt);
    console.log(jsonLine({ request, signature }));
    return EXIT.ok;
  },
};

async function publicKeyOf(given: string): Promise<string> {
  if (/^[0-9a-fA-F]{64}$/.test(given)) return given.toLowerCase();
  const file = resolve(given);
  if (readIfPresent(file) === undefined) {
    throw new UsageError(`"${printable(given)}" is not a public key of 64 hex digits, and there is no such file.`);
  }
  const found = await publicKeyIn(file);
  if (found === null) throw new OperatorError(`${file} does not contain a public key.`);
  return toHex(found);
}

function readRequest(file: string): UnsignedAdminRequest {
  const given = file === "-" ? readFileSync(0, "utf8") : readIfPresent(resolve(file));
  if (given === undefined) throw new OperatorError(`There is no file ${resolve(file)}.`);
  const read = unsignedAdminRequest.safeParse(parseJson(given));
  if (read.success) return read.data;
  throw new OperatorError(
    `${file === "-" ? "Standard input" : file} is not a request that can be signed. Give the line that requests send printed.`,
  );
}

/** `ligand admin-keys …`: the keys that sign write requests. */
export const adminKeys: Group = {
  summary: "Keys of admins, which sign write requests: new, sign (offline); add, list, remove (at the pool).",
  commands: { new: make, sign, add, list, remove },
  standard: "list",
};
