/**
 * `barewire pktgen PORT`: sends frames from prefilled buffers, at full speed or at a rate; with `--rx` checks what arrives at
 * another port, and accounts for each frame.
 */
import type { Command } from 'commander';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { writeDryRun } from '../../src/traffic/index.js';
import { deviceAddress, pageSizeFor } from '../addresses.js';
import { addFlowOptions, type FlowArguments, flowOf } from '../flow-options.js';
import { Generator } from '../generator.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print } from '../output.js';
import { runTraffic } from '../traffic-run.js';

interface Options extends FlowArguments {
  readonly mtu?: number;
  readonly duration?: number;
  readonly batch: number;
  readonly rx?: string;
  readonly timeStamps?: true;
  readonly settle?: number;
  readonly expectNoLoss?: true;
  readonly catchUp?: number;
  readonly lineRate?: number;
  readonly dryRun?: string;
  readonly force?: true;
  readonly json?: true;
}

export function register(program: Command): void {
  const command = program
    .command('pktgen')
    .description('send frames, and account for those that arrive')
    .argument('[PORT]', 'PCI address or vfio-user:/path.sock', deviceAddress);
  addFlowOptions(command)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
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
      "speed of the line for rates in percent, such as 1G (default: the link's)",
      rate,
    )
    .option(
      '--dry-run <file>',
      'write the frames to a file (pcap, else pcapng), with the times they are due at; needs no port',
    )
    .option('--force', 'replace the file that --dry-run names')
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .option('--batch <n>', 'most frames sent at a time', integerBetween(1, 256), 32)
    .option('--json', 'print JSON lines')
    .action(run);
}

async function run(port: string | undefined, options: Options): Promise<void> {
  if (options.dryRun !== undefined) {
    dryRun(options.dryRun, port, options);
    return;
  }
  if (port === undefined)
    throw refused("missing required argument 'PORT'", 'Give a port, or --dry-run FILE.');
  if (options.force)
    throw refused('--force is for files that are written', 'Leave it out, or give --dry-run.');
  const { rx } = options;
  if (rx === undefined) {
    for (const name of ['settle', 'expectNoLoss'] as const) {
      if (options[name] !== undefined)
        throw refused(
          `--${name === 'settle' ? name : 'expect-no-loss'} is for runs that are checked`,
          'Leave it out, or give --rx.',
        );
    }
  }
  const flow = flowOf(options, options.timeStamps === true || rx !== undefined);
  const addresses = rx === undefined || rx === port ? [port] : [port, rx];
  await runTraffic(
    addresses.map(
      (address) => (signal: AbortSignal) =>
        open(address, {
          pageSize: pageSizeFor(addresses),
          signal,
          ...(address === rx ? { promiscuous: true } : {}),
          ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
        }),
    ),
    (devices, clock) =>
      new Generator(
        devices[0],
        rx === undefined ? undefined : devices.at(-1),
        {
          flows: [flow],
          sharedClock: true,
          batch: options.batch,
          json: options.json ?? false,
          expectNoLoss: options.expectNoLoss ?? false,
          ...(options.settle === undefined ? {} : { settleMs: options.settle }),
          ...(options.catchUp === undefined ? {} : { catchUpMs: options.catchUp }),
          ...(options.lineRate === undefined ? {} : { lineBitsPerS: options.lineRate }),
        },
        clock,
      ),
    options,
  );
}

function dryRun(path: string, port: string | undefined, options: Options): void {
  const given = Object.entries({
    PORT: port,
    '--rx': options.rx,
    '--settle': options.settle,
    '--expect-no-loss': options.expectNoLoss,
    '--catch-up': options.catchUp,
    '--mtu': options.mtu,
  }).filter(([, value]) => value !== undefined);
  if (given.length > 0) throw refused(`${given[0]![0]} does nothing with --dry-run`, 'Leave it out.');
  const flow = flowOf(options, options.timeStamps === true);
  const timed = options.duration === undefined ? flow : { ...flow, durationMs: options.duration };
  const frames = writeDryRun(path, [timed], {
    overwrite: options.force ?? false,
    ...(options.lineRate === undefined ? {} : { lineBitsPerS: options.lineRate }),
  });
  print(
    options.json ? JSON.stringify({ type: 'dry-run', path, frames }) : `${frames} frames written to ${path}`,
  );
}

function refused(message: string, hint: string): NicError {
  return new NicError('BAD_OPTION', message, { hint });
}
