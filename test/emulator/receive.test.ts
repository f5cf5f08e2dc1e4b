/** Receive path: descriptors, filters, buffers, drops (82599 datasheet 7.1). */
import * as assert from 'uvu/assert';
import { suite } from '../support/suite.js';
import { BROADCAST, frame, packet, R, rx, TestNic } from './support.js';

const DD = 1;
const EOP = 2;

const receive = suite('receive');

receive('stores a frame and writes the descriptor back', () => {
  const nic = new TestNic().setUpRx();
  const bytes = frame(nic.model.mac, 60);
  assert.ok(nic.arrive(bytes));
  const words = nic.rxWords(0);
  assert.is(words[2]! & 3, DD | EOP);
  assert.is(words[3]! & 0xffff, 60);
  assert.equal(nic.rxBuffer(0, 60), bytes);
  assert.is(nic.read(rx(0, 'RDH')), 1);
  assert.equal(nic.violations, []);
});

receive('wraps around the ring and gives every frame once', () => {
  const nic = new TestNic().setUpRx({ count: 8 });
  for (let i = 0; i < 50; i++) {
    const bytes = frame(nic.model.mac, 60 + i);
    assert.ok(nic.arrive(bytes));
    assert.equal(nic.receive()?.bytes, bytes);
    assert.is(nic.receive(), undefined);
  }
});

receive('spreads a long frame over several buffers with EOP on the last', () => {
  const nic = new TestNic().setUpRx({ bufferKib: 1, count: 16 });
  nic.write(R.HLREG0, nic.read(R.HLREG0) | 4);
  nic.write(R.MAXFRS, 9018 << 16);
  const bytes = frame(nic.model.mac, 2500);
  assert.ok(nic.arrive(bytes));
  assert.is(nic.rxWords(0)[2]! & 3, DD);
  assert.is(nic.rxWords(1)[2]! & 3, DD);
  assert.is(nic.rxWords(2)[2]! & 3, DD | EOP);
  assert.is(nic.rxWords(2)[3]! & 0xffff, 2500 - 2048);
  assert.equal(nic.receive()?.bytes, bytes);
});

receive('legacy descriptors keep the address and have length before status', () => {
  const nic = new TestNic().setUpRx({ legacy: true });
  const before = nic.rxWords(0);
  nic.arrive(packet(nic.model.mac));
  const words = nic.rxWords(0);
  assert.is(words[0], before[0]);
  assert.is(words[2]! & 0xffff, 60);
  // DD, EOP, IPCS (6), L4CS (5), no errors
  assert.is(words[3], 0x63);
});

receive('drops when no descriptor is left and Drop_En is set; QPRDC counts', () => {
  const nic = new TestNic().setUpRx({ count: 8, drop: true });
  for (let i = 0; i < 7; i++) assert.ok(nic.arrive(frame(nic.model.mac)));
  assert.not(nic.arrive(frame(nic.model.mac)));
  assert.is(nic.read(0x1430), 1);
  assert.is(nic.read(0x1430), 0);
});

receive('keeps frames in the packet buffer without Drop_En until descriptors come', () => {
  const nic = new TestNic().setUpRx({ count: 8 });
  const frames = Array.from({ length: 20 }, (_, i) => frame(nic.model.mac, 60 + i));
  for (const bytes of frames) assert.ok(nic.arrive(bytes));
  for (const bytes of frames) {
    nic.model.poll(1);
    assert.equal(nic.receive()?.bytes, bytes);
  }
});

receive('a full packet buffer counts in MPC beside GPRC, and raises RX_MISS', () => {
  const nic = new TestNic().setUpRx({ count: 8 });
  nic.write(0x3c00, 4 << 10); // RXPBSIZE(0): 4 KiB
  let lost = 0;
  for (let i = 0; i < 20; i++) if (!nic.arrive(frame(nic.model.mac, 1000))) lost++;
  assert.is(lost, 20 - 7 - 4);
  assert.is(nic.read(0x3fa0), lost);
  assert.is(nic.read(0x4074), 20);
  assert.is(nic.read(R.EICR) & (1 << 17), 1 << 17);
});

