/** What tables and charts take out of a result. */
import type { AlternativeRow, Measured } from '../alternatives/row.js';
import type { BenchResult, Cell, CoreRun, SubjectName } from './result.js';

/** Where forwarders are compared. */
export const COMPARED_BATCH = 32;

/** The run of the version that measured the alternatives too, else the first. */
export function mainRun(result: BenchResult): CoreRun | undefined {
  const runs = result.core?.runs ?? [];
  return runs.find(({ node }) => node === result.node) ?? runs[0];
}

function cellOf(run: CoreRun, subject: SubjectName, batch: number): Cell | undefined {
  return run.cells.find((cell) => cell.subject === subject && cell.batch === batch && cell.cold !== true);
}

export function nsOf(run: CoreRun, subject: SubjectName, batch: number): number | undefined {
  return cellOf(run, subject, batch)?.nsPerPacket;
}

/** Time per packet relative to that of the C forwarder with ixy's algorithm. */
export function ratioToIxy(run: CoreRun, subject: SubjectName, batch: number): number | undefined {
  return cellOf(run, subject, batch)?.ratioToIxy;
}

/** Time per packet relative to that of the pipe in C. */
export function ratioToCPipe(run: CoreRun, subject: SubjectName, batch: number): number | undefined {
  return cellOf(run, subject, batch)?.ratioToCPipe;
}

/** Quotient of the medians: time per packet relative to the C forwarder with spread buffers. */
export function ratioToSpread(run: CoreRun, subject: SubjectName, batch: number): number | undefined {
  const [ns, spread] = [nsOf(run, subject, batch), nsOf(run, 'c-spread', batch)];
  return ns === undefined || spread === undefined ? undefined : ns / spread;
}

export function measuredRows(result: BenchResult): Measured[] {
  return (result.alternatives ?? []).filter((row: AlternativeRow): row is Measured => !('skipped' in row));
}
