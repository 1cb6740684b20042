/** The command line is wrong. The exit code is 2. */
export class UsageError extends Error {
  override name = "UsageError";
  readonly code = "cli/usage";
}

/** The value of a setting is wrong. If it came from a variable or a file, the catcher names that source instead of the flag. */
export class FlagError extends UsageError {
  override name = "FlagError";
  readonly flag: string;
  readonly problem: string;

  /** @param problem the rest of a sentence that begins with the flag's name: `must be a whole number.` */
  constructor(flag: string, problem: string) {
    super(`--${flag} ${problem}`);
    this.flag = flag;
    this.problem = problem;
  }
}
