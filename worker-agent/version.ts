/** What the agent calls itself on the wire and in its calibration cache; the package's version. */
export const AGENT_VERSION = "0.1.0";
