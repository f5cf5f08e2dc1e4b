/** The frames of flows: every kind has right lengths and checksums in every frame, fields change as they were told to. */
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { formatIp, formatMac } from '../../src/packet/addresses.js';
import { readU16 } from '../../src/packet/bytes.js';
import { ipv4ChecksumState, l4ChecksumState } from '../../src/packet/frame-checksums.js';
import { ArpView } from '../../src/packet/link-views.js';
import { PacketView } from '../../src/packet/packet-view.js';
import { parse } from '../../src/packet/parse.js';
import { TestFrameChecker } from '../../src/packet/test-frame.js';
import { checkFlow, type FlowOptions } from '../../src/traffic/flow.js';
import { FrameWriter } from '../../src/traffic/frame-writer.js';
import { suite } from '../support/suite.js';

const SOURCE = '02:00:00:00:00:09';
const AT = 64;

/** Copies of the first frames of a flow, written over each other in one buffer as a sender does. */
function framesOf(options: FlowOptions, count = 300): Uint8Array[] {
  const writer = new FrameWriter(checkFlow(options, 0), 0, SOURCE);
  const buffer = new Uint8Array(AT + writer.maxBytes).fill(0xee);
  writer.prepare(buffer, AT);
  return Array.from({ length: count }, (_, i) => {
    const lengthBytes = writer.nextLength();
    writer.write(buffer, Int32Array.of(AT), Uint16Array.of(lengthBytes), 1, i, i * 1000);
    return buffer.slice(AT, AT + lengthBytes);
  });
}

function view(frame: Uint8Array): PacketView {
  const parsed = new PacketView();
  assert.ok(parse(frame, 0, frame.length, parsed), parsed.problemText);
  return parsed;
}

const RANDOM: FlowOptions = {
  srcIp: '10.0.0.1-10.255.0.254~',
  dstIp: '10.9.0.1-10.9.3.255',
  tos: '0-255',
  ttl: '255-1',
};
const IPV6: FlowOptions = {
  srcIp: '2001:db8::1-2001:db8::ffff:ffff~',
  dstIp: '2001:db8:1::1,2001:db9::2',
  tos: '0-255',
  ttl: '1-255~',
};

const KINDS: Readonly<Record<string, FlowOptions>> = {
  'UDP, fixed': {},
  'UDP over IPv4': { ...RANDOM, srcPort: '1024-65535~', dstPort: '53,123,443', size: 'imix' },
  'UDP over IPv4, odd sizes': { ...RANDOM, size: '64-1518~' },
  'UDP over IPv6': { ...IPV6, srcPort: '1-65535', size: '84-300' },
  'UDP behind two tags': { vlan: '1-4094', innerVlan: '7,9~', vlanPriority: 5, ...RANDOM, size: 100 },
  'UDP with a payload of its own': {
    payload: new Uint8Array([1, 2, 3, 4, 5]),
    size: '64-200',
    payloadFields: [
      { offsetBytes: 1, bytes: 1, value: '0-255' },
      { offsetBytes: 2, bytes: 2, value: '0-65535~' },
      { offsetBytes: 4, bytes: 4, value: { from: 0, to: 0xffff_ffff, random: true } },
    ],
  },
  'TCP SYN': {
    protocol: 'tcp',
    ...RANDOM,
    srcPort: '1024-65535~',
    tcpSequence: '0-4294967295~',
    tcpFlags: '0-63',
  },
  'TCP over IPv6': { protocol: 'tcp', ...IPV6, size: '90-300~', tcpFlags: '0x12' },
  ping: { protocol: 'icmp', ...RANDOM, icmpId: '1-65535~', size: '64-128' },
  'ping over IPv6': { protocol: 'icmp', ...IPV6, size: '70-128~' },
  ARP: {
    protocol: 'arp',
    srcMac: '02:00:00:00:00:01-02:00:00:00:ff:ff~',
    srcIp: '10.0.0.1-10.0.0.254',
    dstIp: '10.0.1.1-10.0.1.9~',
  },
};

const frames = suite('frames of flows');

for (const [name, options] of Object.entries(KINDS)) {
  frames(`${name}: every length and checksum is right`, () => {
    const states = new Set<string>();
    for (const frame of framesOf(options)) {
      const parsed = view(frame);
      states.add(`${ipv4ChecksumState(parsed)} ${l4ChecksumState(parsed)}`);
      if (options.size !== undefined && options.protocol !== 'arp') assert.is(parsed.trailerBytes, 0);
    }
    const isIpv6 = options === IPV6 || `${options.srcIp}`.includes(':');
    const expected = options.protocol === 'arp' ? 'absent absent' : isIpv6 ? 'absent good' : 'good good';
    assert.equal([...states], [expected]);
  });

  frames(`${name}: the same seed gives the same bytes, another seed others where something is random`, () => {
    const [first, second] = [framesOf(options, 50), framesOf(options, 50)];
    assert.equal(second, first);
    const isRandom =
      JSON.stringify(options).includes('~') || JSON.stringify(options).includes('"random":true');
    assert.is(JSON.stringify(framesOf({ ...options, seed: 7 }, 50)) !== JSON.stringify(first), isRandom);
  });
}