receive('nothing arrives before RXEN, or in a queue that is off', () => {
  const nic = new TestNic().setUpRx();
  nic.write(R.RXCTRL, 0);
  nic.arrive(frame(nic.model.mac));
  nic.write(R.RXCTRL, 1);
  nic.write(rx(0, 'RXDCTL'), 0);
  nic.arrive(frame(nic.model.mac));
  assert.is(nic.rxWords(0)[2], 0);
});

receive('takes its own address, broadcast only with BAM, others only when promiscuous', () => {
  const nic = new TestNic().setUpRx({ count: 64 });
  const stranger = Uint8Array.of(2, 1, 2, 3, 4, 5);
  nic.arrive(frame(stranger));
  nic.arrive(frame(BROADCAST));
  assert.is(nic.read(rx(0, 'RDH')), 0);
  nic.write(R.FCTRL, 1 << 10);
  nic.arrive(frame(BROADCAST));
  assert.is(nic.read(rx(0, 'RDH')), 1);
  nic.write(R.FCTRL, 1 << 9);
  nic.arrive(frame(stranger));
  assert.is(nic.read(rx(0, 'RDH')), 2);
});

receive('takes multicast that the table has, in each of the four hash positions, marked inexact', () => {
  const address = Uint8Array.of(0x01, 0x00, 0x5e, 0x01, 0xa5, 0x7c);
  const high = 0x7ca5; // bits 47:32 of the address
  for (const [mode, index] of [
    [0, high >>> 4],
    [1, (high >>> 3) & 0xfff],
    [2, (high >>> 2) & 0xfff],
    [3, high & 0xfff],
  ] as const) {
    const nic = new TestNic().setUpRx();
    nic.write(R.MTA0 + (index >>> 5) * 4, (1 << (index & 31)) >>> 0);
    nic.write(R.MCSTCTRL, mode);
    nic.arrive(frame(address));
    assert.is(nic.rxWords(0)[2], 0, 'MFE off');
    nic.write(R.MCSTCTRL, mode | 4);
    nic.arrive(frame(address));
    assert.is(nic.rxWords(0)[2]! & 0x83, 0x83, `MO ${mode}`);
  }
});

receive('takes an address in any of the 128 pairs, with RAH.AV only', () => {
  const nic = new TestNic().setUpRx();
  const address = Uint8Array.of(2, 9, 8, 7, 6, 5);
  nic.write(R.RAL0 + 127 * 8, 0x07080902);
  nic.write(R.RAL0 + 127 * 8 + 4, 0x0506);
  nic.arrive(frame(address));
  assert.is(nic.rxWords(0)[2], 0);
  nic.write(R.RAL0 + 127 * 8 + 4, 0x80000506);
  nic.arrive(frame(address));
  assert.is(nic.rxWords(0)[2]! & 1, 1);
});

receive('filters VLANs and strips tags on request', () => {
  const nic = new TestNic().setUpRx({ stripVlan: true });
  nic.write(R.VLNCTRL, 0x8100 | (1 << 30));
  nic.write(R.VFTA0 + (100 >>> 5) * 4, 1 << (100 & 31));
  nic.arrive(packet(nic.model.mac, { vlan: 101 }));
  assert.is(nic.rxWords(0)[2], 0);
  const tagged = packet(nic.model.mac, { vlan: 0x6064, payload: new Uint8Array(80) });
  nic.arrive(tagged);
  const words = nic.rxWords(0);
  assert.is(words[2]! & 8, 8, 'VP');
  assert.is(words[3]! >>> 16, 0x6064);
  assert.is(words[3]! & 0xffff, tagged.length - 4);
  assert.equal(nic.rxBuffer(0, 12), tagged.slice(0, 12));
  assert.equal(nic.rxBuffer(0, tagged.length - 4).slice(12), tagged.slice(16));
});

