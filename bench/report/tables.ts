/** The generated parts of docs/performance.md, as Markdown. Each has a sentence where the result has no data for it. */
import { type Measured, SIZES_BYTES, WAYS, type Way, type WayName } from '../alternatives/row.js';
import { type ChartName, SUBJECT_TITLES } from './charts.js';
import {
  COMPARED_BATCH,
  mainRun,
  measuredRows,
  nsOf,
  ratioToCPipe,
  ratioToIxy,
  ratioToSpread,
} from './figures.js';
import { count, duration, figure, percent, scaled } from './numbers.js';
import { type BenchResult, type Cell, type CoreRun, SUBJECT_NAMES, type SubjectName } from './result.js';

const WAY_NAMES = Object.keys(WAYS) as WayName[];

const NOT_MEASURED = 'Not measured in this run.';

/** Above this share of waiting for a processor a row is marked: the machine was not quiet. */
const DISTURBED_SHARE = 0.05;
const DISTURBED_LINE = `\\* The forwarder waited more than ${percent(DISTURBED_SHARE)} of the time for a processor: the machine was not quiet.`;

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  // The first column is text, the others are figures.
  const rule = header.map((_, i) => (i === 0 ? '---' : '---:'));
  return [line(header), line(rule), ...rows.map(line)].join('\n');
}

function chart(name: ChartName, alternative: string): string {
  return `![${alternative}](charts/${name}.svg)`;
}

export function machineTable(result: BenchResult): string {
  const { alternativesDate } = result;
  const day = (date: string): string => date.slice(0, 10);
  const { cpu, cores, kernel, compiler, virtual } = result.machine;
  const versions = [...new Set([...(result.core?.runs.map(({ node }) => node) ?? []), result.node])];
  return table(
    ['', ''],
    [
      [
        'processor',
        `${cpu}, ${cores} ${cores === 1 ? 'core' : 'cores'}${virtual === true ? ', virtual machine' : ''}`,
      ],
      ['kernel', `Linux ${kernel}`],
      ['Node.js', versions.join(', ')],
      ...(compiler === undefined ? [] : [['C compiler', compiler]]),
      ['date', day(result.date)],
      ...(alternativesDate === undefined
        ? []
        : [['date of what one would use instead', day(alternativesDate)]]),
    ],
  ).replaceAll('---:', '---');
}

/** Time per packet of each forwarder by batch size, a table for each version of Node.js. */
export function coreTable(result: BenchResult): string {
  const runs = result.core?.runs ?? [];
  if (runs.length === 0) return NOT_MEASURED;
  const parts = runs.map(
    (run) => `Node ${run.node}, ns per packet, ${conditions(run)}:\n\n${batchTable(run)}${workTables(run)}`,
  );
  return [
    chart('batch', 'Time per packet by batch size'),
    chart('ratio', `Time per packet relative to C at batch ${COMPARED_BATCH}`),
    ...parts,
  ].join('\n\n');
}

/** What one should know of a run before believing it. */
function conditions({ rounds, checkedPackets, hugepages, loadPerProcessor, cells }: CoreRun): string {
  const spread = cells.map(({ p25, nsPerPacket, p75 }) => (p75 - p25) / nsPerPacket).sort((a, b) => a - b);
  return (
    `medians of ${rounds} rounds (quartiles ${percent(spread[spread.length >> 1] ?? 0)} apart, mostly), ` +
    `${count(checkedPackets)} packets checked, ${hugepages ? 'with' : 'without'} hugepages, ` +
    `load at the start ${figure(loadPerProcessor)} per processor`
  );
}

const RATIOS = ['general', 'pipe'] as const;

