import { Command } from 'commander';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import {
  deviceAddress,
  durationMs,
  forEachAddress,
  formatTable,
  integerBetween,
  pciAddresses,
  positiveInteger,
  prepareProgram,
  rate,
  run,
} from '../../tools/cli.js';
import { expectError } from '../support/expect-error.js';

/** Runs a program with one command, and returns its exit status and what it wrote to stderr. */
async function runAction(
  action: () => void | Promise<void>,
  args: readonly string[] = ['go'],
): Promise<[number, string]> {
  const program = prepareProgram(new Command('barewire'));
  program.command('go').option('-n <count>', 'a number', positiveInteger).action(action);
  const write = process.stderr.write;
  let text = '';
  process.stderr.write = (chunk: string | Uint8Array): boolean => {
    text += chunk;
    return true;
  };
  try {
    return [await run(program, args), text];
  } finally {
    process.stderr.write = write;
  }
}

const status = suite('exit status');

status('an asynchronous command is waited for', async () => {
  let done = false;
  const result = await runAction(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    done = true;
  });
  assert.equal(result, [0, '']);
  assert.ok(done);
});

status('a rejected command is 1, with message and hint', async () => {
  const error = new NicError('NO_LINK', 'No link on x', { hint: 'plug it in' });
  assert.equal(await runAction(() => Promise.reject(error)), [
    1,
    'barewire: No link on x\nhint: plug it in\n',
  ]);
});

status('BAD_OPTION and BAD_ADDRESS are 2, with the help as a hint where there is none', async () => {
  assert.equal(await runAction(() => Promise.reject(new NicError('BAD_OPTION', 'rate and gap together'))), [
    2,
    'barewire: rate and gap together\nhint: "barewire go --help" shows its arguments and options\n',
  ]);
  assert.is((await runAction(() => void deviceAddress('nonsense')))[0], 2);
});

status('an unexpected error is 1, on one line', async () => {
  assert.equal(await runAction(() => Promise.reject(new TypeError('x is\n  not y'))), [
    1,
    'barewire: x is not y\n',
  ]);
  assert.equal(await runAction(() => Promise.reject('text')), [1, 'barewire: text\n']);
});

status('a bad number is 2 and names option and value', async () => {
  const [code, text] = await runAction(() => {}, ['go', '-n', '1.5']);
  assert.is(code, 2);
  assert.match(
    text,
    /^barewire: option '-n <count>' argument '1\.5' is invalid\. It must be a whole number from 1\.\nhint: .*\n$/,
  );
});

status('forEachAddress goes on after a failure, reports it, and ends with 1', async () => {
  const seen: string[] = [];
  const [code, text] = await runAction(() =>
    forEachAddress(['a', 'b', 'c'], (address) => {
      seen.push(address);
      if (address === 'b') throw new NicError('BIND_FAILED', 'b failed');
    }),
  );
  assert.equal(seen, ['a', 'b', 'c']);
  assert.is(code, 1);
  assert.is(text, 'barewire: b failed\n');
});

status.run();

const values = suite('option values');

/** The value, or undefined where it was refused as commander expects. */
function accepted<T>(parse: (text: string) => T, text: string): T | undefined {
  try {
    return parse(text);
  } catch (error) {
    assert.is((error as { code?: string }).code, 'commander.invalidArgument');
    return undefined;
  }
}

for (const [parse, cases] of [
  [
    positiveInteger,
    {
      '1': 1,
      '64': 64,
      '0': undefined,
      '-1': undefined,
      '1.5': undefined,
      '': undefined,
      ' 1': undefined,
      '0x10': undefined,
      '1e3': undefined,
      '99999999999999999999': undefined,
    },
  ],
  [integerBetween(60, 1514), { '60': 60, '1514': 1514, '59': undefined, '1515': undefined, abc: undefined }],
  [
    rate,
    {
      '1000': 1000,
      '250k': 250e3,
      '250K': 250e3,
      '14.88M': 14.88e6,
      '1.1M': 1.1e6,
      '10G': 10e9,
      '0.5': 0.5,
      '0': undefined,
      '0k': undefined,
      '-1k': undefined,
      '1m': undefined,
      '1kk': undefined,
      M: undefined,
      '.5': undefined,
      '': undefined,
      Infinity: undefined,
      '99999999G': undefined,
    },
  ],
  [
    durationMs,
    {
      '10': 10_000,
      '0.5': 500,
      '250ms': 250,
      '5m': 300_000,
      '2s': 2000,
      '0.0001': 1,
      '0': undefined,
      '0ms': undefined,
      '-1': undefined,
      '1h': undefined,
      '': undefined,
      s: undefined,
      '2147483.647': 2 ** 31 - 1,
      '2147483.648': undefined,
    },
  ],
] as const) {
  for (const [text, expected] of Object.entries(cases)) {
    values(`${parse.name || 'integerBetween'} ${JSON.stringify(text)} -> ${expected}`, () => {
      assert.is(accepted<number>(parse, text), expected);
    });
  }
}

values('any text: a number in range, or refused', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^-?[0-9]{0,20}\.?[0-9]{0,3}[kMGms]{0,2}$/)),
      (text) => {
        for (const parse of [positiveInteger, rate, durationMs]) {
          const value = accepted<number>(parse, text);
          assert.ok(
            value === undefined || (value > 0 && value <= Number.MAX_SAFE_INTEGER),
            `${text} -> ${value}`,
          );
        }
      },
    ),
  );
});

values('addresses are normalised; the same one twice is one', () => {
  assert.is(deviceAddress('03:00.0'), '0000:03:00.0');
  assert.is(deviceAddress('vfio-user:/x'), 'vfio-user:/x');
  assert.equal(pciAddresses(['03:00.0', '0000:04:00.0', '0000:03:00.0']), ['0000:03:00.0', '0000:04:00.0']);
  expectError('BAD_ADDRESS', () => pciAddresses(['vfio-user:/x']));
});

values('table columns are as wide as their widest cell', () => {
  assert.is(
    formatTable([
      ['A', 'LONG', 'C'],
      ['aaa', 'b', 'c'],
      ['', 'bb', ''],
    ]),
    'A    LONG  C\naaa  b     c\n     bb',
  );
});

values.run();
