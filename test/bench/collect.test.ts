import * as assert from 'uvu/assert';
import { byVersion, collectRun } from '../../bench/report/collect.js';
import { suite } from '../support/suite.js';
import { RESULT } from './results.js';

/** As bench/main.ts writes it, with what the page does not need. */
const CORE = {
  schema: 1,
  date: '2026-01-02T03:04:05.000Z',
  machine: { processor: 'x', processors: 2, kernel: '6.1.2-builder', hugepages: true, loadPerProcessor: 0.1 },
  versions: { barewire: '0.1.0', node: 'v24.1.0', v8: '13', compiler: 'gcc', compilerFlags: '-O2' },
  method: { ringSize: 512, frameBytes: 64, windowFrames: 192, passes: 3, roundsPerPass: 12, seconds: 60 },
  throughput: [
    {
      subject: 'c-ixy',
      batch: 32,
      nsPerPacket: { p25: 9, median: 10, p75: 11 },
      ratioToIxy: 1,
      // JSON has no NaN.
      ratioToCPipe: Number.NaN,
      checkedPackets: 1000,
    },
    {
      subject: 'pipe',
      batch: 32,
      nsPerPacket: { p25: 2, median: 3, p75: 4 },
      ratioToIxy: 0.3,
      ratioToCPipe: 1.5,
      checkedPackets: 2000,
    },
  ],
  steadiness: [
    {
      path: 'pipe',
      packets: 100,
      seconds: 1,
      heapGrowthBytes: -8,
      scavenges: 2,
      otherCollections: 1,
      pollGapNs: { p50: 1, p99: 2, p999: 3, p9999: 4, max: 5 },
      polls: 6,
    },
  ],
};

const collecting = suite('collectRun');

collecting('takes what the page needs', () => {
  assert.equal(collectRun(JSON.stringify(CORE)), {
    node: 'v24.1.0',
    hugepages: true,
    loadPerProcessor: 0.1,
    rounds: 36,
    checkedPackets: 3000,
    cells: [
      { subject: 'c-ixy', batch: 32, nsPerPacket: 10, p25: 9, p75: 11, ratioToIxy: 1 },
      { subject: 'pipe', batch: 32, nsPerPacket: 3, p25: 2, p75: 4, ratioToIxy: 0.3, ratioToCPipe: 1.5 },
    ],
    steadiness: [
      {
        path: 'pipe',
        packets: 100,
        heapGrowthBytes: -8,
        collections: 3,
        polls: 6,
        gapsNs: { p50: 1, p99: 2, p999: 3, p9999: 4, max: 5 },
      },
    ],
  });
});

collecting('says what is not as it should be', () => {
  const damaged = { ...CORE, throughput: [{ ...CORE.throughput[0], nsPerPacket: 10 }] };
  assert.throws(
    () => collectRun(JSON.stringify(damaged)),
    /^throughput\[0\]\.nsPerPacket is 10, not an object$/,
  );
});

collecting('versions in their order', () => {
  const runs = ['v10.1.0', 'v9.20.0', 'v24.1.0', 'v24.0.10', 'v24.0.9'].map((node) => ({
    ...RESULT.core!.runs[0]!,
    node,
  }));
  assert.equal(
    runs.sort(byVersion).map(({ node }) => node),
    ['v9.20.0', 'v10.1.0', 'v24.0.9', 'v24.0.10', 'v24.1.0'],
  );
});

collecting.run();
