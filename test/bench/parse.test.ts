import * as assert from 'uvu/assert';
import { parseResult } from '../../bench/report/parse.js';
import { suite } from '../support/suite.js';
import { copyOfResult, RESULT } from './results.js';

const parsing = suite('parseResult');

parsing('a whole result comes through as it is', () => {
  assert.equal(parseResult(JSON.stringify(RESULT)), RESULT);
});

parsing('sections may be missing', () => {
  const { core: _, alternatives: __, ...rest } = RESULT;
  assert.equal(parseResult(JSON.stringify(rest)), rest);
});

type Place = readonly (string | number)[];

/** Every place of a number or a text in a value. */
function leaves(value: unknown, place: Place = []): Place[] {
  if (typeof value !== 'object' || value === null) return [place];
  return Object.entries(value).flatMap(([key, member]) =>
    leaves(member, [...place, Array.isArray(value) ? Number(key) : key]),
  );
}

function spelled(place: Place): string {
  return place
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`))
    .join('')
    .slice(1);
}

parsing('damage anywhere is found, and the message names the place', () => {
  for (const place of leaves(RESULT)) {
    const damaged = copyOfResult();
    let holder = damaged as unknown as Record<string | number, unknown>;
    for (const key of place.slice(0, -1)) holder = holder[key] as Record<string | number, unknown>;
    holder[place.at(-1)!] = { no: 'such thing' };
    assert.throws(
      () => parseResult(JSON.stringify(damaged)),
      (error: Error) => error.message.startsWith(`${spelled(place)} is {"no":"such thing"}`),
      spelled(place),
    );
  }
});

for (const [what, text, message] of [
  ['no object', '3', /^the result is 3, not an object$/],
  ['a missing member', JSON.stringify({ ...RESULT, node: undefined }), /^node is missing, not a text$/],
  [
    'a negative time',
    JSON.stringify(RESULT).replace('"nsPerPacket":10', '"nsPerPacket":-1'),
    /nsPerPacket is -1, not a number of 0 or more$/,
  ],
  [
    'a time of nothing',
    JSON.stringify(RESULT).replace('"nsPerPacket":10', '"nsPerPacket":0'),
    /nsPerPacket is 0, not a number above 0$/,
  ],
  [
    'a share above 1',
    JSON.stringify(RESULT).replace('"forwarderIdle":0.9', '"forwarderIdle":1.1'),
    /forwarderIdle is 1.1, not a number from 0 to 1$/,
  ],
  [
    'an unknown way',
    JSON.stringify(RESULT).replace('"way":"dgram"', '"way":"pigeon"'),
    /^alternatives\[4\]\.way is "pigeon", not one of dgram, /,
  ],
] as const) {
  parsing(what, () => {
    assert.throws(() => parseResult(text), message);
  });
}

parsing.run();
