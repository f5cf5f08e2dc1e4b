/** fwd, pktgen and emulate used wrongly: exit 2, one line, one hint, and no device was touched. */
import { Command } from 'commander';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { onHugepageWarning } from '../../src/hugepage/dma-region.js';
import * as emulate from '../../tools/commands/emulate.js';
import * as fwd from '../../tools/commands/fwd.js';
import * as pktgen from '../../tools/commands/pktgen.js';
import { prepareProgram, run } from '../../tools/run-command.js';
import { captureLines } from '../support/capture.js';

const usage = suite('fwd, pktgen and emulate: usage');
onHugepageWarning(() => {});

/** Runs the command in this process, as the bin does; returns its exit status and what it printed to stderr. */
async function command(args: readonly string[]): Promise<{ status: number; lines: string[] }> {
  const program = prepareProgram(new Command('barewire'));
  fwd.register(program);
  pktgen.register(program);
  emulate.register(program);
  let status = -1;
  const lines = await captureLines(async () => {
    status = await run(program, args);
  }, process.stderr);
  return { status, lines };
}

const [A, B] = ['03:00.0', '03:00.1'];

for (const [args, message] of [
  [['fwd', A], 'one port is not enough'],
  [['fwd', A, B, '--rate', '1000'], '--rate and --size are for emulated ports'],
  [['fwd', A, B, '--size', '128'], '--rate and --size are for emulated ports'],
  [['fwd', A, A], '0000:03:00.0 is given twice'],
  [['fwd', A, '0000:03:00.0'], '0000:03:00.0 is given twice'],
  [['fwd', A, 'eth0'], '"eth0" is not a device address'],
  [['fwd', A, B, '--ring', '100'], 'power of two'],
  [['fwd', A, B, '--ring', '32'], 'power of two from 64 to 4096'],
  [['fwd', A, B, '--ring', '8192'], 'power of two from 64 to 4096'],
  [['fwd', A, B, '--batch', '0'], 'from 1 to 256'],
  [['fwd', A, B, '--queues', '9'], 'from 1 to 8'],
  [['fwd', A, B, '--path', 'fast'], 'auto, pipe, general'],
  [['fwd', A, B, '--duration', '0'], 'a time above 0'],
  [['pktgen'], "missing required argument 'PORT'"],
  [['pktgen', A, '--size', '63'], 'from 64 to 1518'],
  [['pktgen', A, '--size', '1519'], 'from 64 to 1518'],
  [['pktgen', A, '--dst-mac', '02:00:00:00:00'], 'MAC address such as'],
  [['pktgen', A, '--dst-mac', '02:00:00:00:00:0g'], 'MAC address such as'],
  [['pktgen', A, '--rate', '0'], 'a number above 0'],
  [['pktgen', A, '--count', '-1'], 'whole number'],
  [['emulate', '--link', 'wire'], 'traffic, cable, none, tap:NAME'],
  [['emulate', '--link', 'cable', '--ports', '3'], '3 ports cannot be joined in pairs'],
  [['emulate', '--ports', '1', '--socket', 'a', '--socket', 'b'], '2 sockets for 1 ports'],
  [['emulate', '--device', '10c9'], 'one of 10fb'],
  [['emulate', '--bandwidth', '0'], 'a number above 0'],
  [['emulate', '--delay', '5'], 'a time with its unit'],
  [['emulate', '--loss', '1.5'], 'from 0 to 1'],
  [['emulate', '--damage', 'x'], 'from 0 to 1'],
  [['emulate', '--lossless', '--loss', '0.1'], "'--lossless' cannot be used with option '--loss"],
] as const) {
  usage(`barewire ${args.join(' ')}`, async () => {
    const { status, lines } = await command(args);
    assert.is(status, 2, lines.join('\n'));
    assert.is(lines.length, 2, lines.join('\n'));
    assert.match(lines[0]!, /^barewire: \S/);
    assert.match(lines[0]!, message);
    assert.match(lines[1]!, /^hint: \S/);
  });
}

// These get as far as opening a device, and there is none: not a usage error.
for (const args of [
  ['fwd', '0000:ff:1f.6', '0000:ff:1f.7', '--ring', '128', '--batch', '256', '--duration', '1ms'],
  [
    'pktgen',
    'vfio-user:/nowhere/nic.sock',
    '--size',
    '1518',
    '--rate',
    '14.88M',
    '--dst-mac',
    '02:00:00:00:00:aF',
  ],
]) {
  usage(`used rightly, without such a device: barewire ${args.join(' ')}`, async () => {
    const { status, lines } = await command(args);
    assert.is(status, 1, lines.join('\n'));
    assert.match(lines[0]!, /^barewire: \S/);
  });
}

usage.run();
