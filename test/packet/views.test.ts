/** Header views: setting a field changes that field, and no other bit. `build.test.ts` has their places from outside. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import {
  ArpView,
  EthernetView,
  IcmpView,
  Ipv4View,
  Ipv6View,
  TcpView,
  UdpView,
  VlanView,
} from '../../src/packet/index.js';
import { suite } from '../support/suite.js';

const MAC = fc.constantFrom('00:11:22:33:44:55', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00');
const IPV4 = fc.constantFrom('10.1.2.3', '255.255.255.255', '0.0.0.0');
const IPV6 = fc.constantFrom('2001:db8::1', '::', 'ff02::1:ff00:1');
const bits = (count: number) => fc.nat(2 ** count - 1);
const FLAG = fc.boolean();

/** The fields of each view that can be set, and their values. */
const VIEWS = [
  [EthernetView, { destinationMac: MAC, sourceMac: MAC, etherType: bits(16) }],
  [VlanView, { tagType: bits(16), priority: bits(3), dropEligible: FLAG, id: bits(12), etherType: bits(16) }],
  [ArpView, { operation: bits(16), senderMac: MAC, senderIp: IPV4, targetMac: MAC, targetIp: IPV4 }],
  [
    Ipv4View,
    {
      trafficClass: bits(8),
      totalBytes: bits(16),
      identification: bits(16),
      dontFragment: FLAG,
      moreFragments: FLAG,
      fragmentOffsetBytes: bits(13).map((units) => units * 8),
      ttl: bits(8),
      protocol: bits(8),
      checksum: bits(16),
      source: IPV4,
      destination: IPV4,
    },
  ],
  [
    Ipv6View,
    {
      trafficClass: bits(8),
      flowLabel: bits(20),
      payloadBytes: bits(16),
      nextHeader: bits(8),
      hopLimit: bits(8),
      source: IPV6,
      destination: IPV6,
    },
  ],
  [UdpView, { sourcePort: bits(16), destinationPort: bits(16), lengthBytes: bits(16), checksum: bits(16) }],
  [
    TcpView,
    {
      sourcePort: bits(16),
      destinationPort: bits(16),
      sequence: bits(32),
      acknowledgment: bits(32),
      flags: bits(8),
      window: bits(16),
      checksum: bits(16),
      urgentPointer: bits(16),
    },
  ],
  [IcmpView, { type: bits(8), code: bits(8), checksum: bits(16), identifier: bits(16), sequence: bits(16) }],
] as const;

/** Longest header with a view. */
const HEADER_BYTES = 40;
const views = suite('header views');

for (const [View, fields] of VIEWS) {
  const names = Object.keys(fields);
  views(`${View.name}: each field is written, and no other`, () => {
    const header = fc.uint8Array({ minLength: HEADER_BYTES, maxLength: HEADER_BYTES });
    const change = fc
      .constantFrom(...names)
      .chain((name) => fc.tuple(fc.constant(name), (fields as Record<string, fc.Arbitrary<unknown>>)[name]!));
    fc.assert(
      fc.property(header, change, fc.nat(5), (bytes, [name, value], at) => {
        const memory = new Uint8Array(at + HEADER_BYTES + 5).fill(0xaa);
        memory.set(bytes, at);
        const view = new View().at(memory, at) as unknown as Record<string, unknown>;
        const before = names.map((other) => view[other]);
        view[name] = value;
        assert.is(view[name], value);
        for (const [i, other] of names.entries())
          if (other !== name) assert.is(view[other], before[i], other);
        assert.equal(
          [...memory.slice(0, at), ...memory.slice(at + HEADER_BYTES)],
          new Array(at + 5).fill(0xaa),
        );
        // The field as it was: then every bit is as it was.
        view[name] = before[names.indexOf(name)];
        assert.equal(memory.slice(at, at + HEADER_BYTES), bytes);
      }),
    );
  });
}

views('addresses may be given as bytes', () => {
  const memory = new Uint8Array(40);
  new EthernetView().at(memory, 0).sourceMac = Uint8Array.of(1, 2, 3, 4, 5, 6);
  assert.is(new EthernetView().at(memory, 0).sourceMac, '01:02:03:04:05:06');
  assert.not(new EthernetView().at(memory, 0).isMulticast);
  assert.ok(new EthernetView().at(memory, 6).isMulticast);
  new Ipv6View().at(memory, 0).source = new Uint8Array(16).fill(1);
  assert.is(new Ipv6View().at(memory, 0).source, '101:101:101:101:101:101:101:101');
});

views('an address of the wrong kind is refused, and nothing behind the field is written', () => {
  const memory = new Uint8Array(40);
  const refused = /is no (IPv4|IPv6|MAC) address/;
  assert.throws(() => {
    new Ipv4View().at(memory, 0).source = new Uint8Array(16).fill(9);
  }, refused);
  assert.throws(() => {
    new Ipv6View().at(memory, 0).source = new Uint8Array(4).fill(9);
  }, refused);
  assert.throws(() => {
    new Ipv4View().at(memory, 0).source = '::1';
  }, refused);
  assert.equal(memory, new Uint8Array(40));
});

views.run();
