import { type Members, type Row, rowsOf } from "../../../schema/wire/parameter-table.ts";

const HEAD = `# Parameters of the client API

This page is generated from the tables in \`schema/wire/api-parameters.ts\`. A test fails if the page and the tables differ.

Each published parameter of a request has one of four treatments:

| treatment | meaning |
| --- | --- |
| used | The parameter has the effect that the API's documentation describes. |
| hint | The pool accepts any value and ignores it. |
| neutral | The pool accepts the listed values, because they request nothing that the pool lacks. It refuses any other value. |
| refused | The pool refuses the parameter, because without it the answer would not be what the client requested. |

The pool accepts \`null\` for every optional parameter, and for a parameter that this page does not list. It refuses any other
value of an unlisted parameter. Both kinds of refusal have status 400 and name the parameter:

- The code \`unsupported_parameter\` means that this page lists the parameter. The message says what to do instead.
- The code \`unknown_parameter\` means that this page does not list the parameter.

Earlier answers are an exception. When a client sends one back as history, the pool ignores every member that only describes
that answer, such as \`parsed\`, \`annotations\` and \`reasoning_content\`.

In a name, brackets contain the \`role\` or the \`type\` of the object: \`messages[tool].content\` is the content of a message
whose role is \`tool\`. A name in *italics* is not part of the published API, but some clients send it.
`;

/** The documentation of all tables, as Markdown. */
export function apiParametersPage(tables: Readonly<Record<string, Members>>): string {
  return [HEAD, ...Object.entries(tables).map(([path, table]) => section(path, rowsOf(table)))].join("\n");
}

function section(path: string, rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const name = row.isUnpublished ? `*${row.name}*` : `\`${row.name}\``;
    return `| ${name} | ${row.treatment} | ${notes(row).join(" ")} |`;
  });
  return `## \`POST ${path}\`\n\n| parameter | treatment | notes |\n| --- | --- | --- |\n${lines.join("\n")}\n`;
}

function notes({ values, note, instead, isPartly }: Row): string[] {
  const accepted = values?.map((value) => `\`${JSON.stringify(value)}\``).join(", ");
  return [
    ...(isPartly ? ["Some values are refused."] : []),
    ...(accepted ? [`Accepted: ${accepted}.`] : []),
    ...(note ? [note] : []),
    ...(instead ? [instead] : []),
  ];
}
