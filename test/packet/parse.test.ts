/** `parse` on what no sane sender sends: nothing is read outside of the frame, nothing thrown, and what is missing is said. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import {
  buildArp,
  buildEthernet,
  buildIp,
  buildTcp,
  buildUdp,
  describeFrame,
  IpProtocol,
  Layer,
  PacketView,
  parse,
  parsePacket,
} from '../../src/packet/index.js';
import { suite } from '../support/suite.js';
import { guarded } from './guarded-bytes.js';
import { MACS, PORTS, V4, V6, VECTORS, vector } from './scapy-frames.js';

/** What a view says, without the memory it looks at. */
function stateOf(view: PacketView): Record<string, unknown> {
  const { bytes, ...rest } = view;
  assert.ok(bytes.length >= 0);
  return rest;
}

/** Parses in memory of which only the frame may be touched, and checks what must hold of any frame. */
function parseGuarded(frame: Uint8Array, offset = 3): PacketView {
  const memory = new Uint8Array(offset + frame.length + 20).fill(0xaa);
  memory.set(frame, offset);
  const only = guarded(memory, offset, offset + frame.length);
  const view = new PacketView();
  const isSound = parse(only, offset, frame.length, view);
  assert.is(isSound, view.problem === 'none');
  assert.is(isSound, view.problemText === undefined);
  assert.is(view.problemLayer === 0, isSound);
  const isCut = view.problem === 'header-cut' || view.problem === 'payload-cut';
  assert.is(view.missingBytes > 0, isCut, view.problem);
  const end = offset + frame.length;
  assert.ok(view.payloadOffset >= offset && view.payloadBytes >= 0);
  assert.ok(view.payloadOffset + view.payloadBytes + view.trailerBytes <= end);
  for (const [at, length] of [
    [view.l3Offset, view.l3HeaderBytes],
    [view.l4Offset, view.l4HeaderBytes],
  ] as const)
    assert.ok(length === 0 || (at >= offset && at + length <= end));
  assert.type(describeFrame(only, frame.length, offset), 'string');
  return view;
}

const hostile = suite('parse, hostile input');

hostile('any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(5), (frame, offset) => {
      parseGuarded(frame, offset);
    }),
    { numRuns: 1000 },
  );
});

/** Bytes that begin like a packet of each kind, so that random ones get to the inner headers. */
const beginnings = fc.constantFrom(
  '8100',
  '88a800018100',
  '0800450000',
  '08004600',
  '86dd6000000000400040',
  '86dd60000000004000ff',
  '0806000108000604',
);
const innerBytes = fc.array(
  fc.oneof(fc.constantFrom(0, 1, 6, 17, 43, 44, 58, 60, 255, 0x45, 0x60), fc.nat(255)),
  { maxLength: 160 },
);

hostile('bytes that begin like packets', () => {
  fc.assert(
    fc.property(beginnings, innerBytes, (beginning, rest) => {
      parseGuarded(Uint8Array.from([...new Array(12).fill(2), ...Buffer.from(beginning, 'hex'), ...rest]));
    }),
    { numRuns: 2000 },
  );
});

hostile('any byte of a valid frame changed', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...VECTORS.map(({ name }) => name)),
      fc.array(fc.tuple(fc.nat(99), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (name, changes) => {
        const frame = vector(name);
        for (const [place, value] of changes) frame[place % frame.length] = value;
        parseGuarded(frame);
      },
    ),
    { numRuns: 2000 },
  );
});

/** Gives a frame as many bytes more as `parse` says are missing, until no header is cut. */
function lengthWithHeaders(frame: Uint8Array, lengthBytes: number): number {
  let length = lengthBytes;
  for (let rounds = 0; rounds < 10; rounds++) {
    const view = parseGuarded(frame.slice(0, length), 0);
    if (view.problem !== 'header-cut') return length;
    length += view.missingBytes;
  }
  return -1;
}

/** All that is needed for the headers of each vector: with fewer bytes a header is cut, with more the payload at most. */
for (const { name } of VECTORS) {
  hostile(`${name}: every truncation`, () => {
    const frame = vector(name);
    const whole = new PacketView();
    assert.ok(parse(frame, 0, frame.length, whole));
    const headersEnd = whole.payloadOffset;
    const packetEnd = headersEnd + whole.payloadBytes;
    for (let length = 0; length <= frame.length; length++) {
      const view = parseGuarded(frame.slice(0, length), 0);
      const expected = length < headersEnd ? 'header-cut' : length < packetEnd ? 'payload-cut' : 'none';
      assert.is(view.problem, expected, `${length} bytes`);
      if (expected === 'payload-cut') {
        assert.is(view.missingBytes, packetEnd - length);
        assert.is(view.layers, whole.layers);
        assert.equal([view.sourcePort, view.l4Offset], [whole.sourcePort, whole.l4Offset]);
      }
      if (expected === 'header-cut') assert.is(lengthWithHeaders(frame, length), headersEnd);
    }
  });
}

