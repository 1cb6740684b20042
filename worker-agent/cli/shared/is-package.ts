/** Whether this program runs from an npm package, which contains JavaScript, and not from a clone of the repository. */
export const IS_PACKAGE = import.meta.filename.endsWith(".js");