receive('leaves tags in place when the queue does not strip', () => {
  const nic = new TestNic().setUpRx();
  const tagged = packet(nic.model.mac, { vlan: 5 });
  nic.arrive(tagged);
  assert.is(nic.rxWords(0)[2]! & 8, 0);
  assert.equal(nic.receive()?.bytes, tagged);
});

receive('keeps the FCS when HLREG0.RXCRCSTRP is off', () => {
  const nic = new TestNic().setUpRx();
  nic.write(R.HLREG0, nic.read(R.HLREG0) & ~2);
  // "123456789" has CRC-32 0xCBF43926; a frame's FCS makes the CRC over both a constant, so check by length and order.
  const bytes = frame(nic.model.mac, 60);
  nic.arrive(bytes);
  const got = nic.receive()!;
  assert.is(got.bytes.length, 64);
  assert.is(residue(got.bytes), 0xdebb20e3);
});

receive('counts and drops frames that are too short or too long', () => {
  const nic = new TestNic().setUpRx();
  nic.arrive(frame(nic.model.mac, 59));
  nic.arrive(frame(nic.model.mac, 1515));
  assert.is(nic.rxWords(0)[2], 0);
  assert.is(nic.read(0x040a4), 1, 'RUC');
  assert.is(nic.read(0x040ac), 1, 'ROC');
  nic.arrive(frame(nic.model.mac, 1514));
  nic.arrive(packet(nic.model.mac, { vlan: 1, payload: new Uint8Array(1472) }));
  assert.is(nic.read(rx(0, 'RDH')), 2, 'a tagged frame may have 4 octets more');
});

/** Counters of wrong frames (8.2.3.23): CRCERRS, RLEC, RUC, RFC, ROC, RJC. */
const wrongFrames = (nic: TestNic): number[] =>
  [0x04000, 0x04040, 0x040a4, 0x040a8, 0x040ac, 0x040b0].map((register) => nic.read(register));

receive('one wrong frame counts in one counter, and only where it was for this port', () => {
  const nic = new TestNic().setUpRx();
  const other = Uint8Array.of(2, 0, 0, 0, 0, 0x55);
  nic.arrive(frame(nic.model.mac, 59));
  assert.equal(wrongFrames(nic), [0, 0, 1, 0, 0, 0]);
  nic.arrive(frame(nic.model.mac, 1515));
  assert.equal(wrongFrames(nic), [0, 0, 0, 0, 1, 0]);
  for (const length of [59, 1515]) nic.arrive(frame(other, length));
  assert.equal(wrongFrames(nic), [0, 0, 0, 0, 0, 0]);
  assert.is(nic.read(0x04074), 0, 'GPRC');
});

receive('a damaged frame is only counted, by its length', () => {
  const nic = new TestNic().setUpRx();
  nic.model.damaged(60);
  assert.equal(wrongFrames(nic), [1, 0, 0, 0, 0, 0]);
  nic.model.damaged(59);
  assert.equal(wrongFrames(nic), [0, 0, 0, 1, 0, 0]);
  // CRCERRS has all of 64 octets and more, jabbers too.
  nic.model.damaged(2000);
  assert.equal(wrongFrames(nic), [1, 0, 0, 0, 0, 1]);
  assert.is(nic.rxWords(0)[2], 0);
});

receive('a length field that does not fit is an error, while HLREG0.RXLNGTHERREN is set', () => {
  // IEEE 802.3, 5.2.2.1.31: what is shorter than 46 bytes may be padded, no more.
  const cases: [field: number, length: number, wrong: boolean][] = [
    [46, 60, false],
    [10, 60, false],
    [10, 61, true],
    [46, 61, true],
    [1500, 1514, false],
    [1499, 1514, true],
    [100, 60, true],
    [0x88b5, 60, false],
  ];
  for (const [field, length, wrong] of cases) {
    const nic = new TestNic().setUpRx();
    nic.arrive(frame(nic.model.mac, length, field));
    assert.equal(wrongFrames(nic), [0, wrong ? 1 : 0, 0, 0, 0, 0], `${field} in ${length}`);
    assert.is(nic.rxWords(0)[2]! & DD, wrong ? 0 : DD, `${field} in ${length}`);
  }
  const nic = new TestNic().setUpRx();
  nic.write(R.HLREG0, nic.read(R.HLREG0) & ~(1 << 27));
  nic.arrive(frame(nic.model.mac, 61, 46));
  assert.equal(wrongFrames(nic), [0, 0, 0, 0, 0, 0]);
  assert.is(nic.rxWords(0)[2]! & DD, DD);
});

