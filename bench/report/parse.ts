/** Reads a result file and checks that it is whole. A message names the place: `core.runs[0].cells[3].batch`. */
import { type AlternativeRow, JOBS, type Measured, WAYS, type WayName } from '../alternatives/row.js';
import {
  type BenchResult,
  type Cell,
  type CoreRun,
  type Machine,
  type Steadiness,
  SUBJECT_NAMES,
} from '../result.js';

/** A value and where it stands. */
class Value {
  constructor(value: unknown, place: string) {
    this.#value = value;
    this.#place = place;
  }

  readonly #value: unknown;
  readonly #place: string;

  /** A member of an object. @throws Error where this is no object */
  at(key: string): Value {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) {
      return this.#fail('an object');
    }
    const place = this.#place === '' ? key : `${this.#place}.${key}`;
    return new Value((this.#value as Readonly<Record<string, unknown>>)[key], place);
  }

  get missing(): boolean {
    return this.#value === undefined;
  }

  list<T>(parse: (item: Value) => T): T[] {
    if (!Array.isArray(this.#value)) return this.#fail('a list');
    return this.#value.map((item, i) => parse(new Value(item, `${this.#place}[${i}]`)));
  }

  optional<T>(parse: (value: Value) => T): T | undefined {
    return this.missing ? undefined : parse(this);
  }

  string(): string {
    if (typeof this.#value !== 'string' || this.#value === '') return this.#fail('a text');
    return this.#value;
  }

  boolean(): boolean {
    if (typeof this.#value !== 'boolean') return this.#fail('true or false');
    return this.#value;
  }

  /** 0 or more. */
  number(): number {
    if (typeof this.#value !== 'number' || !Number.isFinite(this.#value) || this.#value < 0) {
      return this.#fail('a number of 0 or more');
    }
    return this.#value;
  }

  positive(): number {
    if (this.number() === 0) return this.#fail('a number above 0');
    return this.number();
  }

  /** 0 to 1. */
  share(): number {
    if (this.number() > 1) return this.#fail('a number from 0 to 1');
    return this.number();
  }

  integer(): number {
    if (typeof this.#value !== 'number' || !Number.isSafeInteger(this.#value))
      return this.#fail('an integer');
    return this.#value;
  }

  oneOf<T extends string>(names: readonly T[]): T {
    const name = names.find((known) => known === this.#value);
    return name ?? this.#fail(`one of ${names.join(', ')}`);
  }

  #fail(wanted: string): never {
    const given = JSON.stringify(this.#value) ?? 'missing';
    throw new Error(`${this.#place || 'the result'} is ${given.slice(0, 60)}, not ${wanted}`);
  }
}

/** @param text of the file @throws Error where it is no result */
export function parseResult(text: string): BenchResult {
  const root = new Value(JSON.parse(text), '');
  return withoutUndefined<BenchResult>({
    machine: parseMachine(root.at('machine')),
    node: root.at('node').string(),
    date: root.at('date').string(),
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
  return withoutUndefined<CoreRun>({
    node: run.at('node').string(),
    cells: run.at('cells').list(parseCell),
    steadiness: run.at('steadiness').optional((list) => list.list(parseSteadiness)),
  });
}

function parseCell(cell: Value): Cell {
  return {
    subject: cell.at('subject').oneOf(SUBJECT_NAMES),
    batch: cell.at('batch').positive(),
    nsPerPacket: cell.at('nsPerPacket').positive(),
  };
}

function parseSteadiness(value: Value): Steadiness {
  const gaps = value.at('gapsNs');
  return {
    subject: value.at('subject').oneOf(SUBJECT_NAMES),
    packets: value.at('packets').positive(),
    heapGrowthBytes: value.at('heapGrowthBytes').integer(),
    collections: value.at('collections').number(),
    gapsNs: {
      p50: gaps.at('p50').number(),
      p99: gaps.at('p99').number(),
      p999: gaps.at('p999').number(),
      p9999: gaps.at('p9999').number(),
      max: gaps.at('max').number(),
    },
    histogram: value
      .at('histogram')
      .list((entry) => ({ upToNs: entry.at('upToNs').positive(), count: entry.at('count').number() })),
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

/** What was missing is missing in what was read, too. */
function withoutUndefined<T extends object>(value: { [key in keyof T]: T[key] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}
