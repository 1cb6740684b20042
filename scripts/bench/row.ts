/** One line of the table: what was measured in this run, against what, and what was hoped for. */
export interface Row {
  what: string;
  value: number;
  unit: string;
  target: string;
  met: boolean;
  /** The numbers behind it. */
  detail: string;
}

export interface Bench {
  name: string;
  run(progress: (line: string) => void): Promise<Row[]>;
}

export const round = (value: number): number => Number(value.toPrecision(4));