hostile('an offset or length that is none', () => {
  const frame = vector('udp');
  for (const [offset, length] of [
    [-1, 60],
    [61, 60],
    [Number.NaN, 60],
    [0, -1],
    [0, Number.NaN],
    [60, 60],
    [Number.POSITIVE_INFINITY, 1],
  ] as const) {
    const view = new PacketView();
    assert.not(parse(guarded(frame, 0, 60), offset, length, view));
    assert.equal([view.problem, view.problemLayer, view.lengthBytes], ['header-cut', Layer.ETHERNET, 0]);
  }
  const view = new PacketView();
  assert.ok(parse(guarded(frame, 0, 60), 0, Number.POSITIVE_INFINITY, view));
  assert.is(view.lengthBytes, 60);
});

/** A packet whose routing header names one more stop. */
function routed(): Uint8Array {
  const body = new Uint8Array(22);
  body[1] = 1;
  return buildUdp({ ...V6, ...PORTS, extensionHeaders: [{ type: IpProtocol.ROUTING, body }] });
}

hostile('a view that is used again has nothing of the frame before', () => {
  const used = new PacketView();
  const frames = [...VECTORS.map(({ name }) => vector(name)), routed()];
  for (const whole of [...frames, ...frames.toReversed()]) {
    for (const length of [whole.length, 33, 13]) {
      const frame = whole.slice(0, length);
      const fresh = new PacketView();
      assert.is(parse(frame, 0, frame.length, used), parse(frame, 0, frame.length, fresh));
      assert.equal(stateOf(used), stateOf(fresh));
    }
    parse(whole, 0, whole.length, used);
  }
});

hostile.run();

const states = suite('parse, what it says');

function problemOf(frame: Uint8Array): string | undefined {
  return parseGuarded(frame).problemText;
}

function patched(frame: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = frame.slice();
  copy.set(bytes, at);
  return copy;
}

const udp = vector('udp');
const tcp = vector('tcp data');
const udp6 = vector('udp6');
for (const [what, frame, says] of [
  ['a frame of 13 bytes', udp.slice(0, 13), 'Ethernet header cut: 1 byte is missing'],
  ['a tag that is cut', vector('udp vlan').slice(0, 15), 'VLAN tag cut: 3 bytes are missing'],
  ['three tags', patched(vector('udp qinq'), 20, 0x81, 0x00), 'more than two VLAN tags'],
  ['an IPv4 header that is cut', udp.slice(0, 20), 'IPv4 header cut: 14 bytes are missing'],
  ['version 5', patched(udp, 14, 0x55), 'IPv4 header has another version than its EtherType'],
  ['an IPv4 header of 16 bytes', patched(udp, 14, 0x44), 'IPv4 header has an impossible length'],
  ['an IPv4 length below the header', patched(udp, 16, 0, 19), 'IPv4 header has an impossible length'],
  ['IPv4 options that are cut', vector('udp options').slice(0, 36), 'IPv4 header cut: 2 bytes are missing'],
  [
    'an IPv4 length above the frame',
    patched(udp, 16, 0, 100),
    'frame shorter than its IPv4 header says: 54 bytes are missing',
  ],
  ['a UDP length of 7', patched(udp, 38, 0, 7), 'UDP header has an impossible length'],
  ['a UDP length above the packet', patched(udp, 38, 0, 14), 'UDP header has an impossible length'],
  ['an IPv4 packet too short for UDP', patched(udp, 16, 0, 27), 'UDP header has an impossible length'],
  ['a UDP header that is cut', udp.slice(0, 41), 'UDP header cut: 1 byte is missing'],
  ['a TCP header of 16 bytes', patched(tcp, 46, 0x40), 'TCP header has an impossible length'],
  ['a TCP header above the packet', patched(tcp, 46, 0xf0), 'TCP header has an impossible length'],
  ['TCP options that are cut', vector('tcp syn').slice(0, 60), 'TCP header cut: 14 bytes are missing'],
  ['an ICMP header that is cut', vector('icmp').slice(0, 40), 'ICMP header cut: 2 bytes are missing'],
  ['version 4 in IPv6', patched(udp6, 14, 0x45), 'IPv6 header has another version than its EtherType'],
  [
    'an IPv6 length above the frame',
    patched(udp6, 18, 0, 14),
    'frame shorter than its IPv6 header says: 1 byte is missing',
  ],
  [
    'an extension header above the packet',
    patched(vector('udp6 extensions'), 55, 9),
    'IPv6 header has an impossible length',
  ],
  [
    'ARP for something else',
    patched(vector('arp request'), 18, 8),
    'ARP packet is not for Ethernet and IPv4',
  ],
  ['ARP that is cut', vector('arp request').slice(0, 41), 'ARP packet cut: 1 byte is missing'],
  [
    'an 802.3 length above the frame',
    patched(udp, 12, 0, 47),
    'frame shorter than its Ethernet header says: 1 byte is missing',
  ],
] as const) {
  states(what, () => assert.is(problemOf(frame), says));
}