function batchTable(run: CoreRun): string {
  const subjects = (Object.keys(SUBJECT_TITLES) as SubjectName[]).filter((name) =>
    run.cells.some(({ subject, cold }) => subject === name && cold !== true && !isLook(name)),
  );
  const ratios = RATIOS.filter((name) => subjects.includes(name) && subjects.includes('c-ixy'));
  const warm = run.cells.filter(({ cold }) => cold !== true);
  const batches = [...new Set(warm.map(({ batch }) => batch))].sort((a, b) => a - b);
  const cell = (value: number | undefined, text: (value: number) => string): string =>
    value === undefined ? '' : text(value);
  return table(
    ['batch', ...subjects.map((name) => SUBJECT_TITLES[name]), ...ratios.map((name) => `${name} / C`)],
    batches.map((batch) => [
      String(batch),
      ...subjects.map((name) => cell(nsOf(run, name, batch), figure)),
      ...ratios.map((name) => cell(ratioToIxy(run, name, batch), (ratio) => ratio.toFixed(2))),
    ]),
  );
}

function isLook(name: SubjectName): boolean {
  return name.endsWith('look');
}

/** A row a forwarder: nanoseconds, and the ratio to C with the same work. Empty where it was not measured. */
function workTable(run: CoreRun, caption: string, chosen: (cell: Cell) => boolean): string {
  const cells = run.cells.filter(chosen);
  if (cells.length === 0) return '';
  const batches = [...new Set(cells.map(({ batch }) => batch))].sort((a, b) => a - b);
  const subjects = SUBJECT_NAMES.filter((name) => cells.some(({ subject }) => subject === name));
  const text = ({ nsPerPacket, ratioToIxy }: Cell): string =>
    ratioToIxy === undefined ? figure(nsPerPacket) : `${figure(nsPerPacket)} (${ratioToIxy.toFixed(2)})`;
  const rows = subjects.map((name) => [
    SUBJECT_TITLES[name],
    ...batches.map((batch) => {
      const found = cells.find((cell) => cell.subject === name && cell.batch === batch);
      return found === undefined ? '' : text(found);
    }),
  ]);
  return `\n\n${caption}\n\n${table(['forwarder', ...batches.map((batch) => `batch ${batch}`)], rows)}`;
}

/** What applications do, and what it costs when nothing is in the caches. */
function workTables(run: CoreRun): string {
  return (
    workTable(
      run,
      'With a look at EtherType, IPv4 destination and UDP port of each packet, ns per packet (ratio to C with the same look):',
      ({ subject, cold }) => isLook(subject) && cold !== true,
    ) +
    workTable(
      run,
      'With nothing in the caches (rings of 4096, frames of 1514 bytes, 64 MiB read in between), ns per packet (ratio to C):',
      ({ cold }) => cold === true,
    )
  );
}

/** The ratios that matter, at one batch size. */
export function ratioTable(result: BenchResult): string {
  const runs = result.core?.runs ?? [];
  if (runs.length === 0) return NOT_MEASURED;
  const text = (ratio: number | undefined): string => ratio?.toFixed(2) ?? '';
  return table(
    ['Node.js', 'general / C', 'pipe / C', 'general / C at batch 1', 'general / C, spread', 'pipe / C pipe'],
    runs.map((run) => [
      run.node,
      text(ratioToIxy(run, 'general', COMPARED_BATCH)),
      text(ratioToIxy(run, 'pipe', COMPARED_BATCH)),
      text(ratioToIxy(run, 'general', 1)),
      text(ratioToSpread(run, 'general', COMPARED_BATCH)),
      text(ratioToCPipe(run, 'pipe', COMPARED_BATCH)),
    ]),
  );
}

export function steadinessTable(result: BenchResult): string {
  const runs = (result.core?.runs ?? []).filter(({ steadiness }) => steadiness.length > 0);
  if (runs.length === 0) return NOT_MEASURED;
  const rows = runs.flatMap((run) =>
    run.steadiness.map(({ path, packets, heapGrowthBytes, collections, gapsNs }) => [
      `${run.node}, ${path}`,
      count(packets),
      count(heapGrowthBytes),
      String(collections),
      ...[gapsNs.p50, gapsNs.p99, gapsNs.p999, gapsNs.p9999, gapsNs.max].map(duration),
    ]),
  );
  const header = ['', 'packets', 'heap growth, bytes', 'collections', 'p50', 'p99', 'p99.9', 'p99.99', 'max'];
  const main = mainRun(result)?.steadiness ?? [];
  return [...(main.length > 0 ? [chart('gaps', 'Time between two polls')] : []), table(header, rows)].join(
    '\n\n',
  );
}

