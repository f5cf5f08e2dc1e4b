/** The filter language: what is read, what matches, and how it says what is wrong. Matches were compared with tcpdump's. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compileFilter, parseFilter } from '../../../src/capture/filter/index.js';
import { NicError } from '../../../src/errors.js';
import { buildArp } from '../../../src/packet/link-builder.js';
import { buildIcmp, buildTcp, buildUdp } from '../../../src/packet/transport-builder.js';

const filter = suite('filter');

const MAC_A = '02:00:00:00:00:0a';
const MAC_B = '02:00:00:00:00:0b';
const ends = { sourceMac: MAC_A, destinationMac: MAC_B };
const ip4 = { ...ends, sourceIp: '10.0.0.1', destinationIp: '10.9.0.2' };
const ip6 = { ...ends, sourceIp: '2001:db8::1', destinationIp: 'ff02::2' };
const ports = { sourcePort: 53, destinationPort: 3000 };

const later = Buffer.from(buildUdp({ ...ip4, ...ports }));
later[21] = 5; // a later fragment: no ports

/** Frames by name. */
const FRAMES: Readonly<Record<string, Uint8Array>> = {
  udp: buildUdp({ ...ip4, ...ports }),
  tcp: buildTcp({ ...ip4, sourcePort: 40_000, destinationPort: 53 }),
  icmp: buildIcmp({ ...ip4, type: 8 }),
  udp6: buildUdp({ ...ip6, ...ports }),
  arp: buildArp({
    ...ends,
    operation: 'request',
    senderMac: MAC_A,
    senderIp: '10.0.0.1',
    targetIp: '10.9.0.2',
  }),
  tagged: buildUdp({ ...ip4, ...ports, vlan: 7 }),
  twice: buildUdp({ ...ip4, ...ports, vlan: [7, 9] }),
  later,
  group: buildUdp({ ...ip4, ...ports, destinationMac: '01:00:5e:00:00:01', destinationIp: '224.0.0.1' }),
};

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

// biome-ignore format: a table
const MATCHES: readonly (readonly [string, string])[] = [
  ['ip', 'udp tcp icmp later group'],
  ['ip6', 'udp6'],
  ['arp', 'arp'],
  ['udp', 'udp udp6 later group'],
  ['tcp', 'tcp'],
  ['icmp', 'icmp'],
  ['icmp6', ''],
  ['udp port 53', 'udp udp6 group'],
  ['port domain', 'udp tcp udp6 group'],
  ['dst port 53', 'tcp'],
  ['src port 53 or 40000', 'udp tcp udp6 group'],
  ['src and dst port 53', ''],
  ['src or dst port 3000', 'udp udp6 group'],
  ['tcp portrange 50-60', 'tcp'],
  ['tcp portrange 60-50', 'tcp'],
  ['portrange 54-2999', ''],
  ['host 10.0.0.1', 'udp tcp icmp arp later group'],
  ['ip host 10.9.0.2', 'udp tcp icmp later'],
  ['arp host 10.9.0.2', 'arp'],
  ['arp src host 10.9.0.2', ''],
  ['src 10.0.0.1 and dst 10.9.0.2', 'udp tcp icmp arp later'],
  ['host 2001:db8::1', 'udp6'],
  ['net 10.9', 'udp tcp icmp arp later'],
  ['net 10.9.0.0 mask 255.255.0.0', 'udp tcp icmp arp later'],
  ['net 2001:db8::/32', 'udp6'],
  ['dst net 224.0.0.0/4', 'group'],
  ['ip proto 1 or ip6 proto \\udp', 'icmp udp6'],
  ['proto 17', 'udp udp6 later group'],
  ['ether proto 0x0806', 'arp'],
  ['ether src host 02:00:00:00:00:0a and not ether dst 02:00:00:00:00:0b', 'group'],
  ['ether multicast', 'group'],
  ['ip multicast', 'group'],
  ['ip6 multicast', 'udp6'],
  ['vlan', 'tagged twice'],
  ['vlan 7 and udp port 53', 'tagged'],
  ['vlan and vlan 9 and host 10.0.0.1', 'twice'],
  ['vlan 9', ''],
  ['less 60', 'udp tcp icmp arp tagged twice later group'],
  ['greater 62', 'udp6'],
  ['not ip', 'udp6 arp tagged twice'],
  ['! ip && ! vlan', 'udp6 arp'],
  ['tcp or udp and arp', ''],
  ['tcp or (udp and ip6)', 'tcp udp6'],
  ['port (53 or 3000) and tcp', 'tcp'],
  ['not host 10.9.0.2 and 10.0.0.1', 'group'],
];

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
