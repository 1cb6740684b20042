/** One row of the table: the measurement, what it is compared with, and the aim. */
export interface Row {
  what: string;
  value: number;
  unit: string;
  target: string;
  met: boolean;
  /** The numbers behind the result. */
  detail: string;
}

export interface Bench {
  name: string;
  run(progress: (line: string) => void): Promise<Row[]>;
}

export const round = (value: number): number => Number(value.toPrecision(4));
