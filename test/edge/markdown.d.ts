/** A page of the repository as its text. */
declare module "*.md?raw" {
  const text: string;
  export default text;
}
