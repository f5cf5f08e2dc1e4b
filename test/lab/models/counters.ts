/** What a guest's driver counted, on its way from the guest's half of a case to the host's: a line of output. */
import type { NicReport, Tally } from './description.js';

/** In order of the NICs. Bytes with FCS, as the hardware counts them. */
export interface DriverCounters {
  readonly sent: Tally;
  /** All that passed the filters, lost ones included. */
  readonly received: Tally;
}

const MARK = 'lab counters: ';

/** For the guest: says what its driver counted. */
export function printCounters(counters: readonly DriverCounters[]): void {
  process.stdout.write(`\n${MARK}${JSON.stringify(counters)}\n`);
}

/** For the host: what the guest said, or nothing. */
export function parseCounters(output: string): DriverCounters[] {
  const line = output.split('\n').find((text) => text.startsWith(MARK));
  return line ? JSON.parse(line.slice(MARK.length)) : [];
}

/** The same of the models. */
export function modelCounters(nics: readonly NicReport[]): DriverCounters[] {
  return nics.map(({ sent, received }) => ({ sent, received }));
}