for (const [name, options] of Object.entries(KINDS)) {
  frames(`${name}: a batch has the same frames as one after the other`, () => {
    const count = 77;
    const writer = new FrameWriter(checkFlow(options, 0), 0, SOURCE);
    const slotBytes = writer.maxBytes + 1;
    const buffers = new Uint8Array(count * slotBytes);
    const places = Int32Array.from({ length: count }, (_, i) => i * slotBytes);
    const lengths = Uint16Array.from(places, () => writer.nextLength());
    for (const at of places) writer.prepare(buffers, at);
    writer.write(buffers, places, lengths, count, 0, 5000);
    const alone = new FrameWriter(checkFlow(options, 0), 0, SOURCE);
    const frame = new Uint8Array(alone.maxBytes);
    alone.prepare(frame, 0);
    for (const [i, at] of places.entries()) {
      const lengthBytes = alone.nextLength();
      alone.write(frame, Int32Array.of(0), Uint16Array.of(lengthBytes), 1, i, 5000);
      assert.is(lengths[i], lengthBytes);
      assert.equal(buffers.subarray(at, at + lengthBytes), frame.subarray(0, lengthBytes));
    }
  });
}

frames('numbers go on over 2^32 within a batch', () => {
  const writer = new FrameWriter(checkFlow({}, 0), 5, SOURCE);
  const checker = new TestFrameChecker();
  const buffers = new Uint8Array(4 * 64);
  const places = Int32Array.of(0, 64, 128, 192);
  for (const at of places) writer.prepare(buffers, at);
  for (const first of [2 ** 32 - 8, 2 ** 32 - 4, 2 ** 32 - 2, 2 ** 32]) {
    writer.write(buffers, places, new Uint16Array(4).fill(60), 4, first, 0);
    for (const [i, at] of places.entries()) {
      assert.is(checker.check(buffers, undefined, at, 60), 'good');
      assert.equal([checker.sequence, checker.flow], [first + i, 5]);
      const parsed = new PacketView();
      parse(buffers, at, 60, parsed);
      assert.is(l4ChecksumState(parsed), 'good');
    }
  }
});

frames('a damaged checksum would be seen by this test', () => {
  const [frame] = framesOf(KINDS['UDP over IPv4']!, 1);
  frame![30]! ^= 1;
  const parsed = view(frame!);
  assert.equal([ipv4ChecksumState(parsed), l4ChecksumState(parsed)], ['bad', 'bad']);
});

frames('fields count up, down, by steps and through lists, each value once in a round', () => {
  const flow = {
    srcPort: '10-14/2',
    dstPort: '3-1',
    srcIp: '10.0.0.254-10.0.1.1',
    dstIp: '1.1.1.1,2.2.2.2',
    srcMac: '02:00:00:00:00:ff-02:00:00:00:01:00',
    vlan: '7,9',
  };
  const seen = framesOf({ ...flow, vlanPriority: 3 }, 7).map((frame) => {
    const parsed = view(frame);
    return [
      parsed.sourcePort,
      parsed.destinationPort,
      formatIp(frame.slice(parsed.l3Offset + 12, parsed.l3Offset + 16)),
      formatIp(frame.slice(parsed.l3Offset + 16, parsed.l3Offset + 20)),
      formatMac(frame, 6),
      parsed.vlanTag,
    ].join(' ');
  });
  assert.equal(seen, [
    `10 3 10.0.0.254 1.1.1.1 02:00:00:00:00:ff ${0x6007}`,
    `12 2 10.0.0.255 2.2.2.2 02:00:00:00:01:00 ${0x6009}`,
    `14 1 10.0.1.0 1.1.1.1 02:00:00:00:00:ff ${0x6007}`,
    `10 3 10.0.1.1 2.2.2.2 02:00:00:00:01:00 ${0x6009}`,
    `12 2 10.0.0.254 1.1.1.1 02:00:00:00:00:ff ${0x6007}`,
    `14 1 10.0.0.255 2.2.2.2 02:00:00:00:01:00 ${0x6009}`,
    `10 3 10.0.1.0 1.1.1.1 02:00:00:00:00:ff ${0x6007}`,
  ]);
});

frames('random values stay in their range and reach both ends', () => {
  const ports = framesOf({ srcPort: '1000-1003~' }, 400).map((frame) => view(frame).sourcePort);
  assert.equal([...new Set(ports)].sort(), [1000, 1001, 1002, 1003]);
  for (const port of [1000, 1003]) assert.ok(ports.filter((one) => one === port).length > 50);
});

frames('imix has 7, 4 and 1 of each 12, and a mix is exact', () => {
  const count = (options: FlowOptions, frameBytes: number) =>
    framesOf(options, 120).filter(({ length }) => length === frameBytes - 4).length;
  assert.equal(
    [64, 594, 1518].map((size) => count({ size: 'imix' }, size)),
    [70, 40, 10],
  );
  assert.equal(
    [64, 128].map((size) => count({ size: '64:1,128:3' }, size)),
    [30, 90],
  );
});

