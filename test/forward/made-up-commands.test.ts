/** The commands on ports that are no PCI device and no vfio-user socket: an address scheme is all that they need. */
import { Command } from 'commander';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { onHugepageWarning } from '../../src/hugepage/dma-region.js';
import { TestFrame, TestFrameChecker } from '../../src/packet/test-frame.js';
import * as fwd from '../../tools/commands/fwd.js';
import * as pktgen from '../../tools/commands/pktgen.js';
import { prepareProgram, run } from '../../tools/run-command.js';
import { eventually, turns } from '../conformance/rig.js';
import { captureLines } from '../support/capture.js';
import type { MadeUpCard } from '../support/made-up-family/card.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

onHugepageWarning(() => {});

interface Outcome {
  readonly status: number;
  readonly out: string[];
  readonly errors: string[];
}

/** Runs a command line in this process, as the bin does. */
async function barewire(...args: readonly string[]): Promise<Outcome> {
  const program = prepareProgram(new Command('barewire'));
  fwd.register(program);
  pktgen.register(program);
  let status = -1;
  let errors: string[] = [];
  const out = await captureLines(async () => {
    errors = await captureLines(async () => {
      status = await run(program, args);
    }, process.stderr);
  });
  return { status, out, errors };
}

/** A card in a slot, and what has left it: numbers of test frames. */
interface Port {
  readonly card: MadeUpCard;
  readonly left: number[];
  /** Frames that left and are no whole test frames of the length. */
  wrong: number;
}

function plugPort(slot: number, lengthBytes = 60): Port {
  const card = plugIn(slot);
  const checker = new TestFrameChecker();
  const port: Port = { card, left: [], wrong: 0 };
  card.plug({
    arrive(frame) {
      const good =
        checker.check(frame, undefined, 0, frame.length) === 'good' && frame.length === lengthBytes;
      if (good) port.left.push(checker.sequence);
      else port.wrong++;
      return true;
    },
  });
  return port;
}

const inOrder = (numbers: readonly number[]): boolean => numbers.every((number, i) => number === i);

/** Frames on their way at a time: as many as surely find room. */
const ON_THE_WAY = 60;

/** Frames that come into one port and leave from another. */
interface Way {
  readonly into: Port;
  readonly out: Port;
  readonly sourceMac?: string;
  readonly lengthBytes?: number;
}

/**
 * Sends so many test frames each way until all have left, then presses Ctrl-C. The first half is for the port itself, which
 * takes them as soon as it has a ring; the second for others, which takes a port that is promiscuous.
 */
async function feed(count: number, ...ways: readonly Way[]): Promise<void> {
  const feeders = ways.map(({ into, out, sourceMac, lengthBytes = 60 }) => {
    const own = new TestFrame({
      sizeBytes: lengthBytes,
      destinationMac: into.card.mac,
      ...(sourceMac === undefined ? {} : { sourceMac }),
    });
    const frame = new Uint8Array(lengthBytes);
    own.fill(frame, 0);
    let number = 0;
    return (): boolean => {
      for (; number < count && number - out.left.length < ON_THE_WAY; number++) {
        if (into.card.room() === 0) break;
        own.stamp(frame, 0, number);
        if (number >= count / 2) frame.set([0x02, 0, 0, 0, 0, 0x77]);
        assert.ok(into.card.arrive(frame));
      }
      return out.left.length + out.wrong === count;
    };
  });
  await eventually('all frames have left', () => !feeders.map((feeder) => feeder()).includes(false));
  process.emit('SIGINT');
}

const HARDWARE_COUNTERS = [
  'rxMissed',
  'rxErrors',
  'wireRxPackets',
  'wireRxBytes',
  'wireTxPackets',
  'wireTxBytes',
];

/** The last line of JSON, which has the totals. */
function totalsOf({ out }: Outcome): readonly Record<string, unknown>[] {
  // pktgen's account of its frames follows.
  const { type, ports } = JSON.parse(out.findLast((line) => !line.startsWith('{"type":"account"'))!);
  assert.is(type, 'totals');
  return ports;
}

function assertReleased(...ports: readonly Port[]): void {
  for (const { card, wrong } of ports) {
    assert.equal(card.violations, []);
    assert.is(card.claimed, false, 'the port is closed');
    assert.is(card.memory.windows.length, 0, 'nothing is mapped');
    assert.is(wrong, 0);
  }
}

const commands = suite('commands on made-up ports');

