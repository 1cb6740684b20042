/** What the server of `llama-http-server.ts` reports about itself. */
export const SERVER_MODEL = "tiny-llama";
export const SERVER_CONTEXT = 256;
