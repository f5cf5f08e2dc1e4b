/** `describeFrame` against what tcpdump prints, and on frames that are damaged (parse.test.ts tries any bytes). */
import * as assert from 'uvu/assert';
import { buildEthernet, buildTcp, buildUdp, describeFrame, IpProtocol } from '../../src/packet/index.js';
import { suite } from '../support/suite.js';
import { MACS, PORTS, V4, V6, vector } from './scapy-frames.js';
import { TCPDUMP_LINES } from './tcpdump-lines.js';

const describe = suite('describeFrame');

describe('there are enough lines to compare', () => assert.ok(TCPDUMP_LINES.length > 90));

for (const [line, hex] of TCPDUMP_LINES) {
  describe(`as tcpdump: ${line}`, () => {
    const frame = Uint8Array.from(Buffer.from(hex, 'hex'));
    assert.is(describeFrame(frame, frame.length), line);
    const memory = new Uint8Array(frame.length + 30).fill(0x45);
    memory.set(frame, 7);
    assert.is(describeFrame(memory, frame.length, 7), line, 'the same anywhere');
  });
}

const udp = 'IP 198.18.0.1.57344 > 198.19.0.1.9: UDP, length 5';
const badTcp = vector('tcp data');
badTcp[46] = 0x40;
for (const [what, frame, line] of [
  ['one tag', vector('udp vlan'), `vlan 7, p 3, DEI, ${udp}`],
  ['two tags', vector('udp qinq'), `vlan 100, p 0, vlan 7, p 0, ${udp}`],
  ['a tag that is cut', vector('udp vlan').slice(0, 15), ' [|vlan]'],
  [
    '802.3',
    buildEthernet({ ...MACS, etherType: 46 }),
    '02:00:00:00:00:02 > 02:00:00:00:00:01, 802.3, length 46',
  ],
  [
    'another type',
    buildEthernet({ ...MACS, etherType: 0x88b5 }),
    '02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype Unknown (0x88b5), length 60',
  ],
  ['a bad TCP header', badTcp, 'IP 198.18.0.1 > 198.19.0.1: [TCP header has an impossible length]'],
  [
    'a bad TCP option',
    buildTcp({ ...V4, ...PORTS, tcpOptions: Uint8Array.of(2, 9, 0, 0) }),
    'IP 198.18.0.1.57344 > 198.19.0.1.9: Flags [.], ack 0, win 65535, options [[bad opt]], length 0',
  ],
  [
    'a routing header',
    buildUdp({ ...V6, ...PORTS, extensionHeaders: [{ type: IpProtocol.ROUTING, body: new Uint8Array(6) }] }),
    'IP6 2001:db8::1 > 2001:db8:0:1::2: RT 57344 > 9: UDP, length 0',
  ],
] as const) {
  describe(what, () => assert.is(describeFrame(frame, frame.length), line));
}

describe.run();