export function alternativesTable(result: BenchResult): string {
  const rows = measuredRows(result);
  if (rows.length === 0) return NOT_MEASURED;
  const header = ['', 'frame', 'ns per packet', 'packets/s', 'limit', 'copies', 'system calls per packet'];
  const disturbed = rows.some(isDisturbed);
  const part = (job: Measured['job']): string =>
    table(
      header,
      rows
        .filter((row) => row.job === job)
        .sort((a, b) => WAY_NAMES.indexOf(a.way) - WAY_NAMES.indexOf(b.way))
        .map((row) => [
          plainTitle(row.way),
          `${row.sizeBytes}`,
          figure(row.nsPerPacket),
          scaled(row.packetsPerSecond) + (isDisturbed(row) ? ' *' : ''),
          row.limit ?? '',
          String(row.copies),
          row.callsPerPacket < 0.0005 ? '0' : row.callsPerPacket.toFixed(3),
        ]),
    );
  return [
    chart('alternatives', 'Forwarded packets per second of one core'),
    'Forwarding:',
    part('forward'),
    ...(rows.some(({ job }) => job === 'receive') ? ['Receiving only:', part('receive')] : []),
    ...(disturbed ? [DISTURBED_LINE] : []),
    ...skippedLines(result),
  ].join('\n\n');
}

function isDisturbed(row: Measured): boolean {
  return (row.forwarderWaited ?? 0) > DISTURBED_SHARE;
}

function skippedLines(result: BenchResult): string[] {
  return (result.alternatives ?? []).flatMap((row) =>
    'skipped' in row ? [`${plainTitle(row.way)}: not measured, ${row.skipped}.`] : [],
  );
}

function plainTitle(way: WayName): string {
  return WAYS[way].title;
}

/** Where copies and system calls come from. */
export function countsTable(): string {
  return table(
    ['', 'copies', 'system calls'],
    (Object.values(WAYS) as Way[]).map((way) => {
      const received =
        way.receive === undefined ? '' : `received ${way.receive.copies}: ${way.receive.why}; `;
      return [way.title, `${received}forwarded ${way.forward.copies}: ${way.forward.why}`, way.calls];
    }),
  ).replaceAll('---:', '---');
}

/** Who waited for whom when `fwd` ran on emulated ports. */
export function emulatedTable(result: BenchResult): string {
  const rows = measuredRows(result).filter(({ way }) => way === 'emulated');
  if (rows.length === 0) return NOT_MEASURED;
  const share = (value: number | undefined): string => (value === undefined ? '' : percent(value));
  return table(
    [
      'frame, bytes',
      'packets/s',
      'empty polls',
      'packets per other poll',
      'forwarder idle',
      'emulator idle',
      'limit',
    ],
    rows.map((row) => [
      String(row.sizeBytes),
      scaled(row.packetsPerSecond),
      share(row.emptyPolls),
      row.packetsPerPoll === undefined ? '' : figure(row.packetsPerPoll),
      share(row.forwarderIdle),
      share(row.sourceIdle),
      row.limit === 'source' ? 'emulator' : 'forwarder',
    ]),
  );
}

/** What one copy costs, size by size. */
export function copyTable(result: BenchResult): string {
  const rows = measuredRows(result);
  const pairs = rows
    .filter(({ way }) => way === 'look')
    .flatMap((without) => {
      const copied = rows.find(({ way, sizeBytes }) => way === 'copy' && sizeBytes === without.sizeBytes);
      return copied === undefined ? [] : [{ without, copied }];
    });
  if (pairs.length === 0) return NOT_MEASURED;
  return table(
    ['frame, bytes', 'no copy, ns', 'one copy, ns', 'the copy, ns', 'times'],
    pairs.map(({ without, copied }) => [
      String(without.sizeBytes),
      figure(without.nsPerPacket),
      figure(copied.nsPerPacket),
      figure(Math.max(0, copied.nsPerPacket - without.nsPerPacket)),
      (copied.nsPerPacket / without.nsPerPacket).toFixed(2),
    ]),
  );
}