frames('ARP: the sender is the same in both places', () => {
  const arp = new ArpView();
  for (const frame of framesOf(KINDS.ARP!, 100)) {
    arp.at(frame, 14);
    assert.is(formatMac(frame, 6), arp.senderMac);
  }
});

frames('numbered frames pass the checker, behind tags and IPv6 as well', () => {
  for (const [options, payloadAt] of [
    [{ size: '64-200' }, 42],
    [{ vlan: 5, size: 128 }, 46],
    [{ ...IPV6, size: 100 }, 62],
  ] as const) {
    const checker = new TestFrameChecker();
    for (const [i, frame] of framesOf(options, 50).entries()) {
      assert.is(checker.check(frame, undefined, 0, frame.length, payloadAt), 'good');
      assert.equal([checker.sequence, checker.timeNs, checker.flow], [i, i * 1000, 0]);
    }
  }
});

frames('a sequence number above 32 bits', () => {
  const writer = new FrameWriter(checkFlow({}, 3), 3, SOURCE);
  const frame = new Uint8Array(60);
  writer.prepare(frame, 0);
  writer.write(frame, Int32Array.of(0), Uint16Array.of(frame.length), 1, 2 ** 48 - 1, -1);
  const checker = new TestFrameChecker();
  assert.is(checker.check(frame, undefined, 0, 60), 'good');
  assert.equal([checker.sequence, checker.flow, checker.timeNs], [2 ** 48 - 1, 3, 0xffff_ffff]);
  assert.is(l4ChecksumState(view(frame)), 'good');
});

frames('raw bytes are sent as they are, padded to the size', () => {
  const bytes = Uint8Array.from({ length: 20 }, (_, i) => i + 1);
  const [frame] = framesOf(
    { bytes, size: 70, payloadFields: [{ offsetBytes: 16, bytes: 2, value: '513-514' }] },
    1,
  );
  assert.is(frame!.length, 66);
  assert.equal(frame!.slice(0, 16), bytes.slice(0, 16));
  assert.is(readU16(frame!, 16), 513);
  assert.ok(frame!.slice(20).every((byte) => byte === 0));
});

frames('a UDP checksum is never sent as 0', () => {
  const sums = framesOf({ srcPort: '0-65535', payload: new Uint8Array(18) }, 65_536).map((frame) =>
    readU16(frame, 40),
  );
  assert.ok(sums.includes(0xffff) && !sums.includes(0));
});

for (const [options, message] of [
  [{ size: 63 }, 'size is 63'],
  [{ size: '64-60' }, 'empty range 64-60'],
  [{ size: 'huge' }, 'size is "huge"'],
  [{ size: '64:0' }, 'a mix with weights 0'],
  [{ srcPort: '1-9/20' }, 'a step of 20 in a range of 9'],
  [{ srcPort: '70000' }, 'srcPort is "70000"'],
  [{ srcPort: [] }, 'srcPort is an empty list'],
  [{ srcPort: '80~' }, 'srcPort is "80~"'],
  [{ srcIp: '10.0.0.1-2001:db8::1' }, 'addresses of different kinds'],
  [{ srcIp: '2001:db8::1-2001:db9::1' }, 'more than the last 32 bits'],
  [{ srcIp: '10.0.0.1', dstIp: '2001:db8::1' }, 'different kinds'],
  [{ srcIp: '10.0.0' }, 'no IPv4 address'],
  [{ tcpFlags: 2 }, 'tcpFlags does nothing in a flow with protocol udp'],
  [{ protocol: 'arp', dstPort: 5 }, 'dstPort does nothing in a flow with protocol arp'],
  [{ innerVlan: 5 }, 'innerVlan does nothing in a flow without vlan'],
  [{ protocol: 'tcp', numbered: true }, 'numbered does nothing'],
  [{ protocol: 'raw' }, 'raw flow without bytes'],
  [{ spacing: 'poisson' }, 'spacing does nothing in a flow without rate'],
  [{ burst: 5 }, 'burst does nothing in a flow without rate'],
  [{ rate: 5, burstGapMs: 5 }, 'burstGapMs does nothing in a flow with a rate'],
  [{ rate: '110%' }, 'rate is "110%"'],
  [{ rate: 0 }, 'rate is 0'],
  [{ colour: 'red' }, 'a flow has no option "colour"'],
  [{ srcIp: '2001:db8::1', size: 64 }, 'have no room'],
  [
    { numbered: false, size: 64, payloadFields: [{ offsetBytes: 18, bytes: 2, value: 1 }] },
    'payloadFields.offsetBytes',
  ],
] as [FlowOptions, string][]) {
  frames(`refused: ${JSON.stringify(options)}`, () => {
    try {
      framesOf(options, 1);
    } catch (error) {
      if (!(error instanceof NicError)) throw error;
      assert.match(error.code, /^BAD_(OPTION|ADDRESS)$/);
      assert.ok(error.message.includes(message), error.message);
      assert.ok(error.hint !== undefined && error.hint.length > 5);
      return;
    }
    throw new Error('it was not refused');
  });
}

frames.run();
