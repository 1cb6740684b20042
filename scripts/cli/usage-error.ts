/** The command was not said right: exit code 2. */
export class UsageError extends Error {
  override name = "UsageError";
  readonly code = "cli/usage";
}
