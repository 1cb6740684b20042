import { existsSync } from "node:fs";
import { join } from "node:path";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { credentialsFile, readCredentials } from "./credentials.ts";
import { newAdminToken, readSecrets, saveSecrets, secretsFile } from "./pool-secrets.ts";
import { writePrivateFile } from "./private-files.ts";
import { lockState } from "./state-lock.ts";
import { endOrphan, WORKERD_RECORD } from "./workerd-record.ts";

/**
 * Replaces the bootstrap admin token of a pool on this machine. The pool must be stopped, so that the two tokens never
 * work at the same time.
 */
export async function rotateBootstrapToken(stateDir: string): Promise<void> {
  if (!existsSync(secretsFile(stateDir))) {
    throw new OperatorError(
      `There is no pool in ${stateDir}. For a pool on Cloudflare: openssl rand -hex 24 | tee admin.token | npx wrangler secret put ADMIN_TOKEN`,
    );
  }
  const lock = await lockState(stateDir);
  try {
    await endOrphan(join(stateDir, WORKERD_RECORD));
    const secrets = readSecrets(stateDir);
    if (secrets === undefined)
      throw new OperatorError(`${secretsFile(stateDir)} is missing. Restore it from a backup.`);
    const admin_token = newAdminToken();
    saveSecrets(stateDir, { ...secrets, admin_token });
    const credentials = readCredentials(stateDir);
    if (credentials === undefined) return;
    writePrivateFile(credentialsFile(stateDir), `${JSON.stringify({ ...credentials, admin_token }, null, 2)}\n`);
  } finally {
    lock.release();
  }
}
