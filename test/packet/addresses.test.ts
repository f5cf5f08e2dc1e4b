/** Addresses as text: RFC 4291 and RFC 5952 say what is right; Node's own `net` and `URL` are asked as well. */
import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import {
  formatIp,
  formatIpv4,
  formatIpv6,
  formatMac,
  ipBytes,
  macBytes,
  parseIp,
  parseIpv4,
  parseIpv6,
  parseMac,
} from '../../src/packet/addresses.js';
import { suite } from '../support/suite.js';

function assertBad(action: () => unknown, hint: RegExp): void {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof NicError, String(error));
    assert.is(error.code, 'BAD_ADDRESS');
    assert.match(error.hint ?? '', hint);
    return;
  }
  assert.unreachable('it was taken');
}

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

const macs = suite('MAC addresses');

macs('text to bytes, with colons or hyphens, in either case', () => {
  const expected = Uint8Array.of(0x02, 0xab, 0, 0, 0xff, 1);
  assert.equal(parseMac('02:ab:00:00:ff:01'), expected);
  assert.equal(parseMac('02-AB-00-00-FF-01'), expected);
});

for (const text of [
  '',
  '02:ab:00:00:ff',
  '02:ab:00:00:ff:01:02',
  '02:ab-00:00:ff:01',
  '2:ab:00:00:ff:01',
  '02:ab:00:00:ff:0g',
  ' 02:ab:00:00:ff:01',
  '02ab0000ff01',
  '0'.repeat(100_000),
]) {
  macs(`refuses "${text.slice(0, 30)}"`, () => assertBad(() => parseMac(text), /02:00:00:00:00:01/));
}

macs('refuses what is no text', () => {
  for (const value of [undefined, null, 5, {}, []]) assertBad(() => parseMac(value as never), /six bytes/);
  assertBad(() => macBytes(new Uint8Array(5)), /six bytes/);
});

macs('there and back, at any place', () => {
  fc.assert(
    fc.property(bytesOf(6), fc.nat(9), (bytes, at) => {
      const memory = new Uint8Array(20).fill(0xee);
      memory.set(bytes, at);
      assert.equal(parseMac(formatMac(memory, at)), bytes);
    }),
  );
});

macs.run();

const ipv4 = suite('IPv4 addresses');

ipv4('there and back', () => {
  fc.assert(fc.property(bytesOf(4), (bytes) => assert.equal(parseIpv4(formatIpv4(bytes)), bytes)));
});

for (const text of [
  '',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '1.2.3.04',
  '01.2.3.4',
  '1.2.3.-4',
  '1.2.3.4 ',
  '1..3.4',
  '0x1.2.3.4',
  '1.2.3.4e0',
]) {
  ipv4(`refuses "${text}"`, () => {
    assert.not(isIPv4(text));
    assertBad(() => parseIpv4(text), /10\.0\.0\.1/);
  });
}

ipv4.run();

const ipv6 = suite('IPv6 addresses');

/** RFC 4291, 2.2, and the rules of RFC 5952, section 4 and 5. */
const TEXTS: readonly (readonly [written: string, shortest: string])[] = [
  ['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a'],
  ['FF01:0:0:0:0:0:0:101', 'ff01::101'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['1:0:0:0:0:0:0:0', '1::'],
  ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8::0:1', '2001:db8::1'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['::FFFF:129.144.52.38', '::ffff:129.144.52.38'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
];

for (const [written, shortest] of TEXTS) {
  ipv6(`${written} is ${shortest}`, () => {
    assert.is(formatIpv6(parseIpv6(written)), shortest);
    assert.equal(parseIpv6(shortest), parseIpv6(written));
  });
}

for (const text of [
  '',
  ':',
  ':::',
  '1',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1::2::3',
  '1:2:3:4:5:6:7::8',
  '::1:2:3:4:5:6:7:8',
  '12345::',
  'g::',
  '1.2.3.4::',
  '::1.2.3',
  '::1.2.3.4:5',
  '1:2:3:4:5:6:7:1.2.3.4',
  ':1::',
  '::1:',
  '[::1]',
  '::1 ',
]) {
  ipv6(`refuses "${text}"`, () => {
    assert.not(isIPv6(text));
    assertBad(() => parseIpv6(text), /2001:db8::1/);
  });
}

ipv6('refuses a zone and says why', () => assertBad(() => parseIpv6('fe80::1%eth0'), /zone/));

/** Addresses with rows of zeros, which random ones seldom have. */
const addresses = fc
  .array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >>> 8, group & 0xff])));

ipv6('there and back, and as the URL standard writes it', () => {
  fc.assert(
    fc.property(addresses, (bytes) => {
      const text = formatIpv6(bytes);
      assert.equal(parseIpv6(text), bytes);
      // The URL standard has no dotted decimal; all else is RFC 5952.
      if (!text.includes('.')) assert.is(new URL(`http://[${text}]`).hostname, `[${text}]`);
    }),
  );
});

ipv6('takes what net.isIPv6 takes, and nothing else', () => {
  const part = fc.constantFrom('', ':', '::', '0', '1', 'ab', 'FFFF', '12345', '1.2.3.4', '256.1.1.1', 'g');
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 18 }).map((parts) => parts.join('')),
      (text) => {
        let bytes: Uint8Array | undefined;
        try {
          bytes = parseIpv6(text);
        } catch (error) {
          assert.ok(error instanceof NicError);
        }
        assert.is(bytes !== undefined, isIPv6(text), text);
      },
    ),
    { numRuns: 5000 },
  );
});

ipv6('an address of either kind, as text or bytes', () => {
  assert.is(formatIp(parseIp('10.0.0.1')), '10.0.0.1');
  assert.is(formatIp(parseIp('::1')), '::1');
  assert.equal(ipBytes('10.0.0.1'), Uint8Array.of(10, 0, 0, 1));
  const bytes = new Uint8Array(16);
  assert.is(ipBytes(bytes), bytes);
  assertBad(() => ipBytes(new Uint8Array(5)), /sixteen/);
  assertBad(() => ipBytes(undefined as never), /10\.0\.0\.1/);
});

ipv6.run();
