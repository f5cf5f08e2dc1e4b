import fc from 'fast-check';
import * as assert from 'uvu/assert';
import {
  durationMs,
  integerBetween,
  macAddress,
  positiveInteger,
  rate,
  stationMac,
} from '../../tools/option-values.js';
import { suite } from '../support/suite.js';

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

values('MAC addresses, and those of one station', () => {
  assert.equal(accepted(macAddress, '01:80:c2:00:00:0E'), Uint8Array.of(1, 0x80, 0xc2, 0, 0, 0xe));
  for (const text of ['02:00:00:00:00', '02:00:00:00:00:0g', '020000000001', '02-00:00:00:00:01', '']) {
    assert.is(accepted(macAddress, text), undefined, text);
    assert.is(accepted(stationMac, text), undefined, text);
  }
  for (const text of ['02:00:00:00:00:01', '02-00-00-00-00-01'])
    assert.equal(accepted(stationMac, text), Uint8Array.of(2, 0, 0, 0, 0, 1));
  for (const text of ['01:80:c2:00:00:0e', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00']) {
    assert.is(accepted(stationMac, text), undefined, text);
  }
});

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

values.run();
