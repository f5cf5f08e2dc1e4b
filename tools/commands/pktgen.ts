/**
 * `barewire pktgen PORT`: sends frames from prefilled buffers, at full speed or at a rate; with `--rx` checks what arrives at
 * another port, and accounts for each frame; with `--script` does what a module says.
 */
import { type Command, Option } from 'commander';
import { NicError } from '../../src/errors.js';
import { PACINGS, type Pacing, portsOf, type TrafficScript, writeDryRun } from '../../src/traffic/index.js';
import { collectAddress, deviceAddress, PORT_FORMS } from '../addresses.js';
import { addFlowOptions, type FlowArguments, flowOf } from '../flow-options.js';
import { Generator } from '../generator.js';
import { addInterfaceOptions, type InterfaceOptions } from '../interface-options.js';
import { openJunit } from '../junit.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print } from '../output.js';
import { differentFiles, openReportFile } from '../report-file.js';
import { loadScript } from '../script-file.js';
import { stopOnSignals } from '../stop-signals.js';
import { addCopyOptions, type CopyOptions, checkCopies, openCopies } from '../tap-options.js';
import { TrafficCapture } from '../traffic-capture.js';
import { trafficPorts } from '../traffic-ports.js';
import { runTraffic } from '../traffic-run.js';

interface Options extends FlowArguments, InterfaceOptions, CopyOptions {
  readonly mtu?: number;
  readonly ring?: number;
  readonly duration?: number;
  readonly batch: number;
  readonly script?: string;
  readonly rx?: string;
  readonly timeStamps?: true;
  readonly settle?: number;
  readonly expectNoLoss?: true;
  readonly catchUp?: number;
  readonly lineRate?: number;
  readonly pacing?: Pacing;
  readonly dryRun?: string;
  readonly junit?: string;
  readonly report?: string;
  readonly json?: true;
}

export function register(program: Command): void {
  const command = program
    .command('pktgen')
    .description('send frames, and account for those that arrive')
    .argument('[PORT...]', `${PORT_FORMS}; several with --script`, collectAddress);
  addFlowOptions(command)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--script <file>', 'traffic.ts or .mjs with flows of its own, see docs/traffic.md')
    .option('--rx <port>', 'check what arrives at this port: losses, latency, order', deviceAddress)
    .option('--time-stamps', 'frames tell when they were sent, for "sink --latency" (with --rx they do)')
    .option(
      '--settle <time>',
      'nothing is under way when nothing has come for so long (default: 200ms)',
      durationMs,
    )
    .option('--expect-no-loss', 'exit with status 1 where a frame was lost, came twice or is unexplained')
    .option('--catch-up <time>', 'a pause longer than this is not made up for (default: 10ms)', durationMs)
    .option(
      '--line-rate <bits>',
      "speed of the line for rates in percent and for fillers, such as 1G (default: the link's)",
      rate,
    )
    .addOption(
      new Option(
        '--pacing <how>',
        'what spaces the frames: this process, the rate of a queue where the card has one (82599), or frames of wrong FCS in the gaps (82576, 82599); see docs/traffic.md (default: software)',
      ).choices(PACINGS),
    )
    .option(
      '--dry-run <file>',
      'write the frames to a file (pcap, else pcapng; packed in .gz), with the times they are due at; needs no port',
    )
    .option('--junit <file>', 'write a report for CI: a case for each phase')
    .option('--report <file>', 'write a page with charts (HTML)')
    .option('--force', 'replace the files that --dry-run, --junit, --report and --capture name')
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .option(
      '--ring <n>',
      "receive descriptors of a port that checks (default: the driver's)",
      positiveInteger,
    )
    .option('--batch <n>', 'most frames sent at a time', integerBetween(1, 256), 32)
    .option('--json', 'print JSON lines')
    .action(run);
  addCopyOptions(command, 'what is sent and received');
  addInterfaceOptions(command);
}

async function run(ports: readonly string[], options: Options, command: Command): Promise<void> {
  if (options.dryRun !== undefined) {
    await dryRun(options.dryRun, ports, options);
    return;
  }
  checkCopies(options);
  if (options.script !== undefined) {
    await runScript(options.script, ports, options, command);
    return;
  }
  const [port, ...more] = ports;
  if (port === undefined)
    throw refused("missing required argument 'PORT'", 'Give a port, --script or --dry-run FILE.');
  if (more.length > 0)
    throw refused('more than one port', 'Give one, and --rx for a port that checks; a --script has several.');
  if (options.force && (options.junit ?? options.report ?? options.capture) === undefined)
    throw refused(
      '--force is for files that are written',
      'Leave it out, or give --dry-run, --junit, --report or --capture.',
    );
  const { rx } = options;
  if (rx === undefined) {
    for (const name of ['settle', 'ring', 'expectNoLoss'] as const) {
      if (options[name] !== undefined)
        throw refused(
          `--${name === 'expectNoLoss' ? 'expect-no-loss' : name} is for runs that are checked`,
          'Leave it out, or give --rx.',
        );
    }
  }
  const { rate } = options;
  if (options.catchUp !== undefined && (rate ?? options.burstGap) === undefined)
    throw refused('--catch-up is for frames that are due at a time', 'Leave it out, or give --rate.');
  checkPacing(options);
  if (options.lineRate !== undefined && rate?.endsWith('%') !== true && options.pacing !== 'filler')
    throw refused(
      '--line-rate is for a rate in percent, and for --pacing filler',
      'Leave it out, or give --rate such as 50%.',
    );
  const flow = flowOf(options, options.timeStamps === true || rx !== undefined);
  const addresses = rx === undefined || rx === port ? [port] : [port, rx];
  const checked = rx === undefined ? [] : [addresses.length - 1];
  await generate(addresses, new Set(checked), { flows: [flow], checked }, options);
}