for (const [what, args, bytes] of [
  ['as it is', [], 60],
  ['--ring 99', ['--ring', '99'], 60],
  ['--ring 300 --batch 7 --touch', ['--ring', '300', '--batch', '7', '--touch'], 60],
  ['--mtu 9000', ['--mtu', '9000'], 9022],
  ['--path general', ['--path', 'general'], 1514],
] as const) {
  commands(`fwd made-up:10 made-up:11 ${what}: 3,000 frames in order, and the totals`, async () => {
    const [a, b] = [plugPort(10), plugPort(11, bytes)];
    const running = barewire('fwd', 'made-up:10', 'made-up:11', '--json', ...args);
    await feed(3000, { into: a, out: b, lengthBytes: bytes });
    const outcome = await running;
    assert.equal(outcome.errors, []);
    assert.is(outcome.status, 0);
    assert.ok(inOrder(b.left) && b.left.length === 3000);
    assert.equal(JSON.parse(outcome.out[0]!), { type: 'path', path: 'general' });
    const [first, second] = totalsOf(outcome);
    for (const total of [first!, second!]) {
      for (const name of HARDWARE_COUNTERS) assert.not(name in total, `${name} is absent, not 0`);
      assert.is(total.dropped, 0);
    }
    assert.equal([first!.address, first!.rxPackets, first!.rxBytes], ['made-up:10', 3000, 3000 * bytes]);
    assert.equal([second!.address, second!.txPackets, second!.txBytes], ['made-up:11', 3000, 3000 * bytes]);
    assertReleased(a, b);
  });
}

commands('fwd, both ways over three queue pairs', async () => {
  const [a, b] = [plugPort(10), plugPort(11)];
  const running = barewire('fwd', 'made-up:10', 'made-up:11', '--queues', '3', '--json');
  // The frames of a sender all go to one queue: another for each way.
  await feed(
    1000,
    { into: a, out: b, sourceMac: '02:00:00:00:00:01' },
    { into: b, out: a, sourceMac: '02:00:00:00:00:02' },
  );
  const outcome = await running;
  assert.is(outcome.status, 0, outcome.errors.join('\n'));
  assert.ok(inOrder(a.left) && inOrder(b.left));
  assert.equal(
    totalsOf(outcome).map(({ rxPackets, txPackets }) => [rxPackets, txPackets]),
    [
      [1000, 1000],
      [1000, 1000],
    ],
  );
  assertReleased(a, b);
});

commands('fwd for some time: a table with a dash where the card has no counter', async () => {
  const [a, b] = [plugPort(10), plugPort(11)];
  const { status, out, errors } = await barewire('fwd', 'made-up:10', 'made-up:11', '--duration', '50ms');
  assert.equal(errors, []);
  assert.is(status, 0);
  assert.is(out[0], 'path: general');
  assert.ok(out.includes('port 0: made-up:10') && out.includes('port 1: made-up:11'));
  const header = out.findIndex((line) =>
    /^port +received +sent +unsent +dropped +missed +errors$/.test(line),
  );
  assert.ok(header > 0, out.join('\n'));
  assert.match(out[header + 1]!, /^0 +0 +0 +0 +0 +- +0$/);
  assert.match(out[header + 2]!, /^1 +0 +0 +0 +0 +- +0$/);
  assertReleased(a, b);
});

for (const [size, args] of [
  [64, []],
  [1518, ['--batch', '5']],
  [9026, ['--mtu', '9000']],
] as const) {
  commands(`pktgen made-up:12 --count 1000 --size ${size}: each frame once, in order`, async () => {
    const port = plugPort(12, size - 4);
    const outcome = await barewire(
      'pktgen',
      'made-up:12',
      '--count',
      '1000',
      '--size',
      `${size}`,
      '--json',
      ...args,
    );
    assert.equal(outcome.errors, []);
    assert.is(outcome.status, 0);
    assert.ok(inOrder(port.left) && port.left.length === 1000);
    const [total] = totalsOf(outcome);
    assert.equal([total!.address, total!.txPackets, total!.txBytes], ['made-up:12', 1000, 1000 * (size - 4)]);
    for (const name of HARDWARE_COUNTERS) assert.not(name in total!);
    assertReleased(port);
  });
}

