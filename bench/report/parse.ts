/** Reads a result file and checks that it is whole. */
import { type AlternativeRow, JOBS, type Measured, WAYS, type WayName } from '../alternatives/row.js';
import {
  type BenchResult,
  type Cell,
  type CoreRun,
  type Machine,
  type Steadiness,
  SUBJECT_NAMES,
} from './result.js';
import { Value, withoutUndefined } from './value.js';

/** @param text of the file @throws Error where it is no result */
export function parseResult(text: string): BenchResult {
  const root = new Value(JSON.parse(text), '');
  return withoutUndefined<BenchResult>({
    machine: parseMachine(root.at('machine')),
    node: root.at('node').string(),
    date: root.at('date').string(),
    alternativesDate: root.at('alternativesDate').optional((date) => date.string()),
    core: root.at('core').optional((core) => ({ runs: core.at('runs').list(parseRun) })),
    alternatives: root.at('alternatives').optional((rows) => rows.list(parseRow)),
  });
}

function parseMachine(machine: Value): Machine {
  return withoutUndefined<Machine>({
    cpu: machine.at('cpu').string(),
    cores: machine.at('cores').positive(),
    kernel: machine.at('kernel').string(),
    compiler: machine.at('compiler').optional((value) => value.string()),
    virtual: machine.at('virtual').optional((value) => value.boolean()),
  });
}

function parseRun(run: Value): CoreRun {
  return {
    node: run.at('node').string(),
    hugepages: run.at('hugepages').boolean(),
    loadPerProcessor: run.at('loadPerProcessor').number(),
    rounds: run.at('rounds').positive(),
    checkedPackets: run.at('checkedPackets').positive(),
    cells: run.at('cells').list(parseCell),
    steadiness: run.at('steadiness').list(parseSteadiness),
  };
}

function parseCell(cell: Value): Cell {
  return withoutUndefined<Cell>({
    subject: cell.at('subject').oneOf(SUBJECT_NAMES),
    batch: cell.at('batch').positive(),
    cold: cell.at('cold').optional((cold) => cold.boolean() || undefined),
    nsPerPacket: cell.at('nsPerPacket').positive(),
    p25: cell.at('p25').positive(),
    p75: cell.at('p75').positive(),
    ratioToIxy: cell.at('ratioToIxy').optional((ratio) => ratio.positive()),
    ratioToCPipe: cell.at('ratioToCPipe').optional((ratio) => ratio.positive()),
  });
}

export function parseGaps(gaps: Value): Steadiness['gapsNs'] {
  return {
    p50: gaps.at('p50').positive(),
    p99: gaps.at('p99').positive(),
    p999: gaps.at('p999').positive(),
    p9999: gaps.at('p9999').positive(),
    max: gaps.at('max').positive(),
  };
}

function parseSteadiness(value: Value): Steadiness {
  return {
    path: value.at('path').oneOf(['general', 'pipe']),
    packets: value.at('packets').positive(),
    heapGrowthBytes: value.at('heapGrowthBytes').integer(),
    collections: value.at('collections').number(),
    polls: value.at('polls').positive(),
    gapsNs: parseGaps(value.at('gapsNs')),
  };
}

function parseRow(row: Value): AlternativeRow {
  const way = row.at('way').oneOf(Object.keys(WAYS) as WayName[]);
  if (!row.at('skipped').missing) return { way, skipped: row.at('skipped').string() };
  return withoutUndefined<Measured>({
    way,
    job: row.at('job').oneOf(JOBS),
    sizeBytes: row.at('sizeBytes').positive(),
    packets: row.at('packets').positive(),
    packetsPerSecond: row.at('packetsPerSecond').positive(),
    nsPerPacket: row.at('nsPerPacket').positive(),
    copies: row.at('copies').number(),
    callsPerPacket: row.at('callsPerPacket').number(),
    limit: row.at('limit').optional((limit) => limit.oneOf(['forwarder', 'source'])),
    forwarderIdle: row.at('forwarderIdle').optional((share) => share.share()),
    sourceIdle: row.at('sourceIdle').optional((share) => share.share()),
    forwarderWaited: row.at('forwarderWaited').optional((share) => share.number()),
    emptyPolls: row.at('emptyPolls').optional((share) => share.share()),
    packetsPerPoll: row.at('packetsPerPoll').optional((number) => number.positive()),
  });
}
