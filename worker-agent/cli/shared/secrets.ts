import { secretProblem } from "../../secret-text.ts";
import { UsageError } from "./usage-error.ts";

/**
 * All secrets. A secret comes from a variable or from its own file, never from a flag or ligand.toml: other users see command
 * lines, and ligand.toml is copied, shown and kept in repositories.
 */
export const SECRETS = {
  "admin-token": {
    variable: "LIGAND_ADMIN_TOKEN",
    or: "--state DIR of a pool on this machine",
  },
  key: { variable: "LIGAND_KEY", or: "--state DIR of a pool on this machine" },
  "worker-token": { variable: "LIGAND_WORKER_TOKEN", or: "token-file under [worker], which names a file of mode 0600" },
  "upstream-key": { variable: "LIGAND_UPSTREAM_KEY", or: "worker.env beside ligand.toml for an installed worker" },
  passphrase: { variable: "LIGAND_PASSPHRASE", or: "enter it in a terminal" },
  "webhook-secret": { variable: "LIGAND_WEBHOOK_SECRET", or: "--secret-file FILE of webhook set" },
  "pool-secret-key": { variable: "LIGAND_POOL_SECRET_KEY", or: null },
} as const;
export type SecretName = keyof typeof SECRETS;

type Environment = Readonly<Record<string, string | undefined>>;

/** The secret from its variable, checked; undefined if the variable is not set. */
export function secretOf(name: SecretName, env: Environment): string | undefined {
  const { variable } = SECRETS[name];
  const given = env[variable];
  return given === undefined ? undefined : checkedSecret(given, variable) || undefined;
}

/**
 * The secret without surrounding white space. A secret that cannot be sent is refused here, because here its source is known.
 * The message names the source and never the secret.
 */
export function checkedSecret(given: string, where: string): string {
  const secret = given.trim();
  const problem = secretProblem(secret);
  if (problem === null) return secret;
  throw new UsageError(`${where} ${problem}, so it is not a secret of Ligand. Set it again, as a single line.`);
}

/** Replaces all secrets of this environment in the text. */
export function withoutSecrets(text: string, env: Environment): string {
  const values = [...Object.values(SECRETS).map(({ variable }) => env[variable]), env.HF_TOKEN];
  const secrets = values.flatMap((value) => (value?.trim() ? [value, value.trim()] : []));
  return secrets.reduce((cleaned, secret) => cleaned.replaceAll(secret, "…"), text);
}