states('eight extension headers are followed, no more', () => {
  for (const [count, says] of [
    [8, undefined],
    [9, 'IPv6 header has too many extensions'],
    [100, 'IPv6 header has too many extensions'],
  ] as const) {
    const extensionHeaders = Array.from({ length: count }, () => ({
      type: IpProtocol.DESTINATION_OPTIONS,
      body: new Uint8Array(6),
    }));
    assert.is(problemOf(buildUdp({ ...V6, ...PORTS, extensionHeaders })), says);
  }
});

states('an authentication header counts its length in words', () => {
  const extensionHeaders = [{ type: IpProtocol.AH, body: new Uint8Array(22) }];
  const view = parseGuarded(buildUdp({ ...V6, ...PORTS, extensionHeaders }));
  assert.equal([view.problem, view.l3HeaderBytes, view.destinationPort], ['none', 64, 9]);
});

states('802.3 with a length', () => {
  const view = parseGuarded(buildEthernet({ ...MACS, etherType: 38, payload: new Uint8Array(38) }));
  assert.equal([view.problem, view.payloadBytes, view.trailerBytes], ['none', 38, 8]);
});

states('a first fragment has ports, though its packet is longer than it; a later one has none', () => {
  const whole = buildUdp({ ...V4, ...PORTS, payload: new Uint8Array(2000), minBytes: 0 }).slice(34);
  const first = buildIp({
    ...V4,
    protocol: 17,
    fragment: { offsetBytes: 0, moreFragments: true },
    payload: whole.slice(0, 1480),
  });
  const view = parseGuarded(first);
  assert.equal([view.problem, view.destinationPort, view.payloadBytes], ['none', 9, 1472]);
  assert.ok(view.isFragment);
  const later = parseGuarded(
    buildIp({
      ...V4,
      protocol: 17,
      fragment: { offsetBytes: 1480, moreFragments: false },
      payload: whole.slice(1480),
    }),
  );
  assert.equal([later.problem, later.l4Offset, later.payloadBytes], ['none', -1, 528]);
  assert.not(later.has(Layer.UDP));
});

states('an IPv6 fragment header of a whole packet does not make it a fragment', () => {
  const packet = buildUdp({ ...V6, ...PORTS, minBytes: 0 }).slice(54);
  const view = parseGuarded(
    buildIp({ ...V6, protocol: 17, fragment: { offsetBytes: 0, moreFragments: false }, payload: packet }),
  );
  assert.not(view.isFragment);
  assert.is(view.destinationPort, 9);
});

states('protocols of the other version, and unknown ones, are payload', () => {
  for (const [options, protocol] of [
    [V4, IpProtocol.ICMPV6],
    [V6, IpProtocol.ICMP],
    [V4, 253],
    [V6, IpProtocol.NO_NEXT_HEADER],
  ] as const) {
    const view = parseGuarded(buildIp({ ...options, protocol, payload: new Uint8Array(30) }));
    assert.equal([view.problem, view.protocol, view.l4Offset, view.payloadBytes], ['none', protocol, -1, 30]);
  }
});

states('padding and what lies behind UDP are told from the payload', () => {
  const view = parseGuarded(udp);
  assert.equal([view.payloadBytes, view.trailerBytes], [5, 13]);
  // UDP may be shorter than its IP packet: the rest belongs to neither.
  const short = parseGuarded(patched(udp, 38, 0, 10));
  assert.equal([short.problem, short.payloadBytes, short.trailerBytes], ['none', 2, 13]);
});

states('a packet without Ethernet', () => {
  const packet = buildTcp({ ...V4, ...PORTS, minBytes: 0 }).slice(14);
  const view = new PacketView();
  assert.ok(parsePacket(packet, 0, packet.length, view));
  assert.equal([view.l3Offset, view.l4Offset, view.destinationPort], [0, 20, 9]);
  assert.not(view.has(Layer.ETHERNET));
  assert.ok(parsePacket(buildUdp({ ...V6, ...PORTS, minBytes: 0 }).slice(14), 0, 48, view));
  assert.is(view.l4Offset, 40);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const memory = new Uint8Array(bytes.length + 8);
      memory.set(bytes, 4);
      parsePacket(guarded(memory, 4, 4 + bytes.length), 4, bytes.length, view);
    }),
  );
});

states('ARP says so, and where', () => {
  const view = parseGuarded(
    buildArp({
      operation: 'request',
      senderMac: MACS.sourceMac,
      senderIp: '10.0.0.1',
      targetIp: '10.0.0.2',
      vlan: 5,
    }),
    0,
  );
  assert.equal(
    [view.layers, view.l3Offset, view.trailerBytes],
    [Layer.ETHERNET | Layer.VLAN | Layer.ARP, 18, 14],
  );
});

states.run();
