/** Checks of what callers pass: each kind of value, and what `open` says to what it cannot use. */
import * as assert from 'uvu/assert';
import { type NetDevice, open } from '../src/index.js';
import * as check from '../src/options.js';
import { expectError, expectRejection } from './support/expect-error.js';
import { plugIn } from './support/made-up-family/scheme.js';
import { suite } from './support/suite.js';

const values = suite('options');

/** What no check of a number takes. */
const NO_NUMBERS = ['512', '', null, undefined, true, 512n, [512], {}, () => 512, Number.NaN, Symbol('512')];

for (const range of [
  { min: 1, max: 4096 },
  { min: -5, max: 5 },
  { min: 64, max: 4096, powerOfTwo: true },
  { min: 3, max: 1000, multipleOf: 3 },
]) {
  const what = check.describeRange(range);
  values(`${what}: what is no whole number is refused`, () => {
    for (const value of [...NO_NUMBERS, 64.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const { message, hint } = expectError('BAD_OPTION', () => check.integerOption('size', value, range));
      assert.is(message, `size is ${check.describeValue(value)}`);
      assert.is(hint, `Give ${what}.`);
    }
  });
}

for (const [range, good, bad] of [
  [{ min: 1, max: 4096 }, [1, 2, 4095, 4096], [0, -1, 4097, 1e9]],
  [{ min: 0, max: Number.MAX_SAFE_INTEGER }, [0, 2 ** 53 - 1], [-1, 2 ** 53]],
  [{ min: -5, max: 5 }, [-5, 0, 5], [-6, 6]],
  [{ min: 64, max: 4096, powerOfTwo: true }, [64, 128, 4096], [0, 32, 63, 65, 96, 4095, 8192]],
  [{ min: 3, max: 1000, multipleOf: 3 }, [3, 99, 999], [0, 1, 100, 1000, 1002]],
] as const) {
  values(`${check.describeRange(range)}: both ends, and what lies beyond them`, () => {
    for (const value of good) assert.is(check.integerOption('size', value, range), value);
    for (const value of bad) expectError('BAD_OPTION', () => check.integerOption('size', value, range));
  });
}

values('ranges as people read them', () => {
  const texts = [
    { min: 1, max: 9 },
    { min: 1, max: Number.MAX_SAFE_INTEGER },
    { min: 64, max: 4096, powerOfTwo: true },
    { min: 64, max: 512, multipleOf: 64 },
  ].map(check.describeRange);
  assert.equal(texts, [
    'a whole number from 1 to 9',
    'a whole number from 1',
    'a power of two from 64 to 4096',
    'a multiple of 64 from 64 to 512',
  ]);
});

values('true or false, and nothing that is like it', () => {
  assert.equal([check.booleanOption('flag', true), check.booleanOption('flag', false)], [true, false]);
  for (const value of [0, 1, 'true', '', null, undefined, {}, new Boolean(true)]) {
    const { hint } = expectError('BAD_OPTION', () => check.booleanOption('flag', value), /^flag is /);
    assert.is(hint, 'Give true or false.');
  }
});

values('one of some words', () => {
  assert.is(check.choiceOption('path', 'pipe', ['auto', 'pipe']), 'pipe');
  for (const value of ['', 'Pipe', 'pipe ', 0, null, undefined, ['pipe'], { toString: () => 'pipe' }]) {
    const { hint } = expectError('BAD_OPTION', () => check.choiceOption('path', value, ['auto', 'pipe']));
    assert.is(hint, 'Give one of auto, pipe.');
  }
});

values('milliseconds', () => {
  for (const value of [0, 0.5, 1e12, Number.POSITIVE_INFINITY])
    assert.is(check.millisecondsOption('timeoutMs', value), value);
  for (const value of [...NO_NUMBERS, -1, Number.NEGATIVE_INFINITY, new Date(5)])
    expectError('BAD_OPTION', () => check.millisecondsOption('timeoutMs', value), /^timeoutMs is /);
});

values('functions, arrays, signals', () => {
  const signal = new AbortController().signal;
  const list = [1];
  assert.is(check.functionOption('onPacket', open), open);
  assert.is(check.arrayOption('devices', list), list);
  assert.is(check.signalOption('signal', signal), signal);
  for (const value of [null, undefined, 5, 'x', {}, { length: 0 }]) {
    expectError('BAD_OPTION', () => check.functionOption('onPacket', value), /^onPacket is /);
    expectError('BAD_OPTION', () => check.arrayOption('devices', value as never), /^devices is /);
    expectError('BAD_OPTION', () => check.signalOption('signal', value), /^signal is /);
  }
  // Its controller is easily given in its place.
  expectError('BAD_OPTION', () => check.signalOption('signal', new AbortController()), /an AbortController$/);
});

values('an option that is not known is named, with those that are', () => {
  check.knownOptions('open', {}, ['mtu']);
  check.knownOptions('open', { mtu: undefined }, ['mtu']);
  const error = expectError('BAD_OPTION', () =>
    check.knownOptions('open', { mtu: 1, MTU: 1 }, ['mtu', 'debug']),
  );
  assert.equal([error.message, error.hint], ['open has no option "MTU"', 'It has mtu, debug.']);
  for (const value of [null, undefined, 5, 'mtu', [], () => {}, true]) {
    expectError(
      'BAD_OPTION',
      () => check.knownOptions('open', value, ['mtu']),
      /^The options parameter of open is /,
    );
  }
});

values('values as messages show them', () => {
  class Ring {}
  for (const [value, text] of [
    ['512', '"512" (a string)'],
    ['a"b\n', '"a\\"b\\n" (a string)'],
    ['x'.repeat(1000), `"${'x'.repeat(60)}" (a string)`],
    [5n, '5n (a bigint)'],
    [4.5, '4.5'],
    [-0, '0'],
    [Number.NaN, 'NaN'],
    [true, 'true'],
    [null, 'null'],
    [undefined, 'undefined'],
    [Symbol('x'), 'Symbol(x)'],
    [open, 'a function'],
    [Ring, 'a function'],
    [[1, 2], 'an Array'],
    [{ a: 1 }, 'an Object'],
    [new Ring(), 'a Ring'],
    [new Uint8Array(4), 'an Uint8Array'],
    [Object.create(null), 'an object'],
    [{ constructor: undefined }, 'an object'],
    [Promise.resolve(5), 'a Promise'],
  ] as const) {
    assert.is(check.describeValue(value), text);
  }
});

values.run();

const SLOT = 61;
const ADDRESS = `made-up:${SLOT}`;
const opening = suite('what open is given');

for (const [what, address] of [
  ['nothing', undefined],
  ['a number', 42],
  ['null', null],
  ['an object', { address: ADDRESS }],
  ['an array', [ADDRESS]],
  ['an empty string', ''],
  ['a word', 'x'],
  ['a symbol', Symbol('x')],
] as const) {
  opening(`${what} is no address`, async () => {
    const { message, hint } = await expectRejection('BAD_ADDRESS', open(address as never));
    const shown = typeof address === 'string' ? `"${address}"` : check.describeValue(address);
    assert.is(message, `${shown} is not a device address`);
    assert.match(hint!, /0000:03:00\.0 .*vfio-user:\/path\/to\.sock/);
  });
}

opening('no parameter at all', async () => {
  await expectRejection(
    'BAD_ADDRESS',
    (open as () => Promise<NetDevice>)(),
    /^undefined is not a device address$/,
  );
});

for (const address of ['x', '0000:03:00.0', ADDRESS]) {
  for (const options of [null, 42, 'mtu', [], () => {}]) {
    opening(`${check.describeValue(options)} is no object of options, at ${address}`, async () => {
      const what = `The options parameter of open is ${check.describeValue(options)}`;
      assert.is((await expectRejection('BAD_OPTION', open(address, options as never))).message, what);
    });
  }

  opening(
    `an option that open does not have is told before the address is looked at: ${address}`,
    async () => {
      const { message, hint } = await expectRejection(
        'BAD_OPTION',
        open(address, { rxRingsize: 512 } as never),
      );
      assert.is(message, 'open has no option "rxRingsize"');
      assert.match(hint!, /^It has .*\brxRingSize\b/);
    },
  );
}

for (const [option, value, hint] of [
  ['rxRingSize', '512', 'a multiple of 3 from 3 to 1000'],
  ['txRingSize', '512', 'a multiple of 3 from 3 to 1000'],
  ['rxRingSize', 1e9, 'a multiple of 3 from 3 to 1000'],
  ['queuePairs', '1', undefined],
  ['mtu', '1500', undefined],
  ['buffers', '512', undefined],
  ['buffersForDevices', '2', undefined],
  ['bufferSizeBytes', '2048', undefined],
  ['headroomBytes', '64', undefined],
  ['pageSize', 4096, undefined],
  ['promiscuous', 'yes', 'true or false'],
  ['rxMetadata', 1, 'true or false'],
  ['vlanStrip', null, 'true or false'],
  ['debug', 'true', 'true or false'],
  ['pool', {}, undefined],
  ['signal', {}, 'an AbortSignal'],
] as const) {
  opening(`${option}: ${check.describeValue(value)} is refused, and the card stays free`, async () => {
    plugIn(SLOT);
    const error = await expectRejection('BAD_OPTION', open(ADDRESS, { [option]: value } as never));
    assert.is(error.message, `${option} is ${check.describeValue(value)}`);
    if (hint !== undefined) assert.is(error.hint, `Give ${hint}.`);
    else assert.match(error.hint!, /^Give .+\.$/);
    await (await open(ADDRESS)).close();
  });
}

opening('options that are undefined are as if they were not given', async () => {
  plugIn(SLOT);
  const options = { rxRingSize: undefined, mtu: undefined, signal: undefined, pool: undefined };
  const nic = await open(ADDRESS, options as never);
  assert.is(nic.rxQueues[0]!.size, nic.limits.rxRing.default);
  await nic.close();
});

opening.run();
