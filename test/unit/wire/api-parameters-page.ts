import { type Members, type Row, rowsOf } from "../../../schema/wire/parameter-table.ts";

const HEAD = `# Parameters of the client API

This page is made from the tables in \`schema/wire/api-parameters.ts\`; a test keeps the two together.

Each published parameter of a request has one of four treatments:

| treatment | meaning |
| --- | --- |
| used | The parameter does what the API publishes. |
| hint | The pool accepts any value. The value has no effect. |
| neutral | The pool accepts the listed values, because they ask for nothing. It refuses any other value. |
| refused | The pool refuses the parameter, because the answer would not be what the client asked for. |

\`null\` asks for nothing, so the pool accepts it for every optional parameter and for a parameter that is on no list. A
refusal is status 400 with the code \`unsupported_parameter\`; it names the parameter and says what to do instead. Any other
value of a parameter that is on no list is refused with the code \`unknown_parameter\`. One kind of object is exempt: of an
answer that is handed back as history, the pool ignores every member that only describes that answer (\`parsed\`,
\`annotations\`, \`reasoning_content\` and the like).

In a name, brackets hold the \`role\` or the \`type\` of the object: \`messages[tool].content\` is the content of a message
whose role is \`tool\`. A name in *italics* is not published by that API, but some clients send it.
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
