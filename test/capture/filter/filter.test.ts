/** The filter language: what is read, what matches, and how it says what is wrong. Matches were compared with tcpdump's. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { compileFilter, parseFilter } from '../../../src/capture/filter/index.js';
import { NicError } from '../../../src/errors.js';
import { FRAMES, MATCHES } from '../../support/filter-samples.js';
import { suite } from '../../support/suite.js';

const filter = suite('filter');

function matching(text: string): string {
  const wanted = compileFilter(text);
  // In the middle of other bytes: offsets must be respected.
  return Object.entries(FRAMES)
    .filter(([, frame]) => {
      const memory = new Uint8Array(frame.length + 50).fill(0x45);
      memory.set(frame, 17);
      return wanted(memory, 17, frame.length, frame.length);
    })
    .map(([name]) => name)
    .join(' ');
}

for (const [text, names] of MATCHES) filter(text, () => assert.is(matching(text), names));

filter('a frame that was cut: tests that need what is not there are not met, whatever lies behind it', () => {
  const frame = FRAMES.udp!;
  for (let length = 0; length < 38; length++) {
    assert.not.ok(compileFilter('udp port 53')(frame, 0, length, frame.length), `${length} bytes`);
  }
  assert.ok(compileFilter('udp port 53')(frame, 0, 38, frame.length), 'the ports are there');
  assert.ok(compileFilter('greater 40')(frame, 0, 14, frame.length), 'the length on the wire counts');
});

// biome-ignore format: a table
const WRONG: readonly (readonly [string, RegExp])[] = [
  ['', /wrong at its end: there is nothing in it/],
  ['udp prot 53', /at character 5: "prot" is not expected/],
  ['port', /at its end: a value for port is missing/],
  ['port 70000', /at character 6: "70000" is no number from 0 to 65535/],
  ['host example.com', /at character 6: "example.com" is no address/],
  ['net 10.0.0.1/8', /at character 5: .* bits outside of its mask/],
  ['tcp host 10.0.0.1', /at character 10: tcp has no host/],
  ['(udp', /at its end: the parenthesis of character 1 is not closed/],
  ['udp)', /at character 4: "\)" is not expected/],
  ['tcp[13] & 2 != 0', /at character 4: "\[" is not understood/],
  ['udp and', /at its end/],
  ['ip host ::1', /at character 9: ::1 is no address of ip/],
  ['vlan 5000', /at character 6/],
  ['port 1-2', /at character 6/],
  ['host __proto__', /at character 6: "__proto__" is no address/],
  ['port constructor', /at character 6: "constructor" is no port/],
  ['ip proto toString', /at character 10: "toString" is no protocol/],
  ['ip broadcast', /at character 1/],
  [`${'('.repeat(99)}udp`, /nested more than 64 deep/],
  [`${'udp or '.repeat(999)}udp`, /more than 256 tests/],
  ['x'.repeat(99_999), /99999 characters/],
];

for (const [text, message] of WRONG) {
  filter(`wrong: ${text.slice(0, 40)}`, () => {
    assert.throws(
      () => parseFilter(text),
      (error: unknown) =>
        error instanceof NicError &&
        error.code === 'BAD_OPTION' &&
        message.test(error.message) &&
        error.hint !== undefined,
    );
  });
}

filter('any text: a filter or an error, never anything else; any frame: an answer', () => {
  const words = [
    ...MATCHES.flatMap(([text]) => text.split(' ')),
    '(',
    ')',
    'not',
    'toString',
    '\\ip',
    '..',
    'é',
  ];
  const text = fc.array(fc.constantFrom(...words), { maxLength: 12 }).map((list) => list.join(' '));
  fc.assert(
    fc.property(fc.oneof(text, fc.string()), fc.uint8Array({ maxLength: 80 }), (given, frame) => {
      try {
        const wanted = compileFilter(given)(frame, 0, frame.length, frame.length);
        assert.type(wanted, 'boolean');
        assert.is(compileFilter(`not (${given})`)(frame, 0, frame.length, frame.length), !wanted);
      } catch (error) {
        if (!(error instanceof NicError) || error.code !== 'BAD_OPTION') throw error;
      }
    }),
    { numRuns: 2000 },
  );
});

filter.run();