receive('MAXFRS sets the longest frame where JUMBOEN is set, FCS counted and a tag not', () => {
  const nic = new TestNic().setUpRx({ bufferKib: 10, count: 8 });
  const mac = nic.model.mac;
  nic.write(R.MAXFRS, 9018 << 16);
  nic.arrive(frame(mac, 1515));
  assert.is(nic.read(0x040ac), 1, 'without JUMBOEN, MAXFRS means nothing');
  nic.write(R.HLREG0, nic.read(R.HLREG0) | 4);
  for (const length of [1515, 2048, 9014]) {
    const bytes = frame(mac, length);
    assert.ok(nic.arrive(bytes));
    assert.equal(nic.receive()?.bytes, bytes);
  }
  nic.arrive(frame(mac, 9015));
  nic.arrive(frame(mac, 9018, 0x8100));
  nic.arrive(frame(mac, 9019, 0x8100));
  assert.is(nic.read(0x040ac), 2, 'ROC');
  assert.is(nic.receive()?.bytes.length, 9018);
  assert.is(nic.receive(), undefined);
  assert.is(nic.read(0x04070), 4, 'PRC1522 has every good frame from 1024 octets on');
  nic.write(R.MAXFRS, 9728 << 16);
  assert.ok(nic.arrive(frame(mac, 9724)), '9.5 KiB');
  assert.is(nic.receive()?.bytes.length, 9724);
});

receive('a frame that no free descriptors can hold is dropped whole', () => {
  const nic = new TestNic().setUpRx({ bufferKib: 1, count: 8, give: 3, drop: true });
  nic.write(R.HLREG0, nic.read(R.HLREG0) | 4);
  nic.write(R.MAXFRS, 9018 << 16);
  assert.not(nic.arrive(frame(nic.model.mac, 3073)));
  assert.is(nic.rxWords(0)[2], 0, 'no piece of it');
  assert.ok(nic.arrive(frame(nic.model.mac, 3072)));
  assert.is(nic.receive()?.bytes.length, 3072);
});

receive('frames to a queue that is off are dropped, and counted in QPRDC', () => {
  const nic = new TestNic().promiscuous();
  nic.enableBusMaster();
  nic.write(R.RXCTRL, 1);
  assert.not(nic.arrive(frame(nic.model.mac)));
  assert.is(nic.read(0x01430), 1);
  nic.setUpRx({ count: 8, give: 0 });
  for (let i = 0; i < 3; i++) assert.ok(nic.arrive(frame(nic.model.mac)), 'waits');
  nic.write(rx(0, 'RXDCTL'), 0);
  nic.model.poll(1);
  assert.is(nic.read(0x01430), 3);
  assert.is(nic.read(0x04074), 4, 'GPRC has them all');
});

receive('frames that wait are dropped when the queue is told to drop (SRRCTL.Drop_En) while it runs', () => {
  const nic = new TestNic({ strict: true }).setUpRx({ count: 8, give: 0 });
  for (let i = 0; i < 3; i++) assert.ok(nic.arrive(frame(nic.model.mac)));
  assert.is(nic.read(0x01430), 0, 'QPRDC(0)');
  nic.write(rx(0, 'SRRCTL'), nic.read(rx(0, 'SRRCTL')) | (1 << 28));
  nic.model.poll(1);
  assert.is(nic.read(0x01430), 3);
  assert.not(nic.arrive(frame(nic.model.mac)));
  nic.write(rx(0, 'RDT'), 1);
  nic.model.poll(1);
  assert.is(nic.rxWords(0)[2], 0, 'nothing waits any more');
});

