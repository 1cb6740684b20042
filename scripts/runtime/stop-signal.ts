/** What a shell calls a program that was interrupted. */
const INTERRUPTED = 130;

/**
 * A terminal's Ctrl-C goes to its whole process group, as a service manager's SIGTERM goes to all of a service; npm then
 * passes the signal that it got on to the program that it runs. What comes so soon is that echo, and no second wish.
 */
const ECHO_MS = 1_000;

/**
 * Ctrl-C and its like ask once for a clean end; asked again, the process ends at once. A terminal that hangs up counts
 * among them, unless the signal has another meaning here.
 */
export function stopOnSignal(onHangup?: () => void): { signal: AbortSignal; asked: Promise<void> } {
  const controller = new AbortController();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
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
  return { signal: controller.signal, asked };
}
