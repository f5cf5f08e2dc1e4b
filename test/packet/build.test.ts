/** Builders: the same bytes as scapy, and back through `parse` and the views. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import {
  ArpView,
  buildArp,
  buildEthernet,
  buildIcmp,
  buildIp,
  buildTcp,
  buildUdp,
  EthernetView,
  EtherType,
  IcmpView,
  IpProtocol,
  Ipv4View,
  Ipv6View,
  ipv4ChecksumState,
  Layer,
  l4ChecksumState,
  PacketView,
  parse,
  TcpView,
  UdpView,
  VlanView,
} from '../../src/packet/index.js';
import { suite } from '../support/suite.js';
import { MACS, PORTS, V4, V6, VECTORS } from './scapy-frames.js';

const build = suite('builders');

for (const { name, hex, build: made } of VECTORS) {
  build(`${name}: byte for byte as scapy`, () => assert.is(Buffer.from(made()).toString('hex'), hex));
}

const macText = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':'));
const ipv4Text = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => bytes.join('.'));
const ipv6Text = fc
  .array(fc.integer({ min: 1, max: 0xffff }), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.map((group) => group.toString(16)).join(':'));
const vlanTag = fc.record({
  id: fc.nat(0xfff),
  priority: fc.nat(7),
  dropEligible: fc.boolean(),
  tagType: fc.constantFrom(0x8100, 0x88a8, 0x9100),
});
const words = fc.nat(10).chain((count) => fc.uint8Array({ minLength: 4 * count, maxLength: 4 * count }));
const link = {
  sourceMac: macText,
  destinationMac: macText,
  vlan: fc.array(vlanTag, { maxLength: 2 }),
  ttl: fc.nat(255),
  trafficClass: fc.nat(255),
};
const ipv4 = fc.record({
  ...link,
  sourceIp: ipv4Text,
  destinationIp: ipv4Text,
  identification: fc.nat(0xffff),
  dontFragment: fc.boolean(),
  ipv4Options: words,
});
const extensionHeader = fc.record({
  type: fc.constantFrom(0, 43, 60, 135, 139, 140),
  // The second byte of a routing header says how many stops are left: none.
  body: fc.uint8Array({ minLength: 2, maxLength: 40 }).map((body) => body.fill(0, 1, 2)),
});
const ipv6 = fc.record({
  ...link,
  sourceIp: ipv6Text,
  destinationIp: ipv6Text,
  flowLabel: fc.nat(0xf_ffff),
  extensionHeaders: fc.array(extensionHeader, { maxLength: 8 }),
});
const ip = fc.oneof(ipv4, ipv6);
const payload = fc.uint8Array({ maxLength: 300 });
const port = fc.nat(0xffff);

type Ip = typeof ip extends fc.Arbitrary<infer T> ? T : never;

/** Parses a frame and checks all that is below layer 4. */
function assertIp(frame: Uint8Array, options: Ip, protocol: number): PacketView {
  const view = new PacketView();
  assert.ok(parse(frame, 0, frame.length, view), view.problemText);
  const ethernet = new EthernetView().at(frame, 0);
  assert.equal([ethernet.sourceMac, ethernet.destinationMac], [options.sourceMac, options.destinationMac]);
  assert.is(view.vlanCount, options.vlan.length);
  for (const [i, tag] of options.vlan.entries()) {
    const { id, priority, dropEligible, tagType } = new VlanView().at(frame, 12 + 4 * i);
    assert.equal({ id, priority, dropEligible, tagType }, { ...tag });
    const control = i === 0 ? view.vlanTag : view.innerVlanTag;
    assert.is(control, (tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.id);
  }
  assert.is(view.l3Offset, 14 + 4 * options.vlan.length);
  assert.is(view.protocol, protocol);
  assert.not(view.isFragment);
  if ('flowLabel' in options) {
    assert.is(view.etherType, EtherType.IPV6);
    const header = new Ipv6View().at(frame, view.l3Offset);
    assert.equal([header.source, header.destination], [options.sourceIp, options.destinationIp]);
    assert.equal(
      [header.trafficClass, header.flowLabel, header.hopLimit],
      [options.trafficClass, options.flowLabel, options.ttl],
    );
    const packetBytes = view.payloadOffset + view.payloadBytes - view.l3Offset;
    assert.is(header.payloadBytes, packetBytes - 40);
    assert.is(ipv4ChecksumState(view), 'absent');
  } else {
    assert.is(view.etherType, EtherType.IPV4);
    const header = new Ipv4View().at(frame, view.l3Offset);
    assert.equal([header.source, header.destination], [options.sourceIp, options.destinationIp]);
    assert.equal(
      [header.trafficClass, header.identification, header.dontFragment, header.ttl],
      [options.trafficClass, options.identification, options.dontFragment, options.ttl],
    );
    assert.is(header.headerBytes, 20 + options.ipv4Options.length);
    assert.is(header.totalBytes, view.payloadOffset + view.payloadBytes - view.l3Offset);
    assert.is(ipv4ChecksumState(view), 'good');
  }
  assert.is(l4ChecksumState(view), 'good');
  assert.is(view.trailerBytes, frame.length - view.payloadOffset - view.payloadBytes);
  return view;
}

function payloadOf(view: PacketView): Uint8Array {
  return view.bytes.slice(view.payloadOffset, view.payloadOffset + view.payloadBytes);
}

build('UDP, there and back', () => {
  fc.assert(
    fc.property(ip, payload, port, port, (options, bytes, sourcePort, destinationPort) => {
      const frame = buildUdp({ ...options, sourcePort, destinationPort, payload: bytes });
      assert.ok(frame.length >= 60);
      const view = assertIp(frame, options, IpProtocol.UDP);
      assert.ok(view.has(Layer.UDP));
      assert.equal([view.sourcePort, view.destinationPort], [sourcePort, destinationPort]);
      const udp = new UdpView().at(frame, view.l4Offset);
      assert.equal(
        [udp.sourcePort, udp.destinationPort, udp.lengthBytes],
        [sourcePort, destinationPort, 8 + bytes.length],
      );
      assert.is.not(udp.checksum, 0);
      assert.equal(payloadOf(view), bytes);
    }),
  );
});

build('TCP, there and back', () => {
  const tcpFields = fc.record({
    sourcePort: port,
    destinationPort: port,
    sequence: fc.nat(0xffff_ffff),
    acknowledgment: fc.nat(0xffff_ffff),
    flags: fc.nat(255),
    window: port,
    urgentPointer: port,
  });
  fc.assert(
    fc.property(ip, payload, words, tcpFields, (options, bytes, tcpOptions, header) => {
      const frame = buildTcp({ ...options, ...header, tcpOptions, payload: bytes });
      const view = assertIp(frame, options, IpProtocol.TCP);
      assert.ok(view.has(Layer.TCP));
      assert.is(view.tcpFlags, header.flags);
      const tcp = new TcpView().at(frame, view.l4Offset);
      for (const [name, value] of Object.entries(header)) assert.is(tcp[name as keyof TcpView], value, name);
      assert.is(tcp.headerBytes, 20 + tcpOptions.length);
      assert.equal(frame.slice(view.l4Offset + 20, view.payloadOffset), tcpOptions);
      assert.equal(payloadOf(view), bytes);
    }),
  );
});

build('ICMP and ICMPv6, there and back', () => {
  fc.assert(
    fc.property(
      ip,
      payload,
      fc.nat(255),
      fc.nat(255),
      fc.nat(0xffff_ffff),
      (options, bytes, type, code, rest) => {
        const frame = buildIcmp({ ...options, type, code, rest, payload: bytes });
        const isIpv6 = 'flowLabel' in options;
        const view = assertIp(frame, options, isIpv6 ? IpProtocol.ICMPV6 : IpProtocol.ICMP);
        assert.is(view.has(Layer.ICMP), !isIpv6);
        assert.is(view.has(Layer.ICMPV6), isIpv6);
        const icmp = new IcmpView().at(frame, view.l4Offset);
        assert.equal(
          [icmp.type, icmp.code, icmp.identifier, icmp.sequence],
          [type, code, rest >>> 16, rest & 0xffff],
        );
        assert.equal(payloadOf(view), bytes);
      },
    ),
  );
});

build('ARP, there and back', () => {
  const operation = fc.constantFrom('request' as const, 'reply' as const);
  fc.assert(
    fc.property(
      operation,
      macText,
      ipv4Text,
      macText,
      ipv4Text,
      (kind, senderMac, senderIp, targetMac, targetIp) => {
        const frame = buildArp({ operation: kind, senderMac, senderIp, targetMac, targetIp });
        const view = new PacketView();
        assert.ok(parse(frame, 0, frame.length, view));
        assert.ok(view.has(Layer.ARP));
        const arp = new ArpView().at(frame, view.l3Offset);
        assert.is(arp.operation, kind === 'request' ? 1 : 2);
        assert.equal(
          [arp.senderMac, arp.senderIp, arp.targetMac, arp.targetIp],
          [senderMac, senderIp, targetMac, targetIp],
        );
        const ethernet = new EthernetView().at(frame, 0);
        assert.is(ethernet.sourceMac, senderMac);
        assert.is(ethernet.destinationMac, kind === 'request' ? 'ff:ff:ff:ff:ff:ff' : targetMac);
      },
    ),
  );
});

build('fragments: offset and flag, in both versions', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(V4, V6),
      fc.nat(0x1fff),
      fc.boolean(),
      payload,
      (options, offset, more, bytes) => {
        const frame = buildIp({
          ...options,
          protocol: 253,
          fragment: { offsetBytes: offset * 8, moreFragments: more },
          payload: bytes,
        });
        const view = new PacketView();
        assert.ok(parse(frame, 0, frame.length, view));
        assert.equal([view.fragmentOffsetBytes, view.moreFragments], [offset * 8, more]);
        assert.is(view.isFragment, more || offset > 0);
        assert.is(view.protocol, 253);
        assert.equal(payloadOf(view), bytes);
      },
    ),
  );
});

