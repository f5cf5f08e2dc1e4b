/** fwd, pktgen and emulate used wrongly: exit 2, one line, one hint, and no device was touched. */
import { Command } from 'commander';
import * as assert from 'uvu/assert';
import { onHugepageWarning } from '../../src/hugepage/dma-region.js';
import * as emulate from '../../tools/commands/emulate.js';
import * as fwd from '../../tools/commands/fwd.js';
import * as pktgen from '../../tools/commands/pktgen.js';
import * as sink from '../../tools/commands/sink.js';
import { prepareProgram, run } from '../../tools/run-command.js';
import { captureLines } from '../support/capture.js';
import { suite } from '../support/suite.js';

const usage = suite('fwd, pktgen and emulate: usage');
onHugepageWarning(() => {});

/** Runs the command in this process, as the bin does; returns its exit status and what it printed to stderr. */
async function command(args: readonly string[]): Promise<{ status: number; lines: string[] }> {
  const program = prepareProgram(new Command('barewire'));
  fwd.register(program);
  pktgen.register(program);
  sink.register(program);
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
  [['fwd', A, B, '--rate', '1000'], '--rate, --size and --flows are for emulated ports'],
  [['fwd', A, B, '--flows', '4'], '--rate, --size and --flows are for emulated ports'],
  [['fwd', '--workers', '2', '--capture', 'x.pcapng'], 'do not go together with --workers'],
  [['fwd', A, B, '--size', '128'], '--rate, --size and --flows are for emulated ports'],
  [['fwd', A, A], '0000:03:00.0 is given twice'],
  [['fwd', A, '0000:03:00.0'], '0000:03:00.0 is given twice'],
  [['fwd', A, 'not-an-interface'], '"not-an-interface" is not a device address'],
  [['fwd', A, B, '--ring', '0'], 'whole number from 1'],
  [['fwd', A, B, '--ring', 'many'], 'whole number from 1'],
  [['fwd', A, B, '--mtu', '1e3'], 'whole number from 1'],
  [['fwd', A, B, '--batch', '0'], 'from 1 to 256'],
  [['fwd', A, B, '--queues', '0'], 'whole number from 1'],
  [['fwd', A, B, '--path', 'fast'], 'auto, pipe, general'],
  [['fwd', A, B, '--duration', '0'], 'a time above 0'],
  [['pktgen'], "missing required argument 'PORT'"],
  [['pktgen', A, '--size', '63'], 'from 64 to 16384'],
  [['pktgen', A, '--size', '16385'], 'from 64 to 16384'],
  [['pktgen', A, '--dst-mac', '02:00:00:00:00'], 'is no MAC address'],
  [['pktgen', A, '--dst-mac', '02:00:00:00:00:0g'], 'is no MAC address'],
  [['pktgen', A, '--rate', '0'], 'rate is "0"'],
  [['pktgen', A, '--rate', '120%'], 'rate is "120%"'],
  [['pktgen', A, '--size', '90-70'], 'empty range 90-70'],
  [['pktgen', A, '--src-ip', '10.0.0.1-2001:db8::1'], 'addresses of different kinds'],
  [['pktgen', A, '--dst-port', '80000'], 'a whole number from 0 to 65535'],
  [['pktgen', A, '--proto', 'sctp'], 'udp, tcp, icmp, arp'],
  [['pktgen', A, '--ipv6', '--src-ip', '10.0.0.1'], '--ipv6 with an IPv4 address'],
  [['pktgen', A, '--expect-no-loss'], '--expect-no-loss is for runs that are checked'],
  [['pktgen', A, '--settle', '1'], '--settle is for runs that are checked'],
  [['pktgen', A, '--seed', '5', '--src-port', '1-9'], '--seed is for what is drawn at random'],
  [['pktgen', A, '--catch-up', '1'], '--catch-up is for frames that are due at a time'],
  [['pktgen', A, '--line-rate', '1G', '--rate', '5k'], '--line-rate is for a rate in percent'],
  [['pktgen', A, '--pacing', 'hardware'], '--pacing hardware is for frames that are due at a time'],
  [
    ['pktgen', A, '--pacing', 'hardware', '--rate', '1M', '--catch-up', '1'],
    '--catch-up does nothing with --pacing hardware',
  ],
  [
    ['pktgen', '--dry-run', '/tmp/x.pcap', '--pacing', 'filler', '--count', '1'],
    '--pacing does nothing with',
  ],
  [['pktgen', A, '--force'], '--force is for files that are written'],
  [['pktgen', A, '--dry-run', '/tmp/x.pcap', '--count', '1'], 'PORT does nothing with --dry-run'],
  [['pktgen', '--dry-run', '/tmp/x.pcap'], 'a dry run without an end'],
  [['pktgen', '--dry-run', '/nowhere/x.pcap', '--count', '1'], 'its folder does not exist'],
  [['sink'], "missing required argument 'PORT'"],
  [['pktgen', A, '--count', '-1'], 'whole number'],
  [['emulate', '--link', 'wire'], 'traffic, cable, none, tap:NAME'],
  [['emulate', '--link', 'cable', '--ports', '3'], '3 ports cannot be joined in pairs'],
  [['emulate', '--ports', '1', '--socket', 'a', '--socket', 'b'], '2 sockets for 1 ports'],
  [['emulate', '--device', '10c9'], 'one of 10fb'],
  [['emulate', '--device', '10fbzz'], 'one of 10fb'],
  [['emulate', '--mac', '02:00:00'], 'MAC address such as'],
  [['emulate', '--mac', '01:00:5e:00:00:01'], 'the address of one station'],
  [['emulate', '--bandwidth', '0'], 'a number above 0'],
  [['emulate', '--delay', '5'], 'a time with its unit'],
  [['emulate', '--loss', '1.5'], 'from 0 to 1'],
  [['emulate', '--damage', 'x'], 'from 0 to 1'],
  [['emulate', '--lossless', '--loss', '0.1'], "'--lossless' cannot be used with option '--loss"],
  [['emulate', '--link', 'cable', '--rate', '1000'], '--rate is for --link traffic, and no port has that'],
  [['emulate', '--link', 'play:x', '--count', '5', '--size', '100'], '--size and --count are for --link'],
  [['emulate', '--seed', '5'], '--seed is for links that lose or damage frames'],
  [['emulate', '--delay', '1ms', '--seed', '5'], '--seed is for links that lose or damage frames'],
  [['emulate', '--link', 'none', '--lossless'], '--lossless is for links, and no port has one'],
  [['emulate', '--link', 'none', '--loss', '1', '--capture', 'x'], '--loss and --capture are for links'],
  [['emulate', '--link', 'none', '--bandwidth', '1G'], '--bandwidth is for links'],
  [['emulate', '--link', 'none', '--delay', '1s', '--damage', '1'], '--delay and --damage are for links'],
  [['emulate', '--force'], '--force is for files that are written'],
  [['emulate', '--link', 'cable', '--link', 'none'], '1 port cannot be joined in pairs'],
  [['emulate', '--link', 'none', '--link', 'none', '--link', 'none', '--ports', '2'], '3 links for 2 ports'],
  [['emulate', '--link', 'none', '--link', 'none', '--ports', '3'], '2 links for 3 ports'],
  [['emulate', '--link', 'record:/tmp/x'], 'port 0 and port 1 have one file: /tmp/x'],
  [['emulate', '--capture', '/tmp/x'], 'the capture of link 0 and the capture of link 1 have one file'],
  [['emulate', '--link', 'tap:bw7'], 'port 0 and port 1 have one TAP interface: bw7'],
  [['emulate', '--link', 'stream:/tmp/x'], 'port 0 and port 1 have one socket: /tmp/x'],
  [
    ['emulate', '--socket', '/tmp/x', '--socket', '/tmp/../tmp/x'],
    'have one socket: /tmp/x and /tmp/../tmp/x',
  ],
  [['emulate', '--capture', '/tmp/c%d', '--link', 'play:/tmp/c1'], 'is played by port 0 and written by the'],
  [['emulate', '--link', 'play:/nowhere/x.pcap'], 'Cannot read /nowhere/x.pcap: there is no such file'],
  [['emulate', '--link', 'play:/tmp'], '/tmp is a directory, not a file'],
  [
    ['emulate', '--link', 'record:/nowhere/%d.pcap'],
    'Cannot write /nowhere/0.pcap: its folder does not exist',
  ],
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
