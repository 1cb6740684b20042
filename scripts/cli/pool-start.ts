import { relative, resolve } from "node:path";
import { normalisedPeerUrl } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Command, EXIT, flag, text, texts } from "../../worker-agent/cli/shared/command.ts";
import { integer } from "../../worker-agent/cli/shared/number-flags.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { flagsOf } from "../../worker-agent/cli/shared/settings.ts";
import { stopOnSignal } from "../../worker-agent/cli/shared/stop-signal.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { oneLine } from "../../worker-agent/terminal-text.ts";
import { keepCompiledCode } from "../runtime/cache-folder.ts";
import { credentialsFile } from "../runtime/credentials.ts";
import { isLoopback, leadsToLoopback } from "../runtime/listen-address.ts";
import type { LocalNetwork } from "../runtime/local-network.ts";
import type { TlsFiles } from "../runtime/tls-certificate.ts";
import { DEFAULT_STATE_DIR } from "./access.ts";
import { maxLength } from "./text-flag.ts";

/** `npm start` and `ligand pool start`: run a pool and a worker on this machine until Ctrl-C. */
export const poolStart: Command = {
  summary: "Run a pool and a worker on this machine until Ctrl-C.",
  usage:
    "[--port N] [--state DIR] [--model M] [--no-worker] [--host ADDR] [--cert FILE --key FILE] [--insecure] [--public-url URL] [--allow-host NAME]… [--cors-origins O]… [--status-hold SECONDS] [--embedding-model M] [--json]",
  help: [
    "--port N           the port to listen on (default 8787; 0 picks a free port)",
    "--state DIR        the folder for all data of the pool (default: ./state)",
    "--model M          the worker's model: embedded (default), the path of a GGUF file, or hf:OWNER/REPO:QUANT",
    "--no-worker        start only the pool",
    "--host ADDR        the address to listen on (default 127.0.0.1)",
    "--insecure         allow --host to be another address than loopback without TLS",
    "--cert FILE        serve HTTPS with this certificate and its chain (PEM); SIGHUP reloads it",
    "--key FILE         the certificate's private key (PEM)",
    "--public-url URL   the URL at which clients, workers and peers reach the pool, for example through a proxy",
    "--allow-host NAME  another host name that the pool answers to; may be repeated",
    "--cors-origins O   an origin whose pages may call the client API, such as https://app.example, or *; may be repeated",
    "--status-hold S    how long a non-streamed response holds its status line back (5 to 90 seconds, default 75), so that a",
    "                   late failure still has an error status",
    "--embedding-model M  the model that `auto` means for embeddings (default: the first served one by name)",
    "--json             print one JSON line when the pool is ready",
  ],
  options: {
    ...flagsOf("any", ["state", "public-url", "cors-origins"]),
    ...flagsOf("start"),
    json: { type: "boolean" },
  },
  positionals: { min: 0, max: 0 },
  async run(values) {
    const port = integer("port", text(values, "port"), 0, 65_535) ?? 8787;
    const host = text(values, "host");
    const model = text(values, "model");
    const stateDir = resolve(text(values, "state") ?? DEFAULT_STATE_DIR);
    const tls = tlsFiles(text(values, "cert"), text(values, "key"));
    const publicUrl = publicUrlOf(text(values, "public-url"));
    const statusHoldSeconds = integer(
      "status-hold",
      text(values, "status-hold"),
      LIMITS.statusHoldMinSeconds,
      LIMITS.statusHoldMaxSeconds,
    );
    const embeddingModel = maxLength("embedding-model", text(values, "embedding-model"), LIMITS.modelNameChars);
    let reload = () => {};
    const stop = stopOnSignal(tls && (() => reload()));
    stop.requested.then(() => console.error("Stopping … (Ctrl-C again stops immediately)"));
    let network: LocalNetwork;
    try {
      // Imported only here, so that wrong flags are reported without delay.
      keepCompiledCode();
      const { startLocalNetwork } = await import("../runtime/local-network.ts");
      network = await startLocalNetwork({
        stateDir,
        port,
        ...(host !== undefined && { host }),
        ...(tls && { tls }),
        insecure: flag(values, "insecure"),
        ...(publicUrl !== undefined && { publicUrl }),
        allowHosts: texts(values, "allow-host"),
        corsOrigins: texts(values, "cors-origins"),
        ...(statusHoldSeconds !== undefined && { statusHoldSeconds }),
        ...(embeddingModel !== undefined && { embeddingModel }),
        worker: !flag(values, "no-worker"),
        ...(model !== undefined && { model }),
        signal: stop.signal,
        log: (line) => console.error(oneLine(line)),
      });
    } catch (error) {
      if (stop.signal.aborted) return EXIT.ok;
      throw error;
    }
    try {
      const { atom_id } = network.credentials;
      const url = network.publicUrl;
      reload = () => reloadCertificate(network);
      const file = credentialsFile(stateDir);
      console.log(
        flag(values, "json")
          ? JSON.stringify({ ready: true, url, atom_id, credentials: file })
          : `Ligand pool ready at ${url} (credentials in ${shortPath(file)})`,
      );
      if (host !== undefined && !isLoopback(host) && leadsToLoopback(url)) {
        console.error(
          `Workers and peers on other machines receive the URL ${url}, which works only on this machine. Restart the pool with the URL at which they reach it: --public-url URL`,
        );
      }
      await Promise.race([stop.requested, network.ended]);
      return EXIT.ok;
    } finally {
      await network.stop();
    }
  },
};

function tlsFiles(certFile: string | undefined, keyFile: string | undefined): TlsFiles | undefined {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile };
  throw new UsageError("TLS needs both --cert FILE and --key FILE.");
}

/** Checks that the URL is an origin without a path. */
function publicUrlOf(given: string | undefined): string | undefined {
  const url = given === undefined ? undefined : normalisedPeerUrl(given);
  if (url !== null) return url;
  throw new UsageError(
    `"${given}" is not the URL of a pool. --public-url and LIGAND_PUBLIC_URL must look like https://pool.example or http://192.168.1.2:8787, without a path.`,
  );
}

/** Reloads the certificate. If the new one cannot be used, the old one stays. */
function reloadCertificate(network: LocalNetwork): void {
  try {
    network.reloadCertificate();
    console.error("Reloaded the certificate.");
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    console.error(`The old certificate stays in use. ${oneLine(error.message)}`);
  }
}

function shortPath(file: string): string {
  const short = relative(process.cwd(), file);
  return short.startsWith("..") ? file : short;
}