commands('pktgen throws away what it receives, and goes on', async () => {
  const port = plugPort(12);
  const { card } = port;
  let looped = 0;
  // Every frame comes back, to all.
  const end = {
    arrive: (frame: Uint8Array): boolean => card.arrive(Uint8Array.from(frame).fill(0xff, 0, 6)),
  };
  card.plug({ arrive: (frame) => end.arrive(frame) && ++looped > 0 });
  const outcome = await barewire('pktgen', 'made-up:12', '--count', '2000', '--json');
  assert.is(outcome.status, 0, outcome.errors.join('\n'));
  const [total] = totalsOf(outcome);
  assert.is(total!.txPackets, 2000);
  assert.is(total!.rxNoBuffer, 0);
  assert.is((total!.rxPackets as number) > 0 && looped + card.lost === 2000, true);
  assertReleased(port);
});

commands('a link that goes down: the totals say what left, and name the rest', async () => {
  for (const json of [true, false]) {
    const port = plugPort(12);
    const running = barewire('pktgen', 'made-up:12', ...(json ? ['--json'] : []));
    await eventually('frames leave', () => port.left.length > 100);
    port.card.plug(undefined);
    const left = port.left.length;
    await turns(20);
    process.emit('SIGINT');
    const outcome = await running;
    assert.equal([outcome.status, outcome.errors], [0, []]);
    if (json) {
      const [{ txPackets, unsent, txInRing }] = totalsOf(outcome) as [Record<string, number>];
      assert.ok(unsent! > 0);
      assert.equal([txPackets, unsent], [left + unsent!, txInRing]);
    } else {
      assert.match(
        outcome.out.join('\n'),
        /^port 0: ([0-9]+) did not reach the wire \(no link\): \1 wait in the ring$/m,
      );
    }
    assertReleased(port);
  }
});

commands('a card that is pulled out ends the run with its error, and the totals', async () => {
  const [a, b] = [plugPort(10), plugPort(11)];
  const running = barewire('fwd', 'made-up:10', 'made-up:11');
  const frame = new Uint8Array(60);
  new TestFrame({ sizeBytes: 60, destinationMac: a.card.mac }).fill(frame, 0);
  await eventually('the port is up', () => a.card.room() > 0);
  assert.ok(a.card.arrive(frame));
  await eventually('a frame has left', () => b.left.length > 0);
  b.card.pullOut(new NicError('DEVICE_GONE', 'made-up:11 was pulled out'));
  const { status, out, errors } = await running;
  assert.is(status, 1);
  assert.is(errors[0], 'barewire: made-up:11 was pulled out');
  assert.ok(out.some((line) => line.startsWith('totals after')));
  assert.ok(out.some((line) => line.startsWith('port 1: no longer answers')));
  assert.is(a.card.claimed || b.card.claimed, false);
});

for (const [args, status, message, hint] of [
  [
    ['fwd', 'made-up:10', 'made-up:11', '--ring', '100'],
    2,
    /^rxRingSize is 100$/,
    /a multiple of 3 from 3 to 1000/,
  ],
  [['fwd', 'made-up:10', 'made-up:11', '--ring', '512'], 2, /^rxRingSize is 512$/, /a multiple of 3/],
  [['fwd', 'made-up:10', 'made-up:11', '--queues', '6'], 2, /^queuePairs is 6$/, /from 1 to 5/],
  [['fwd', 'made-up:10', 'made-up:11', '--mtu', '9679'], 2, /^mtu is 9679$/, /from 68 to 9678/],
  [['fwd', 'made-up:10', 'made-up:11', '--path', 'pipe'], 2, /^No pipe is possible/, /\S/],
  [['fwd', 'made-up:10', 'made-up:10'], 2, /^made-up:10 is given twice$/, /\S/],
  [['fwd', 'made-up:10', 'made-up:99'], 1, /^There is no card in slot 99$/, /made-up:10/],
  [['fwd', 'made-up:10', 'made-up:'], 2, /"made-up:" is not a device address/, /made-up:SLOT/],
  [['pktgen', 'made-up:10', '--size', '9026'], 2, /made-up:10 sends frames of up to 1988 bytes/, /--mtu/],
  [['pktgen', 'made-up:99'], 1, /^There is no card in slot 99$/, /made-up:10/],
] as const) {
  commands(`used wrongly: barewire ${args.join(' ')}`, async () => {
    const ports = [plugPort(10), plugPort(11)] as const;
    const outcome = await barewire(...args);
    assert.is(outcome.status, status, outcome.errors.join('\n'));
    assert.is(outcome.errors.length, 2, outcome.errors.join('\n'));
    assert.match(outcome.errors[0]!.replace(/^barewire: (error: )?/, ''), message);
    assert.match(outcome.errors[1]!, hint);
    assertReleased(...ports);
  });
}

commands.run();
