/**
 * The `cron` value with which the runner of a pool on one machine calls the Worker's `scheduled` at each start of its
 * runtime. All other calls are cron triggers of wrangler.toml, from Cloudflare or from that runner.
 */
export const AT_START = "at-start";