build('raw Ethernet, and frames without padding', () => {
  const frame = buildEthernet({ ...MACS, etherType: 0x88b5, payload: Uint8Array.of(1, 2, 3), minBytes: 0 });
  assert.is(Buffer.from(frame).toString('hex'), '02000000000102000000000288b5010203');
  assert.is(buildEthernet({ ...MACS, etherType: 0x88b5 }).length, 60);
  assert.is(buildEthernet({ ...MACS, etherType: 0x88b5, minBytes: 1000 }).length, 1000);
});

build.run();

const refused = suite('builders refuse');

const UDP = { ...V4, ...PORTS };
for (const [what, action, names] of [
  ['a port above 65535', () => buildUdp({ ...UDP, sourcePort: 65536 }), /sourcePort is 65536/],
  [
    'a port that is text',
    () => buildUdp({ ...UDP, destinationPort: '9' as never }),
    /destinationPort is "9" \(a string\)/,
  ],
  ['a missing port', () => buildUdp({ ...V4, sourcePort: 1 } as never), /destinationPort is undefined/],
  ['a fraction', () => buildUdp({ ...UDP, ttl: 1.5 }), /ttl is 1.5/],
  ['two kinds of addresses', () => buildUdp({ ...UDP, sourceIp: '::1' }), /different kinds/],
  ['a missing address', () => buildUdp({ ...PORTS, ...MACS } as never), /"undefined" is no|undefined is no/],
  ['a bad MAC address', () => buildUdp({ ...UDP, sourceMac: 'nonsense' }), /"nonsense" is no MAC address/],
  ['a text as payload', () => buildUdp({ ...UDP, payload: 'hi' as never }), /payload is "hi" \(a string\)/],
  ['three tags', () => buildUdp({ ...UDP, vlan: [1, 2, 3] }), /3 VLAN tags/],
  ['a VLAN number above 4095', () => buildUdp({ ...UDP, vlan: 4096 }), /vlan.id is 4096/],
  ['a tag type that is none', () => buildUdp({ ...UDP, vlan: { id: 1, tagType: 0x800 } }), /tagType is 2048/],
  ['41 bytes of IPv4 options', () => buildUdp({ ...UDP, ipv4Options: new Uint8Array(41) }), /41 bytes/],
  ['41 bytes of TCP options', () => buildTcp({ ...UDP, tcpOptions: new Uint8Array(41) }), /41 bytes/],
  ['a flow label in IPv4', () => buildUdp({ ...UDP, flowLabel: 1 }), /flowLabel in an IPv4 packet/],
  [
    'IPv4 options in IPv6',
    () => buildUdp({ ...V6, ...PORTS, ipv4Options: new Uint8Array(4) }),
    /ipv4Options in/,
  ],
  ['an identification in IPv6', () => buildUdp({ ...V6, ...PORTS, identification: 1 }), /identification/],
  [
    'UDP as an extension header',
    () => buildUdp({ ...V6, ...PORTS, extensionHeaders: [{ type: 17, body: new Uint8Array(2) }] }),
    /type 17/,
  ],
  [
    'more than an IP packet holds',
    () => buildUdp({ ...UDP, payload: new Uint8Array(65_508) }),
    /65536 bytes/,
  ],
  [
    'more than a frame holds',
    () => buildEthernet({ ...MACS, etherType: 0x88b5, payload: new Uint8Array(70_000) }),
    /70014 bytes/,
  ],
  [
    'an odd fragment offset',
    () => buildIp({ ...V4, protocol: 17, fragment: { offsetBytes: 4, moreFragments: true } }),
    /offsetBytes is 4/,
  ],
  [
    'ARP for IPv6',
    () => buildArp({ operation: 'request', senderMac: MACS.sourceMac, senderIp: '::1', targetIp: '::2' }),
    /senderIp is an IPv6/,
  ],
  [
    'an ARP reply to nobody',
    () =>
      buildArp({ operation: 'reply', senderMac: MACS.sourceMac, senderIp: '10.0.0.1', targetIp: '10.0.0.2' }),
    /without targetMac/,
  ],
  [
    'another ARP operation',
    () =>
      buildArp({
        operation: 'shout' as never,
        senderMac: MACS.sourceMac,
        senderIp: '10.0.0.1',
        targetIp: '10.0.0.2',
      }),
    /operation is "shout"/,
  ],
] as const) {
  refused(what, () => {
    try {
      action();
    } catch (error) {
      assert.ok(error instanceof NicError, String(error));
      assert.ok(['BAD_OPTION', 'BAD_ADDRESS'].includes(error.code), error.code);
      assert.match(error.message, names);
      assert.ok((error.hint ?? '').length > 10, 'a hint');
      return;
    }
    assert.unreachable('it was built');
  });
}

refused.run();
