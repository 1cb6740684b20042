/** The version of the pool, as its peers see it. A test compares it with `package.json`. */
export const POOL_VERSION = "0.1.0";
