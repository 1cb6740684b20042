/** The package's version. The agent sends it to the pool, and calibrations hold for one version only. */
export const AGENT_VERSION = "0.1.0";
