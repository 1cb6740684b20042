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

/** `npm start` and `ligand pool start`: a pool and a worker beside it, until Ctrl-C. */
export const poolStart: Command = {
  summary: "Run a pool on this machine, with a worker beside it, until Ctrl-C.",
  usage:
    "[--port N] [--state DIR] [--model M] [--no-worker] [--host ADDR] [--cert FILE --key FILE] [--insecure] [--public-url URL] [--allow-host NAME]… [--cors-origins O]… [--status-hold SECONDS] [--embedding-model M] [--json]",
  help: [
    "--port N           where to listen (default 8787; 0 picks a free port)",
    "--state DIR        where everything is kept (default: ./state)",
    "--model M          what the worker runs: embedded (default), the path of a GGUF file, or hf:OWNER/REPO:QUANT",
    "--no-worker        the pool alone",
    "--host ADDR        which address to listen on (default 127.0.0.1)",
    "--insecure         listen off loopback without TLS",
    "--cert FILE        serve HTTPS with this certificate and its chain (PEM); SIGHUP reads it again",
    "--key FILE         its private key (PEM)",
    "--public-url URL   where others reach it, as through a proxy: peers are told so, and workers",
    "--allow-host NAME  a further host name that the pool answers to; may be repeated",
    "--cors-origins O   whose pages may call the client API, such as https://app.example, or *; may be repeated",
    "--status-hold S    how many seconds the status of a whole answer waits for the answer (5 to 90, default 75)",
    "--embedding-model M  which model `auto` means for embeddings (default: the first by name of those served)",
    "--json             one JSON line when ready",
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
    stop.asked.then(() => console.error("Stopping … (Ctrl-C again ends it at once)"));
    let network: LocalNetwork;
    try {
      // Loaded only now: wrong usage is said at once.
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
          `Workers elsewhere and peers are told that it is at ${url}, where only this machine finds it. Say where they reach it: --public-url URL`,
        );
      }
      await Promise.race([stop.asked, network.ended]);
      return EXIT.ok;
    } finally {
      await network.stop();
    }
  },
};

function tlsFiles(certFile: string | undefined, keyFile: string | undefined): TlsFiles | undefined {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile };
  throw new UsageError("TLS needs both: --cert FILE with the certificate and --key FILE with its private key.");
}

/** An origin: a peer is called at paths of its own choosing. */
function publicUrlOf(given: string | undefined): string | undefined {
  const url = given === undefined ? undefined : normalisedPeerUrl(given);
  if (url !== null) return url;
  throw new UsageError(
    `"${given}" is not where others reach a pool. --public-url and LIGAND_PUBLIC_URL want one like https://pool.example or http://192.168.1.2:8787, without a path.`,
  );
}

/** A renewed certificate that cannot be used leaves the old one in place. */
function reloadCertificate(network: LocalNetwork): void {
  try {
    network.reloadCertificate();
    console.error("The certificate was read again.");
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    console.error(`The old certificate stays in use: ${oneLine(error.message)}`);
  }
}

function shortPath(file: string): string {
  const short = relative(process.cwd(), file);
  return short.startsWith("..") ? file : short;
}
