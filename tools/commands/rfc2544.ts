/** `barewire rfc2544 TX RX`: measures what a device between two ports passes on, as RFC 2544 says. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Clock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import {
  RFC2544_SIZES,
  RFC2544_TESTS,
  Rfc2544,
  type Rfc2544Options,
  type Rfc2544Test,
  type TrialReport,
} from '../../src/traffic/index.js';
import { deviceAddress, PORT_FORMS } from '../addresses.js';
import { addAddressOptions, type FlowArguments, flowOf } from '../flow-options.js';
import { addInterfaceOptions, type InterfaceOptions } from '../interface-options.js';
import { type JunitCase, openJunit } from '../junit.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print, printError, warn } from '../output.js';
import { differentFiles, openReportFile } from '../report-file.js';
import { rfc2544Page } from '../rfc2544-page.js';
import { junitCases, percentText, rfc2544Lines, trialLine } from '../rfc2544-report.js';
import { AlreadyReported } from '../run-command.js';
import { trafficPorts } from '../traffic-ports.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

/** A share of the line that is so low is none of a busy machine's. */
const SLOW_LINE = 0.5;

interface Options extends FlowArguments, InterfaceOptions {
  readonly sizes?: readonly number[];
  readonly tests?: readonly Rfc2544Test[];
  readonly search: 'binary' | 'mlr';
  readonly trial?: number;
  readonly settle?: number;
  readonly tolerance?: number;
  readonly repeat?: number;
  readonly lineRate?: number;
  readonly expect?: number;
  readonly junit?: string;
  readonly report?: string;
  readonly force?: true;
  readonly mtu?: number;
  readonly ring?: number;
  readonly json?: true;
}

export function register(program: Command): void {
  const command = program
    .command('rfc2544')
    .description('measure the device between two ports: throughput, latency, loss, bursts (RFC 2544)')
    .argument('<TX>', `sends: ${PORT_FORMS}`, deviceAddress)
    .argument('<RX>', 'receives what comes out of the device', deviceAddress)
    .option('--sizes <list>', `frame sizes with FCS (default: ${RFC2544_SIZES.join(',')})`, sizeList)
    .option('--tests <list>', `which (default: ${RFC2544_TESTS.join(',')})`, testList)
    .addOption(
      new Option('--search <how>', 'mlr finds the loads with no loss and with 0.5 %, binary the first only')
        .choices(['mlr', 'binary'])
        .default('mlr'),
    )
    .option('--trial <time>', 'length of a trial (default: 10 s; the RFC asks for 60)', durationMs)
    .option(
      '--settle <time>',
      'a trial has ended when nothing has come for so long (default: 200ms)',
      durationMs,
    )
    .option(
      '--tolerance <percent>',
      'of the line, between what passes and what does not (default: 0.5%)',
      percent,
    )
    .option('--repeat <n>', 'trials of each load (default: 1)', positiveInteger)
    .option('--line-rate <bits>', "speed of the line, such as 1G (default: the link's)", rate)
    .option('--expect <percent>', 'exit with status 1 where less of the line passes at any size', percent)
    .option('--junit <file>', 'write a report for CI')
    .option('--report <file>', 'write a page with charts (HTML)')
    .option('--force', 'replace the files that --junit and --report name');
  addAddressOptions(command)
    .option(
      '--mtu <bytes>',
      'largest layer 3 packet (default: what 2 KiB buffers hold)',
      integerBetween(64, 16_384),
    )
    .option(
      '--ring <n>',
      "receive descriptors of a port that checks (default: the driver's)",
      positiveInteger,
    )
    .option('--json', 'print JSON lines')
    .action(run);
  addInterfaceOptions(command);
}

async function run(tx: string, rx: string, options: Options): Promise<void> {
  const { junit, report, force = false } = options;
  if (force && junit === undefined && report === undefined)
    throw new NicError('BAD_OPTION', '--force is for files that are written', {
      hint: 'Leave it out, or give --junit or --report.',
    });
  const { tests = RFC2544_TESTS, expect } = options;
  if (expect !== undefined && !tests.includes('throughput') && !tests.includes('latency'))
    throw new NicError('BAD_OPTION', `--expect is about throughput, and --tests ${tests} measures none`, {
      hint: 'Leave it out, or give --tests throughput as well.',
    });
  differentFiles({ '--junit': junit, '--report': report });
  const addresses = tx === rx ? [tx] : [tx, rx];
  const ports = trafficPorts(addresses, new Set([addresses.length - 1]), options);
  const write = {
    junit: junit === undefined ? undefined : openJunit(junit, force),
    page: report === undefined ? undefined : openReportFile(report, force),
  };
  await runTraffic(ports, (devices, clock) => new Rfc2544Traffic(devices, options, write, clock), options);
}

