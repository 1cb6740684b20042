/** The exit codes of the worker's process, by the reason why it ended. Service managers and `ligand start` read these. */
export const EXIT_CODES = Object.freeze({
  drained: 0,
  failed: 1,
  usage: 2,
  "token-refused": 3,
  "token-expired": 4,
  "protocol-too-old": 5,
  "wrong-pool": 6,
  /** The exit code is the same as for `wrong-pool`; the `stopped` event and `status.json` tell the two apart. */
  unreachable: 6,
} as const);
