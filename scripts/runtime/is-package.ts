/** Whether this program runs from an npm package, which contains JavaScript, and not from a checkout. */
export const IS_PACKAGE = import.meta.filename.endsWith(".js");