function checkPacing({ pacing, rate, burstGap, catchUp }: Options): void {
  if (pacing === undefined || pacing === 'software') return;
  if ((rate ?? burstGap) === undefined)
    throw refused(`--pacing ${pacing} is for frames that are due at a time`, 'Leave it out, or give --rate.');
  if (pacing === 'hardware' && catchUp !== undefined)
    throw refused('--catch-up does nothing with --pacing hardware', 'Leave one of them out.');
}

async function runScript(
  path: string,
  ports: readonly string[],
  options: Options,
  command: Command,
): Promise<void> {
  const useful = [
    'script',
    'batch',
    'catchUp',
    'lineRate',
    'pacing',
    'settle',
    'expectNoLoss',
    'mtu',
    'ring',
    'junit',
    'report',
    'capture',
    'captureFilter',
    'snapLength',
    'gzip',
    'force',
    'json',
    'duration',
    'only',
    'takeDefaultRoute',
    'interfaceMode',
    'busyPoll',
  ];
  const idle = command.options.find(
    (option) =>
      !useful.includes(option.attributeName()) &&
      command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (idle !== undefined)
    throw refused(`${idle.long} does nothing with --script`, 'Leave it out, or put it into the script.');
  const script = await loadScript(path);
  const needed = portsOf(script);
  if (ports.length < needed)
    throw refused(
      `${path} needs ${needed} ports, and ${ports.length} were given`,
      'Name the ports in order.',
    );
  await generate(ports, new Set(ports.keys()), script, options);
}

/** Opens the ports, those that check so that they take every frame, and runs the traffic on them. */
async function generate(
  addresses: readonly string[],
  checking: ReadonlySet<number>,
  script: TrafficScript,
  options: Options,
): Promise<void> {
  const ports = trafficPorts(addresses, checking, options);
  const { junit, report, force = false, capture: file, captureFilter, snapLength } = options;
  differentFiles({ '--junit': junit, '--report': report, '--capture': file });
  const writeReport = junit === undefined ? undefined : openJunit(junit, force);
  const writePage = report === undefined ? undefined : openReportFile(report, force);
  let capture: TrafficCapture | undefined;
  try {
    await runTraffic(
      ports,
      (devices, clock) => {
        if (file !== undefined) {
          const copied = { filter: captureFilter, snapBytes: snapLength };
          capture = new TrafficCapture(devices, copied, clock, (described) =>
            openCopies(file, options, described),
          );
        }
        return new Generator(
          devices,
          script,
          {
            batch: options.batch,
            json: options.json ?? false,
            expectNoLoss: options.expectNoLoss ?? false,
            ...(writeReport === undefined ? {} : { writeReport }),
            ...(writePage === undefined ? {} : { writePage }),
            ...(capture === undefined ? {} : { capture }),
            ...(options.settle === undefined ? {} : { settleMs: options.settle }),
            ...(options.catchUp === undefined ? {} : { catchUpMs: options.catchUp }),
            ...(options.lineRate === undefined ? {} : { lineBitsPerS: options.lineRate }),
            ...(options.pacing === undefined ? {} : { pacing: options.pacing }),
          },
          clock,
        );
      },
      options,
    );
  } finally {
    capture?.close();
  }
}

async function dryRun(path: string, ports: readonly string[], options: Options): Promise<void> {
  const given = Object.entries({
    PORT: ports[0],
    '--script': options.script,
    '--rx': options.rx,
    '--settle': options.settle,
    '--expect-no-loss': options.expectNoLoss,
    '--catch-up': options.catchUp,
    '--pacing': options.pacing,
    '--mtu': options.mtu,
    '--ring': options.ring,
    '--junit': options.junit,
    '--report': options.report,
    '--capture': options.capture,
    '--capture-filter': options.captureFilter,
    '--snap-length': options.snapLength,
    '--only': options.only,
    '--take-default-route': options.takeDefaultRoute,
    '--interface-mode': options.interfaceMode,
    '--busy-poll': options.busyPoll,
  }).filter(([, value]) => value !== undefined);
  if (given.length > 0) throw refused(`${given[0]![0]} does nothing with --dry-run`, 'Leave it out.');
  const flow = flowOf(options, options.timeStamps === true);
  const timed = options.duration === undefined ? flow : { ...flow, durationMs: options.duration };
  const stop = stopOnSignals();
  const written = writeDryRun(path, [timed], {
    signal: stop.signal,
    overwrite: options.force ?? false,
    ...(options.gzip === undefined ? {} : { packing: 'gzip' }),
    ...(options.lineRate === undefined ? {} : { lineBitsPerS: options.lineRate }),
  });
  const frames = await written.finally(() => stop.dispose());
  print(
    options.json ? JSON.stringify({ type: 'dry-run', path, frames }) : `${frames} frames written to ${path}`,
  );
}

function refused(message: string, hint: string): NicError {
  return new NicError('BAD_OPTION', message, { hint });
}