receive('reports packet type and checksums', () => {
  const v6 = {
    source: [0x20, 1, ...new Array(13).fill(0), 1],
    destination: [0x20, 1, ...new Array(13).fill(0), 2],
  };
  const cases: [string, Parameters<typeof packet>[1], number, number][] = [
    // packet type bits, status and error bits besides DD and EOP
    ['UDP in IPv4', {}, 0x210, 0x60],
    ['TCP in IPv4', { protocol: 'tcp' }, 0x110, 0x60],
    ['UDP in IPv6', v6, 0x240, 0x20],
    ['TCP in IPv6', { ...v6, protocol: 'tcp' }, 0x140, 0x20],
    ['odd length', { payload: new Uint8Array(41).fill(0xa7) }, 0x210, 0x60],
    ['bad IP checksum', { badIpChecksum: true }, 0x210, 0x80000060],
    ['bad UDP checksum', { badL4Checksum: true }, 0x210, 0x40000060],
    ['bad TCP checksum', { badL4Checksum: true, protocol: 'tcp' }, 0x110, 0x40000060],
    ['UDP without checksum', { zeroUdpChecksum: true }, 0x210, 0x40],
    ['fragment', { fragment: 0x2000 }, 0x10, 0x40],
  ];
  for (const [name, options, type, status] of cases) {
    const nic = new TestNic().setUpRx();
    nic.arrive(packet(nic.model.mac, options));
    const words = nic.rxWords(0);
    assert.is(words[0]!, type, `${name}: type`);
    assert.is((words[2]! & ~3) >>> 0, status >>> 0, `${name}: status`);
  }
  const nic = new TestNic().setUpRx();
  nic.arrive(frame(nic.model.mac));
  assert.is(nic.rxWords(0)[0], 0, 'not IP');
});

receive('checksums are right at every alignment of the sender', () => {
  const nic = new TestNic().setUpRx({ count: 64 });
  for (let shift = 0; shift < 8; shift++) {
    for (const length of [18, 19, 20, 21]) {
      const bytes = packet(nic.model.mac, {
        payload: new Uint8Array(length + 40).map((_, i) => i * 37 + shift),
      });
      const memory = { bytes: new Uint8Array(512), words: new Int32Array(0) };
      const whole = { bytes: memory.bytes, words: new Int32Array(memory.bytes.buffer) };
      whole.bytes.set(bytes, shift);
      nic.model.deliver(whole, shift, bytes.length);
      const got = nic.receive()!;
      assert.is(got.words[2]! & ~3, 0x60, `shift ${shift} length ${length}`);
      assert.equal(got.bytes, bytes);
    }
  }
});

/** CRC-32 register after a frame with its FCS, before the final inversion (IEEE 802.3: a constant). */
function residue(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return crc >>> 0;
}

receive.run();

// Microsoft's verification suite for RSS: the key, and addresses, ports and hashes of its tables.
const KEY = [
  0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
  0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
  0xbe, 0xac, 0x01, 0xfa,
];
const IPV4_VECTORS: [string, number, string, number, number, number][] = [
  // destination, port, source, port, hash of addresses, hash with TCP ports
  ['161.142.100.80', 1766, '66.9.149.187', 2794, 0x323e8fc2, 0x51ccc178],
  ['65.69.140.83', 4739, '199.92.111.2', 14230, 0xd718262a, 0xc626b0ea],
  ['12.22.207.184', 38024, '24.19.198.95', 12898, 0xd2d0a5de, 0x5c2b394a],
  ['209.142.163.6', 2217, '38.27.205.30', 48228, 0x82989176, 0xafc7327f],
  ['202.188.127.2', 1303, '153.39.163.191', 44251, 0x5d1809c5, 0x10e828a2],
];
const IPV6_VECTORS: [string, number, string, number, number, number][] = [
  ['3ffe:2501:200:3::1', 1766, '3ffe:2501:200:1fff::7', 2794, 0x2cc18cd5, 0x40207d3d],
  ['ff02::1', 4739, '3ffe:501:8::260:97ff:fe40:efab', 14230, 0x0f0c461c, 0xdde51bbf],
  ['fe80::200:f8ff:fe21:67cf', 38024, '3ffe:1900:4545:3:200:f8ff:fe21:67cf', 44251, 0x4b61e985, 0x02d1feef],
];

