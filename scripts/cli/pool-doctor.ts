import { existsSync, statfsSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import { signerFrom } from "../../schema/crypto/ed25519.ts";
import { type Command, EXIT, flag, type Values } from "../../worker-agent/cli/shared/command.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import type { AdminClient } from "../runtime/admin-client.ts";
import { credentialsFile } from "../runtime/credentials.ts";
import { readMigrations } from "../runtime/migrations.ts";
import { readSecrets, secretsFile } from "../runtime/pool-secrets.ts";
import { localState, poolUrl, publicUrl } from "./access.ts";
import { type Check, type Clock, diagnose, type Findings, type Folder } from "./diagnosis.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { seenCertificate } from "./seen-certificate.ts";

const MIGRATIONS = fileURLToPath(new URL("../../schema/db/migrations", import.meta.url));

/** `ligand pool doctor` */
export const doctor: Command = {
  summary: "Check a pool's health: clock, D1, migrations, lanes, secrets, TLS, disk. Exit code 1 if a check fails.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const local = localState(values);
    const url = poolUrl(values);
    const shownUrl = publicUrl(values, url);
    const isHere = local?.credentials.url === url;
    const pool = await readFindings(values);
    const found: Findings = {
      url: shownUrl,
      pool,
      shipped: readMigrations(MIGRATIONS).map(({ name }) => name),
      folder: isHere ? await inspectFolder(local.stateDir) : null,
      certificate: shownUrl.startsWith("https:") ? await seenCertificate(new URL(shownUrl), isHere) : null,
      nowMs: Date.now(),
    };
    const checks = diagnose(found, hints);
    const healthy = checks.every(({ state }) => state !== "fail");
    const lanes = pool.ok ? pool.findings.lanes : [];
    print(values, { ok: healthy, checks, lanes }, flag(values, "json") ? "" : report(checks));
    return healthy ? EXIT.ok : EXIT.failed;
  },
};

async function readFindings(values: Values): Promise<Findings["pool"]> {
  try {
    const client = admin(values);
    const first = await exchange(client);
    const second = await exchange(client);
    const passedMs = second.steadyMs - first.steadyMs;
    const clock: Clock = {
      aheadMs: second.aheadMs,
      uncertaintyMs: second.uncertaintyMs,
      poolDriftMs: second.findings.now_ms - first.findings.now_ms - passedMs,
      localDriftMs: second.wallMs - first.wallMs - passedMs,
    };
    return { ok: true, findings: second.findings, clock };
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return { ok: false, message: error.message };
  }
}

/** Reads the findings once. The clocks are those at the middle of the exchange. */
async function exchange(client: AdminClient) {
  const [wallStartMs, steadyStartMs] = [Date.now(), performance.now()];
  const findings = await client.doctor();
  const tookMs = performance.now() - steadyStartMs;
  const wallMs = wallStartMs + tookMs / 2;
  return {
    findings,
    wallMs,
    steadyMs: steadyStartMs + tookMs / 2,
    aheadMs: findings.now_ms - wallMs,
    uncertaintyMs: tookMs / 2,
  };
}

async function inspectFolder(path: string): Promise<Folder> {
  const mode = (file: string) => statSync(file, { throwIfNoEntry: false })?.mode ?? null;
  const { bavail, blocks, bsize } = statfsSync(path);
  return {
    path,
    folderMode: statSync(path).mode,
    secretsMode: mode(secretsFile(path)),
    credentialsMode: mode(credentialsFile(path)),
    atomId: existsSync(secretsFile(path)) ? await atomIdIn(path) : null,
    freeBytes: bavail * bsize,
    totalBytes: blocks * bsize,
  };
}

async function atomIdIn(stateDir: string): Promise<string | null> {
  try {
    const key = fromBase64(readSecrets(stateDir)?.pool_secret_key ?? "");
    return key && (await signerFrom(key)).id;
  } catch {
    return null;
  }
}

function report(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, state, found, todo }) => [
    `${state.padEnd(4)}  ${name.padEnd(width)}  ${printable(found)}`,
    ...(todo === null ? [] : [`${" ".repeat(width + 8)}→ ${printable(todo)}`]),
  ]);
  const count = (state: Check["state"]) => checks.filter((check) => check.state === state).length;
  return `${lines.join("\n")}\n\n${count("ok")} ok, ${count("warn")} warnings, ${count("fail")} failed`;
}
