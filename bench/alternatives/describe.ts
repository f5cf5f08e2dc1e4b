/** Rows as lines of text. */
import { type AlternativeRow, WAYS } from './row.js';

/** One line for a row. */
export function describeRow(row: AlternativeRow): string {
  const title = WAYS[row.way].title.padEnd(46);
  if ('skipped' in row) return `${title} skipped: ${row.skipped}`;
  const limit = row.limit === undefined ? '' : `  limit: ${row.limit}`;
  const waited =
    (row.forwarderWaited ?? 0) > 0.05 ? `  (disturbed: ${percent(row.forwarderWaited!)} waiting)` : '';
  return (
    `${title} ${row.job.padEnd(8)} ${String(row.sizeBytes).padStart(5)} B ${row.nsPerPacket.toFixed(1).padStart(8)} ns ` +
    `${(row.packetsPerSecond / 1e6).toFixed(3).padStart(8)} Mpps  copies ${row.copies}  ` +
    `calls ${row.callsPerPacket.toFixed(3)}${limit}${waited}`
  );
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
