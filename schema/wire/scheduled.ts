/**
 * What the runner of a pool on one machine says to the Worker's `scheduled` at each start of its runtime. Every other call
 * is a cron trigger of wrangler.toml, from Cloudflare or from that runner.
 */
export const AT_START = "at-start";
