/**
 * Frames made by scapy 2.5.0, and the calls of the builders that must make the same bytes. Some are special: the UDP
 * checksum of `udp zero` comes out as 0 and is sent as 0xffff; `ip fragment` and `ip6 fragment` are middle ones.
 */
import {
  buildArp,
  buildIp,
  buildPing,
  buildTcp,
  buildUdp,
  IpProtocol,
  TcpFlag,
} from '../../src/packet/index.js';

export const MACS = { sourceMac: '02:00:00:00:00:02', destinationMac: '02:00:00:00:00:01' };
export const V4 = { ...MACS, sourceIp: '198.18.0.1', destinationIp: '198.19.0.1' };
export const V6 = { ...MACS, sourceIp: '2001:db8::1', destinationIp: '2001:db8:0:1::2' };
export const PORTS = { sourcePort: 57_344, destinationPort: 9 };
const WEB = { sourcePort: 57_344, destinationPort: 80 };
const HELLO = Buffer.from('hello');

export interface Vector {
  readonly name: string;
  readonly hex: string;
  readonly build: () => Uint8Array;
}

export const VECTORS: readonly Vector[] = [
  {
    name: 'udp',
    hex: '020000000001020000000002080045000021000040004011aea4c6120001c6130001e0000009000d4fd068656c6c6f00000000000000000000000000',
    build: () => buildUdp({ ...V4, ...PORTS, payload: HELLO }),
  },
  {
    name: 'udp odd',
    hex: '02000000000102000000000208004500003b000040004011ae8ac6120001c6130001e00000090027927d0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f',
    build: () => buildUdp({ ...V4, ...PORTS, payload: Uint8Array.from({ length: 31 }, (_, i) => i + 1) }),
  },
  {
    name: 'udp vlan',
    hex: '02000000000102000000000281007007080045000021000040004011aea4c6120001c6130001e0000009000d4fd068656c6c6f000000000000000000',
    build: () =>
      buildUdp({ ...V4, ...PORTS, payload: HELLO, vlan: { id: 7, priority: 3, dropEligible: true } }),
  },
  {
    name: 'udp qinq',
    hex: '02000000000102000000000288a8006481000007080045000021000040004011aea4c6120001c6130001e0000009000d4fd068656c6c6f0000000000',
    build: () => buildUdp({ ...V4, ...PORTS, payload: HELLO, vlan: [100, 7] }),
  },
  {
    name: 'udp options',
    hex: '020000000001020000000002080046000025000040004011199cc6120001c613000194040000e0000009000d4fd068656c6c6f000000000000000000',
    build: () => buildUdp({ ...V4, ...PORTS, payload: HELLO, ipv4Options: Uint8Array.of(0x94, 4, 0, 0) }),
  },
  {
    name: 'udp fields',
    hex: '020000000001020000000002080045b8001cbeef00000311dd1c0a0102030a0405060001ffff0008e4cf000000000000000000000000000000000000',
    build: () =>
      buildUdp({
        ...MACS,
        sourceIp: '10.1.2.3',
        destinationIp: '10.4.5.6',
        ttl: 3,
        trafficClass: 0xb8,
        identification: 0xbeef,
        dontFragment: false,
        sourcePort: 1,
        destinationPort: 65535,
      }),
  },
  {
    name: 'tcp syn',
    hex: '02000000000102000000000208004500003c000040004006ae94c6120001c6130001e0000050fffffffe00000000a002faf0e0940000020405b40402080a000000010000000201030307',
    build: () =>
      buildTcp({
        ...V4,
        ...WEB,
        flags: TcpFlag.SYN,
        sequence: 0xffff_fffe,
        window: 64240,
        tcpOptions: Uint8Array.from([2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7]),
      }),
  },
  {
    name: 'tcp data',
    hex: '02000000000102000000000208004500003a000040004006ae96c6120001c6130001e00000500000000180000000501803e8e0b80000474554202f20485454502f312e300d0a0d0a',
    build: () =>
      buildTcp({
        ...V4,
        ...WEB,
        flags: TcpFlag.PSH | TcpFlag.ACK,
        sequence: 1,
        acknowledgment: 0x8000_0000,
        window: 1000,
        payload: Buffer.from('GET / HTTP/1.0\r\n\r\n'),
      }),
  },
  {
    name: 'icmp',
    hex: '020000000001020000000002080045000023000040004001aeb2c6120001c61300010800549712340007616263646566670000000000000000000000',
    build: () => buildPing({ ...V4, identifier: 0x1234, sequence: 7, payload: Buffer.from('abcdefg') }),
  },
  {
    name: 'icmp reply',
    hex: '02000000000102000000000208004500001c000040004001aeb9c6120001c613000100000000ffffffff000000000000000000000000000000000000',
    build: () => buildPing({ ...V4, reply: true, identifier: 0xffff, sequence: 0xffff }),
  },
  {
    name: 'arp request',
    hex: 'ffffffffffff020000000002080600010800060400010200000000020a0000010000000000000a000002000000000000000000000000000000000000',
    build: () =>
      buildArp({
        operation: 'request',
        senderMac: MACS.sourceMac,
        senderIp: '10.0.0.1',
        targetIp: '10.0.0.2',
      }),
  },
  {
    name: 'arp reply',
    hex: '020000000001020000000002080600010800060400020200000000020a0000010200000000010a000002000000000000000000000000000000000000',
    build: () =>
      buildArp({
        operation: 'reply',
        senderMac: MACS.sourceMac,
        senderIp: '10.0.0.1',
        targetMac: MACS.destinationMac,
        targetIp: '10.0.0.2',
      }),
  },
  {
    name: 'udp6',
    hex: '02000000000102000000000286dd60000000000d114020010db800000000000000000000000120010db8000000010000000000000002e0000009000d808268656c6c6f',
    build: () => buildUdp({ ...V6, ...PORTS, payload: HELLO }),
  },
  {
    name: 'udp6 fields',
    hex: '02000000000102000000000286dd6b8abcde000d110120010db800000000000000000000000120010db8000000010000000000000002e0000009000d808268656c6c6f',
    build: () =>
      buildUdp({ ...V6, ...PORTS, payload: HELLO, trafficClass: 0xb8, flowLabel: 0xabcde, ttl: 1 }),
  },
  {
    name: 'udp6 extensions',
    hex: '02000000000102000000000286dd60000000001d004020010db800000000000000000000000120010db80000000100000000000000023c000502000001001100010400000000e0000009000d808268656c6c6f',
    build: () =>
      buildUdp({
        ...V6,
        ...PORTS,
        payload: HELLO,
        extensionHeaders: [
          { type: IpProtocol.HOP_BY_HOP, body: Uint8Array.of(5, 2, 0, 0, 1, 0) },
          { type: IpProtocol.DESTINATION_OPTIONS, body: Uint8Array.of(1, 4, 0, 0, 0, 0) },
        ],
      }),
  },
  {
    name: 'tcp6',
    hex: '02000000000102000000000286dd600000000014064020010db800000000000000000000000120010db8000000010000000000000002e000005000000005000000065010ffff74030000',
    build: () => buildTcp({ ...V6, ...WEB, sequence: 5, acknowledgment: 6 }),
  },
  {
    name: 'icmp6',
    hex: '02000000000102000000000286dd60000000000f3a4020010db800000000000000000000000120010db8000000010000000000000002800080d71234000761626364656667',
    build: () => buildPing({ ...V6, identifier: 0x1234, sequence: 7, payload: Buffer.from('abcdefg') }),
  },
  {
    name: 'ip fragment',
    hex: '02000000000102000000000208004500002c007720b94011cd69c6120001c61300017878787878787878787878787878787878787878787878780000',
    build: () =>
      buildIp({
        ...V4,
        protocol: IpProtocol.UDP,
        identification: 0x77,
        fragment: { offsetBytes: 1480, moreFragments: true },
        payload: new Uint8Array(24).fill(0x78),
      }),
  },
  {
    name: 'ip6 fragment',
    hex: '02000000000102000000000286dd6000000000202c4020010db800000000000000000000000120010db8000000010000000000000002110005a9deadbeef787878787878787878787878787878787878787878787878',
    build: () =>
      buildIp({
        ...V6,
        protocol: IpProtocol.UDP,
        identification: 0xdead_beef,
        fragment: { offsetBytes: 1448, moreFragments: true },
        payload: new Uint8Array(24).fill(0x78),
      }),
  },
  {
    name: 'udp zero',
    hex: '02000000000102000000000208004500001e000040004011aea7c6120001c6130001e0000009000affff93a800000000000000000000000000000000',
    build: () => buildUdp({ ...V4, ...PORTS, payload: Uint8Array.of(0x93, 0xa8) }),
  },
];

/** The bytes of scapy's frame of that name. */
export function vector(name: string): Uint8Array {
  const found = VECTORS.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(`no frame "${name}"`);
  return Uint8Array.from(Buffer.from(found.hex, 'hex'));
}