/** Reports that were asked for. */
interface Reports {
  readonly junit: ((suite: string, cases: readonly JunitCase[]) => void) | undefined;
  readonly page: ((page: string) => void) | undefined;
}

/** Runs the benchmark in place of a table of rates: a line for each trial, and the results at the end. */
class Rfc2544Traffic implements Traffic {
  /** The plan goes on when a time has passed, not only when a frame comes. */
  readonly wakeOn = [];
  readonly report = [];
  readonly #benchmark: Rfc2544;
  readonly #options: Options;
  readonly #write: Reports;

  constructor(devices: readonly NetDevice[], options: Options, write: Reports, clock: Clock) {
    this.#options = options;
    this.#write = write;
    this.#benchmark = new Rfc2544(devices[0]!, devices.at(-1)!, { ...benchmarkOptions(options), clock });
  }

  get done(): boolean {
    return this.#benchmark.done;
  }

  poll(): number {
    return this.#benchmark.poll();
  }

  afterTotals(): void {
    const { json, expect = 0 } = this.#options;
    const { reports, lostHere, heldUp, done } = this.#benchmark;
    if (json) print(JSON.stringify({ type: 'rfc2544', lostHere, heldUp, sizes: reports }));
    else for (const line of rfc2544Lines(this.#benchmark)) print(line);
    const cases: JunitCase[] = junitCases(reports, expect);
    for (const { name, failure } of cases)
      if (failure !== undefined) printError(`${name}: ${failure}`, undefined);
    const ended = 'the benchmark was ended before it had all results';
    if (!done) cases.push({ name: 'all sizes', failure: ended });
    this.#write.junit?.('rfc2544', cases);
    this.#write.page?.(rfc2544Page(this.#benchmark, cases));
    if (!done)
      throw new NicError('DEVICE_STATE', ended, {
        hint: 'Let it run to its end; fewer --sizes, other --tests and a shorter --trial make it shorter.',
      });
    if (cases.some(({ failure }) => failure !== undefined)) throw new AlreadyReported();
  }
}

function benchmarkOptions(options: Options): Rfc2544Options {
  const { sizes, tests, search, trial, settle, tolerance, repeat, lineRate, json } = options;
  return {
    search,
    flow: flowOf(options, true),
    onTrial: (report: TrialReport) => {
      print(json ? JSON.stringify({ type: 'trial', ...report }) : trialLine(report));
      if (
        report.test === 'warm-up' &&
        report.load >= 1 &&
        report.offered < SLOW_LINE &&
        lineRate === undefined
      )
        warn(
          `the line took ${percentText(report.offered)} of what the link says it carries`,
          'Give what it carries (--line-rate 100M), else loads are shares of a line that there is not.',
        );
    },
    ...(sizes === undefined ? {} : { sizesBytes: sizes }),
    ...(tests === undefined ? {} : { tests }),
    ...(trial === undefined ? {} : { trialMs: trial }),
    ...(settle === undefined ? {} : { settleMs: settle }),
    ...(tolerance === undefined ? {} : { tolerance }),
    ...(repeat === undefined ? {} : { repetitions: repeat }),
    ...(lineRate === undefined ? {} : { lineBitsPerS: lineRate }),
  };
}

function sizeList(text: string): number[] {
  return text.split(',').map(integerBetween(64, 16_384));
}

function testList(text: string): Rfc2544Test[] {
  return text.split(',').map((name) => {
    const found = RFC2544_TESTS.find((test) => test === name);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`It must be some of ${RFC2544_TESTS.join(',')}.`);
  });
}

/** Option value: `0.5%`, as a share. */
function percent(text: string): number {
  const value = /^([0-9]+(?:\.[0-9]+)?)%?$/.exec(text)?.[1];
  const share = Number(value) / 100;
  if (share > 0 && share <= 1) return share;
  throw new InvalidArgumentError('It must be a percentage above 0 and at most 100, such as 0.5%.');
}
