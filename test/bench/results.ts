/** A result with all sections, for the tests of the report. Its figures are made up. */
import type { AlternativeRow, WayName } from '../../bench/alternatives/row.js';
import type { BenchResult, Cell, Steadiness, SubjectName } from '../../bench/report/result.js';

const NS: readonly (readonly [SubjectName, number])[] = [
  ['c-ixy', 10],
  ['c-spread', 9.5],
  ['queues', 9],
  ['general', 8],
  ['pipe', 3],
  ['c-pipe', 2],
];

const cells: Cell[] = [1, 32].flatMap((batch) =>
  NS.map(([subject, ns]) => {
    const nsPerPacket = batch === 1 ? ns * 2 : ns;
    return {
      subject,
      batch,
      nsPerPacket,
      p25: nsPerPacket * 0.99,
      p75: nsPerPacket * 1.01,
      // Not exactly the quotient of the medians: they are of rounds.
      ratioToIxy: ns / 10 + 0.01,
      ratioToCPipe: ns / 2 + 0.01,
    };
  }),
);

export const STEADINESS: Steadiness = {
  path: 'general',
  packets: 100_000_000,
  heapGrowthBytes: 0,
  collections: 0,
  polls: 1_000_000,
  gapsNs: { p50: 200, p99: 400, p999: 2000, p9999: 14_000, max: 1_900_000 },
};

const CONDITIONS = { hugepages: false, loadPerProcessor: 0.25, rounds: 25, checkedPackets: 1_234_567 };

function row(way: WayName, sizeBytes: number, nsPerPacket: number): AlternativeRow {
  return {
    way,
    job: 'forward',
    sizeBytes,
    packets: 1000,
    packetsPerSecond: 1e9 / nsPerPacket,
    nsPerPacket,
    copies: way === 'copy' ? 1 : 0,
    callsPerPacket: 0,
  };
}

export const RESULT: BenchResult = {
  machine: { cpu: 'Processor <1> & more', cores: 4, kernel: '6.1.2', compiler: 'gcc 12', virtual: true },
  node: 'v24.1.0',
  date: '2026-01-02T03:04:05.000Z',
  alternativesDate: '2026-02-03T04:05:06.000Z',
  core: {
    runs: [
      {
        ...CONDITIONS,
        node: 'v20.1.0',
        cells: cells.map((cell) => ({ ...cell, nsPerPacket: cell.nsPerPacket * 1.5 })),
        steadiness: [],
      },
      { ...CONDITIONS, node: 'v24.1.0', cells, steadiness: [STEADINESS] },
    ],
  },
  alternatives: [
    row('pipe', 64, 5),
    row('look', 64, 10),
    row('copy', 64, 25),
    {
      ...row('emulated', 64, 20),
      packetsPerSecond: 1_234_567,
      limit: 'source',
      forwarderIdle: 0.9,
      sourceIdle: 0.123,
      forwarderWaited: 0.01,
      emptyPolls: 0.95,
      packetsPerPoll: 1.5,
    } as AlternativeRow,
    { way: 'dgram', skipped: 'no program unshare' },
    { ...row('xdpC', 64, 100), copies: 2, callsPerPacket: 1 / 32 } as AlternativeRow,
    { ...row('xdp', 64, 115), copies: 2, callsPerPacket: 1 / 32 } as AlternativeRow,
  ],
};

/** A copy that a test may damage. */
export function copyOfResult(): BenchResult {
  return JSON.parse(JSON.stringify(RESULT)) as BenchResult;
}
