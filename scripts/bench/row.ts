/** One row of the table: the measurement and its target. */
export interface Row {
  what: string;
  value: number;
  unit: string;
  target: string;
  met: boolean;
  /** The numbers from which `value` is computed. */
  detail: string;
}

export interface Bench {
  name: string;
  run(progress: (line: string) => void): Promise<Row[]>;
}

export const round = (value: number): number => Number(value.toPrecision(4));
