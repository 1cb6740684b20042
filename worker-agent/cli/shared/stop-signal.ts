/** The exit code of a program that was interrupted. */
const INTERRUPTED = 130;

/**
 * A terminal sends Ctrl-C to its whole process group, and a service manager sends SIGTERM to all processes of a service.
 * npm then forwards its own copy to the program. A second signal within this time is that copy, not a second request.
 */
const ECHO_MS = 1_000;

/**
 * The first SIGINT, SIGTERM or SIGHUP asks for a clean end. The second one ends the process immediately. Pass
 * `onHangup` to give SIGHUP another meaning.
 */
export function stopOnSignal(onHangup?: () => void): { signal: AbortSignal; requested: Promise<void> } {
  const controller = new AbortController();
  const { promise: requested, resolve } = Promise.withResolvers<void>();
  let firstMs: number | undefined;
  const ask = () => {
    const nowMs = performance.now();
    firstMs ??= nowMs;
    if (controller.signal.aborted && nowMs - firstMs > ECHO_MS) process.exit(INTERRUPTED);
    controller.abort();
    resolve();
  };
  process.on("SIGINT", ask);
  process.on("SIGTERM", ask);
  process.on("SIGHUP", onHangup ?? ask);
  return { signal: controller.signal, requested };
}