/** What the README says: the comparison with C, and one row for each way with the smallest frames. */
export function summaryTable(result: BenchResult): string {
  const sentences = (result.core?.runs ?? []).flatMap((run) => {
    const [c, general, pipe] = (['c-ixy', 'general', 'pipe'] as const).map((name) =>
      nsOf(run, name, COMPARED_BATCH),
    );
    if (c === undefined || general === undefined || pipe === undefined) return [];
    const times = (ns: number): string => `${duration(ns)} (${(ns / c).toFixed(2)} times)`;
    return [
      `- Node ${run.node}: C ${duration(c)}, Barewire's general path ${times(general)}, its pipe ${times(pipe)}`,
    ];
  });
  const rows = measuredRows(result)
    .filter(({ job, sizeBytes, way }) => job === 'forward' && sizeBytes === SIZES_BYTES[0] && way !== 'look')
    .sort((a, b) => WAY_NAMES.indexOf(a.way) - WAY_NAMES.indexOf(b.way))
    .map((row) => [
      plainTitle(row.way),
      figure(row.nsPerPacket),
      String(row.copies),
      row.callsPerPacket < 0.0005 ? '0' : row.callsPerPacket.toFixed(3),
    ]);
  if (sentences.length === 0 && rows.length === 0) return NOT_MEASURED;
  return [
    ...(sentences.length === 0
      ? []
      : [`Time per packet, forwarding both ways in batches of ${COMPARED_BATCH}:`, sentences.join('\n')]),
    ...(rows.length === 0
      ? []
      : [
          `Forwarding frames of ${SIZES_BYTES[0]} bytes with Node ${result.node}:`,
          table(['', 'ns per packet', 'copies', 'system calls per packet'], rows),
        ]),
  ].join('\n\n');
}

/** What docs/xdp.md compares: the kernel's ways, and what a device without the kernel's help costs. */
const INTERFACE_WAYS: readonly WayName[] = ['dgram', 'packet', 'ring', 'xdpC', 'xdp', 'emulated', 'general'];
const INTERFACE_SIZES: readonly number[] = [64, 1514];

/** Forwarding between two interfaces by each way, with the ratio to AF_XDP in C. */
export function interfacesTable(result: BenchResult): string {
  const rows = measuredRows(result).filter(({ job, sizeBytes }) => {
    return job === 'forward' && INTERFACE_SIZES.includes(sizeBytes);
  });
  if (!rows.some(({ way }) => way === 'xdp')) return NOT_MEASURED;
  const { cpu, kernel } = result.machine;
  const inC = (sizeBytes: number): number | undefined =>
    rows.find((row) => row.way === 'xdpC' && row.sizeBytes === sizeBytes)?.nsPerPacket;
  const cells = INTERFACE_WAYS.flatMap((way) =>
    rows
      .filter((row) => row.way === way)
      .map((row) => [
        plainTitle(way),
        `${row.sizeBytes}`,
        figure(row.nsPerPacket),
        row.way === 'xdp' ? ratioText(row.nsPerPacket, inC(row.sizeBytes)) : '',
        scaled(row.packetsPerSecond) + (isDisturbed(row) ? ' *' : ''),
        String(row.copies),
        row.callsPerPacket < 0.0005 ? '0' : row.callsPerPacket.toFixed(3),
      ]),
  );
  const header = ['', 'frame', 'ns per packet', '/ C', 'packets/s', 'copies', 'system calls per packet'];
  return [
    `Forwarding on one processor (${cpu}, Linux ${kernel}, Node.js ${result.node}):`,
    table(header, cells),
    ...(rows.some(isDisturbed) ? [DISTURBED_LINE] : []),
  ].join('\n\n');
}

function ratioText(ns: number, inC: number | undefined): string {
  return inC === undefined ? '' : (ns / inC).toFixed(2);
}

export const SECTIONS: Readonly<Record<string, (result: BenchResult) => string>> = {
  machine: machineTable,
  core: coreTable,
  ratios: ratioTable,
  steadiness: steadinessTable,
  alternatives: alternativesTable,
  counts: countsTable,
  emulated: emulatedTable,
  copy: copyTable,
  interfaces: interfacesTable,
  summary: summaryTable,
};