const rss = suite('RSS');

function rssNic(fields: number): TestNic {
  const nic = new TestNic({});
  for (let i = 0; i < 10; i++) {
    nic.write(
      R.RSSRK0 + i * 4,
      KEY[i * 4]! | (KEY[i * 4 + 1]! << 8) | (KEY[i * 4 + 2]! << 16) | (KEY[i * 4 + 3]! << 24),
    );
  }
  // RETA: entry n leads to queue n % 4
  for (let i = 0; i < 32; i++) nic.write(R.RETA0 + i * 4, 0x03020100);
  nic.write(R.RXCSUM, 1 << 13); // PCSD: hash instead of fragment checksum
  nic.write(R.MRQC, fields | 1);
  for (let queue = 0; queue < 4; queue++) nic.setUpRx({ queue });
  return nic;
}

function hashOf(nic: TestNic, bytes: Uint8Array): { hash: number; type: number; queue: number } {
  nic.arrive(bytes);
  for (let queue = 0; queue < 4; queue++) {
    const words = nic.rxWords(0, queue);
    if ((words[2]! & 1) !== 0) return { hash: words[1]!, type: words[0]! & 0xf, queue };
  }
  throw new Error('no queue got the packet');
}

function v4(address: string): number[] {
  return address.split('.').map(Number);
}

function v6(address: string): number[] {
  const [head = '', tail = ''] = address.split('::');
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16));
  const first = words(head);
  const last = address.includes('::') ? words(tail) : [];
  const all = [...first, ...new Array(8 - first.length - last.length).fill(0), ...last];
  return all.flatMap((word: number) => [word >>> 8, word & 0xff]);
}

for (const [name, vectors, parse, base] of [
  ['IPv4', IPV4_VECTORS, v4, { tcp: 1 << 16, ip: 1 << 17, udp: 1 << 22, tcpType: 1, ipType: 2, udpType: 7 }],
  ['IPv6', IPV6_VECTORS, v6, { tcp: 1 << 21, ip: 1 << 20, udp: 1 << 23, tcpType: 3, ipType: 5, udpType: 8 }],
] as const) {
  rss(`computes the published hashes of ${name}`, () => {
    for (const [destination, destinationPort, source, sourcePort, ipHash, tcpHash] of vectors) {
      const options = { source: parse(source), destination: parse(destination), sourcePort, destinationPort };
      const check = (fields: number, protocol: 'tcp' | 'udp', hash: number, type: number): void => {
        const nic = rssNic(fields);
        const got = hashOf(nic, packet(nic.model.mac, { ...options, protocol }));
        assert.equal(got, { hash, type, queue: (hash & 0x7f) % 4 });
      };
      check(base.tcp | base.ip, 'tcp', tcpHash, base.tcpType);
      check(base.udp, 'udp', tcpHash, base.udpType);
      check(base.ip, 'tcp', ipHash, base.ipType);
      check(base.tcp | base.ip, 'udp', ipHash, base.ipType);
    }
  });
}

rss('frames without a hash go where entry 0 says', () => {
  const nic = rssNic(1 << 16);
  assert.equal(hashOf(nic, frame(nic.model.mac)), { hash: 0, type: 0, queue: 0 });
});

rss('fragments are hashed by address only', () => {
  const [destination, , source, , ipHash] = IPV4_VECTORS[0]!;
  const nic = rssNic((1 << 16) | (1 << 17));
  const bytes = packet(nic.model.mac, {
    source: v4(source),
    destination: v4(destination),
    protocol: 'tcp',
    fragment: 1,
  });
  assert.is(hashOf(nic, bytes).hash, ipHash);
});

rss.run();
