/** Takes what the page needs out of the core benchmark's result file, one for each version of Node.js. */
import { parseGaps } from './parse.js';
import { type Cell, type CoreRun, SUBJECT_NAMES } from './result.js';
import { Value, withoutUndefined } from './value.js';

/** @param text of a file that bench/main.ts wrote @throws Error where it is none */
export function collectRun(text: string): CoreRun {
  const root = new Value(JSON.parse(text), '');
  const method = root.at('method');
  const throughput = root.at('throughput');
  return {
    node: root.at('versions').at('node').string(),
    hugepages: root.at('machine').at('hugepages').boolean(),
    loadPerProcessor: root.at('machine').at('loadPerProcessor').number(),
    rounds: method.at('passes').positive() * method.at('roundsPerPass').positive(),
    checkedPackets: throughput
      .list((row) => row.at('checkedPackets').number())
      .reduce((sum, packets) => sum + packets, 0),
    cells: throughput.list((row) => {
      const ns = row.at('nsPerPacket');
      return withoutUndefined<Cell>({
        subject: row.at('subject').oneOf(SUBJECT_NAMES),
        batch: row.at('batch').positive(),
        cold: row.at('cold').optional((cold) => cold.boolean() || undefined),
        nsPerPacket: ns.at('median').positive(),
        p25: ns.at('p25').positive(),
        p75: ns.at('p75').positive(),
        ratioToIxy: row.at('ratioToIxy').optional((ratio) => ratio.positive()),
        ratioToCPipe: row.at('ratioToCPipe').optional((ratio) => ratio.positive()),
      });
    }),
    steadiness: root.at('steadiness').list((row) => ({
      path: row.at('path').oneOf(['general', 'pipe']),
      packets: row.at('packets').positive(),
      heapGrowthBytes: row.at('heapGrowthBytes').integer(),
      collections: row.at('scavenges').number() + row.at('otherCollections').number(),
      polls: row.at('polls').positive(),
      gapsNs: parseGaps(row.at('pollGapNs')),
    })),
  };
}

/** `v9.0.0` before `v10.0.0`. */
export function byVersion(a: CoreRun, b: CoreRun): number {
  return a.node.localeCompare(b.node, 'en', { numeric: true });
}
