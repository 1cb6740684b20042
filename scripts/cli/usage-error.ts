/** The command was not said right: exit code 2. */
export class UsageError extends Error {
  override name = "UsageError";
  readonly code = "cli/usage";
}

/** What a flag was given is not what it wants. Where it was not given as a flag, whoever catches this says where. */
export class FlagError extends UsageError {
  override name = "FlagError";
  readonly flag: string;
  readonly problem: string;

  /** @param problem a sentence that goes on from the flag's name: `wants a whole number.` */
  constructor(flag: string, problem: string) {
    super(`--${flag} ${problem}`);
    this.flag = flag;
    this.problem = problem;
  }
}
