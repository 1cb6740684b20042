/**
 * Ctrl-C and its like ask once for a clean end; asked again, the process ends at once. A terminal that hangs up counts
 * among them, unless the signal has another meaning here.
 */
export function stopOnSignal(onHangup?: () => void): { signal: AbortSignal; asked: Promise<void> } {
  const controller = new AbortController();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  if (onHangup !== undefined) process.on("SIGHUP", onHangup);
  const names = onHangup === undefined ? (["SIGINT", "SIGTERM", "SIGHUP"] as const) : (["SIGINT", "SIGTERM"] as const);
  for (const name of names) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(1);
      controller.abort();
      resolve();
    });
  }
  return { signal: controller.signal, asked };
}
