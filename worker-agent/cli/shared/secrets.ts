import { secretProblem } from "../../secret-text.ts";
import { UsageError } from "./usage-error.ts";

/**
 * What opens something. It comes from a variable or from a file of its own: a command line is seen by others on the
 * machine, and ligand.toml is copied, shown and kept in repositories.
 */
export const SECRETS = {
  "admin-token": {
    variable: "LIGAND_ADMIN_TOKEN",
    or: "--state DIR of a pool on this machine, whose credentials.json has it",
  },
  key: { variable: "LIGAND_KEY", or: "--state DIR of a pool on this machine, whose credentials.json has one" },
  "worker-token": { variable: "LIGAND_WORKER_TOKEN", or: "token-file under [worker], the path of a file of mode 0600" },
  "upstream-key": { variable: "LIGAND_UPSTREAM_KEY", or: "for a service worker.env beside ligand.toml" },
  passphrase: { variable: "LIGAND_PASSPHRASE", or: "being asked for it in a terminal" },
  "pool-secret-key": { variable: "LIGAND_POOL_SECRET_KEY", or: "nothing else" },
} as const;
export type SecretName = keyof typeof SECRETS;

type Environment = Readonly<Record<string, string | undefined>>;

/** Pure: the secret of that name, checked; undefined where none is set. */
export function secretOf(name: SecretName, env: Environment): string | undefined {
  const { variable } = SECRETS[name];
  const given = env[variable];
  return given === undefined ? undefined : checkedSecret(given, variable) || undefined;
}

/**
 * Pure: the secret without the line's end that a file brings along. One that cannot be sent is refused here, where the
 * variable or file is known: the message names that, and never the secret.
 */
export function checkedSecret(given: string, where: string): string {
  const secret = given.trim();
  const problem = secretProblem(secret);
  if (problem === null) return secret;
  throw new UsageError(
    `${where} ${problem}, which no secret of Ligand does. Set it anew, as one line and nothing else.`,
  );
}

/** Pure: the text with no secret of this environment in it. */
export function withoutSecrets(text: string, env: Environment): string {
  const values = [...Object.values(SECRETS).map(({ variable }) => env[variable]), env.HF_TOKEN];
  const secrets = values.flatMap((value) => (value?.trim() ? [value, value.trim()] : []));
  return secrets.reduce((words, secret) => words.replaceAll(secret, "…"), text);
}
