/** Transmit path: descriptors, gathering, write-back, offloads (82599 datasheet 7.2). */
import * as assert from 'uvu/assert';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import {
  BROADCAST,
  concat,
  DATA,
  EOP,
  frame,
  IFCS,
  internetChecksum,
  MEMORY_IOVA,
  packet,
  R,
  Recorder,
  RS,
  SCRATCH,
  TestNic,
  TSE,
  TX_RING,
  tx,
  VLE,
} from './support.js';

function sender(options: Parameters<TestNic['setUpTx']>[0] = {}): { nic: TestNic; wire: Recorder } {
  const nic = new TestNic().setUpTx(options);
  const wire = new Recorder();
  connect(nic.model, wire);
  return { nic, wire };
}

const transmit = suite('transmit');

transmit('sends a frame and reports it done', () => {
  const { nic, wire } = sender();
  const bytes = frame(BROADCAST, 100);
  const index = nic.send(bytes);
  assert.equal(wire.frames, [bytes]);
  assert.ok(nic.txDone(index));
  assert.is(nic.read(tx(0, 'TDH')), 1);
  assert.equal(nic.violations, []);
});

transmit('wraps around the ring', () => {
  const { nic, wire } = sender({ count: 8 });
  for (let i = 0; i < 30; i++) nic.send(frame(BROADCAST, 60 + i));
  assert.equal(
    wire.frames.map((f) => f.length),
    Array.from({ length: 30 }, (_, i) => 60 + i),
  );
});

transmit('sends no more than the budget at once, and the rest later', () => {
  const { nic, wire } = sender({ count: 64 });
  const iova = nic.putBuffer(0, frame(BROADCAST));
  for (let i = 0; i < 20; i++) nic.putTx([iova, 0, 60 | DATA | EOP | IFCS | RS, 60 << 14], i === 19);
  assert.is(nic.model.poll(8), 8);
  assert.is(nic.model.poll(8), 8);
  assert.is(nic.model.poll(8), 4);
  assert.is(nic.model.poll(8), 0);
  assert.is(wire.frames.length, 20);
});

transmit('writes DD only where RS asks for it', () => {
  const { nic } = sender();
  const iova = nic.putBuffer(0, frame(BROADCAST));
  const quiet = nic.putTx([iova, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  const asked = nic.putTx([iova, 0, 60 | DATA | EOP | IFCS | RS, 60 << 14]);
  nic.model.poll(8);
  assert.not(nic.txDone(quiet));
  assert.ok(nic.txDone(asked));
});

transmit('writes the head to memory instead where TDWBAL says so', () => {
  const { nic } = sender();
  nic.write(tx(0, 'TDWBAL'), (MEMORY_IOVA + SCRATCH) | 1);
  const index = nic.send(frame(BROADCAST));
  assert.is(nic.word(SCRATCH), 1);
  assert.not(nic.txDone(index));
});

transmit('gathers a frame from several buffers at any alignment', () => {
  const { nic, wire } = sender({ count: 16 });
  const bytes = frame(BROADCAST, 777);
  let at = 0;
  for (const [slot, length] of [
    [1, 13],
    [2, 1],
    [3, 400],
    [4, 363],
  ] as const) {
    const iova = nic.putBuffer(slot, bytes.slice(at, at + length), slot);
    at += length;
    const last = at === bytes.length;
    nic.putTx([iova, 0, length | DATA | IFCS | (last ? EOP | RS : 0), 777 << 14]);
    if (!last) assert.is(nic.model.poll(8), 0, 'waits for EOP');
  }
  nic.model.poll(8);
  assert.equal(wire.frames, [bytes]);
  assert.is(nic.read(tx(0, 'TDH')), 4);
});

transmit('pads short frames with zeros when HLREG0.TXPADEN is set', () => {
  const { nic, wire } = sender();
  nic.send(frame(BROADCAST, 42));
  assert.is(wire.frames[0]!.length, 60);
  assert.equal(wire.frames[0]!.slice(42), new Uint8Array(18));
  nic.write(R.HLREG0, nic.read(R.HLREG0) & ~(1 << 10));
  nic.send(frame(BROADCAST, 42));
  assert.is(wire.frames[1]!.length, 42);
});

transmit('sends legacy descriptors, with checksum and tag on request', () => {
  const { nic, wire } = sender();
  const bytes = packet(BROADCAST, { payload: new Uint8Array(30).fill(7) });
  const clean = bytes.slice();
  clean.fill(0, 24, 26);
  const iova = nic.putBuffer(0, clean);
  // CSO 24, CSS 14: hardware sums to the end of the frame, so compare with the same sum
  const expected = internetChecksum(clean.slice(14));
  nic.putTx([iova, 0, clean.length | (24 << 16) | EOP | IFCS | RS | (1 << 26), 14 << 8]);
  nic.model.poll(8);
  assert.is((wire.frames[0]![24]! << 8) | wire.frames[0]![25]!, expected);
  assert.ok(nic.txDone(0));
  nic.putTx([iova, 0, clean.length | EOP | IFCS | VLE, 0x2123 << 16]);
  nic.model.poll(8);
  assert.equal([...wire.frames[1]!.slice(12, 18)], [0x81, 0, 0x21, 0x23, 8, 0]);
});

transmit('without IFCS the last four bytes are the FCS, checked at the other end', () => {
  const { nic, wire } = sender();
  const bytes = frame(BROADCAST, 60);
  const iova = nic.putBuffer(0, concat([bytes, new Uint8Array(4)]));
  nic.putTx([iova, 0, 64 | DATA | EOP | RS, 64 << 14]);
  nic.model.poll(8);
  assert.is(wire.damagedCount, 1);
  assert.is(wire.frames.length, 0);
});

transmit('does nothing without TE, with ARBDIS, without bus master, or with the queue off', () => {
  const { nic, wire } = sender();
  const blocked = (what: string): void => {
    assert.is(nic.model.poll(8), 0, what);
    assert.is(wire.frames.length, 0, what);
  };
  nic.write(R.DMATXCTL, 0x81000000);
  nic.send(frame(BROADCAST));
  blocked('TE');
  nic.write(R.DMATXCTL, 0x81000001);
  nic.write(R.RTTDCS, 1 << 6);
  blocked('ARBDIS');
  nic.write(R.RTTDCS, 0);
  nic.setConfig16(4, 2);
  blocked('bus master');
  nic.enableBusMaster();
  nic.write(R.CTRL, 4);
  blocked('GIO master disable');
  nic.write(R.CTRL, 0);
  nic.write(tx(0, 'TXDCTL'), 0);
  blocked('queue');
  nic.write(tx(0, 'TXDCTL'), 1 << 25);
  assert.is(nic.model.poll(8), 1);
});

transmit('frames are lost while the link is down', () => {
  const { nic, wire } = sender();
  const other = new TestNic().setUpTx();
  const link = connect(other.model, wire);
  link.setCarrier(false);
  const index = other.send(frame(BROADCAST));
  assert.ok(other.txDone(index));
  assert.is(wire.frames.length, 0);
  void nic;
});

transmit('loopback brings frames back', () => {
  const nic = new TestNic().setUpTx().setUpRx().promiscuous();
  nic.write(R.HLREG0, nic.read(R.HLREG0) | (1 << 15));
  const bytes = frame(BROADCAST, 99);
  nic.send(bytes);
  assert.equal(nic.receive()?.bytes, bytes);
});

transmit('loopback keeps to itself: nothing goes to the wire, and nothing comes from it', () => {
  const nic = new TestNic().setUpTx().setUpRx().promiscuous();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.write(R.HLREG0, nic.read(R.HLREG0) | (1 << 15));
  nic.arrive(frame(BROADCAST, 77));
  assert.is(nic.receive(), undefined);
  nic.send(frame(BROADCAST, 99));
  assert.is(nic.receive()?.bytes.length, 99);
  assert.is(wire.frames.length, 0);
  nic.write(R.HLREG0, nic.read(R.HLREG0) & ~(1 << 15));
  nic.arrive(frame(BROADCAST, 77));
  assert.is(nic.receive()?.bytes.length, 77);
});

transmit('shares the budget between queues', () => {
  const { nic, wire } = sender({ count: 64 });
  nic.setUpTx({ queue: 1, count: 64 });
  const one = nic.putBuffer(0, frame(BROADCAST, 61));
  const two = nic.putBuffer(1, frame(BROADCAST, 62));
  for (let i = 0; i < 60; i++) {
    nic.setWords(TX_RING + i * 16, [one, 0, 61 | DATA | EOP | IFCS, 61 << 14]);
    nic.setWords(TX_RING + 0x1000 + i * 16, [two, 0, 62 | DATA | EOP | IFCS, 62 << 14]);
  }
  nic.write(tx(0, 'TDT'), 60);
  nic.write(tx(1, 'TDT'), 60);
  nic.model.poll(16);
  assert.is(wire.frames.filter((f) => f.length === 61).length, 8);
  assert.is(wire.frames.filter((f) => f.length === 62).length, 8);
});

transmit('waits for room with flow control', () => {
  const nic = new TestNic().setUpTx({ count: 32 });
  const wire = new Recorder();
  connect(nic.model, wire, { flowControl: true });
  const iova = nic.putBuffer(0, frame(BROADCAST));
  for (let i = 0; i < 10; i++) nic.putTx([iova, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  wire.available = 3;
  assert.is(nic.model.poll(64), 3);
  wire.available = 0;
  assert.is(nic.model.poll(64), 0);
  wire.available = 100;
  assert.is(nic.model.poll(64), 7);
});

transmit.run();

/** Context descriptor (7.2.3.2.3). */
function context(
  macLen: number,
  ipLen: number,
  options: { ipv4?: boolean; l4?: number; l4Len?: number; mss?: number; vlan?: number; index?: number },
): number[] {
  return [
    ipLen | (macLen << 9) | ((options.vlan ?? 0) << 16),
    0,
    (1 << 29) | (2 << 20) | ((options.ipv4 ?? true) ? 1 << 10 : 0) | ((options.l4 ?? 0) << 11),
    ((options.index ?? 0) << 4) | ((options.l4Len ?? 0) << 8) | ((options.mss ?? 0) << 16),
  ];
}

/** Sum of the pseudo header, not complemented, as drivers put it into the checksum field. */
function pseudoSum(bytes: Uint8Array, l3: number, v6: boolean, protocol: number, length: number): number {
  const addresses = bytes.slice(l3 + (v6 ? 8 : 12), l3 + (v6 ? 40 : 20));
  return ~internetChecksum(concat([addresses, Uint8Array.of(0, protocol, length >>> 8, length)])) & 0xffff;
}

const offload = suite('transmit offload');
const IXSM = 1 << 8;
const TXSM = 1 << 9;

for (const [name, source, protocol] of [
  ['UDP in IPv4', [10, 0, 0, 1], 'udp'],
  ['TCP in IPv4', [10, 0, 0, 1], 'tcp'],
  ['UDP in IPv6', [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 'udp'],
  ['TCP in IPv6', [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 'tcp'],
] as const) {
  offload(`inserts the checksums of ${name}`, () => {
    const { nic, wire } = sender();
    const v6 = source.length === 16;
    const right = packet(BROADCAST, {
      source,
      destination: source.map((b) => b ^ 3),
      protocol,
      payload: new Uint8Array(33).fill(0x11),
    });
    const bytes = right.slice();
    const l4 = v6 ? 54 : 34;
    const field = l4 + (protocol === 'tcp' ? 16 : 6);
    const seed = pseudoSum(bytes, 14, v6, protocol === 'tcp' ? 6 : 17, right.length - l4);
    bytes[field] = seed >>> 8;
    bytes[field + 1] = seed;
    if (!v6) bytes.fill(0, 24, 26);
    nic.putTx(context(14, v6 ? 40 : 20, { ipv4: !v6, l4: protocol === 'tcp' ? 1 : 0 }), false);
    nic.send(bytes, 0, (v6 ? 0 : IXSM) | TXSM);
    assert.equal(wire.frames, [right]);
    assert.equal(nic.violations, []);
  });
}

offload('inserts a VLAN tag from the context', () => {
  const { nic, wire } = sender();
  const bytes = frame(BROADCAST, 80);
  nic.putTx(context(14, 20, { vlan: 0x4007, index: 1 }), false);
  nic.send(bytes, VLE, 1 << 4);
  assert.equal(
    wire.frames[0],
    concat([bytes.slice(0, 12), Uint8Array.of(0x81, 0, 0x40, 7), bytes.slice(12)]),
  );
});

function segmented(
  source: readonly number[],
  mss: number,
  payload: Uint8Array,
  vlan: boolean,
): { wire: Recorder; nic: TestNic; original: Uint8Array } {
  const { nic, wire } = sender({ count: 64 });
  const v6 = source.length === 16;
  const original = packet(BROADCAST, {
    source,
    destination: source.map((b) => b ^ 1),
    protocol: 'tcp',
    payload,
  });
  const ipLen = v6 ? 40 : 20;
  const l4 = 14 + ipLen;
  original[l4 + 4] = 0xff; // sequence number about to wrap
  original[l4 + 5] = 0xff;
  original[l4 + 6] = 0xff;
  original[l4 + 7] = 0x00;
  original[l4 + 13] = 0x19; // ACK, PSH, FIN
  const seed = pseudoSum(original, 14, v6, 6, 0);
  original[l4 + 16] = seed >>> 8;
  original[l4 + 17] = seed;
  nic.putTx(context(14, ipLen, { ipv4: !v6, l4: 1, l4Len: 20, mss, vlan: 5 }), false);
  const headerBytes = l4 + 20;
  let at = 0;
  for (let slot = 0; at < original.length; slot++) {
    const piece = original.slice(at, at + (slot === 0 ? headerBytes : 1900));
    at += piece.length;
    const iova = nic.putBuffer(slot, piece);
    nic.putTx(
      [
        iova,
        0,
        piece.length | DATA | IFCS | TSE | (vlan ? VLE : 0) | (at === original.length ? EOP | RS : 0),
        (payload.length << 14) | IXSM | TXSM,
      ],
      at === original.length,
    );
  }
  nic.model.poll(64);
  return { wire, nic, original };
}

for (const [name, source] of [
  ['IPv4', [192, 168, 0, 1]],
  ['IPv6', [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]],
] as const) {
  offload(`cuts a TCP send in ${name} into segments`, () => {
    const payload = new Uint8Array(5000).map((_, i) => i * 7);
    const { wire, nic, original } = segmented(source, 1400, payload, false);
    assert.equal(nic.violations, []);
    const v6 = source.length === 16;
    const l4 = 14 + (v6 ? 40 : 20);
    assert.equal(
      wire.frames.map((f) => f.length - l4 - 20),
      [1400, 1400, 1400, 800],
    );
    let at = 0;
    wire.frames.forEach((bytes, i) => {
      const data = bytes.slice(l4 + 20);
      assert.equal(data, payload.slice(at, at + data.length));
      const view = new DataView(bytes.buffer);
      assert.is(view.getUint32(l4 + 4), (0xffffff00 + at) >>> 0, 'sequence');
      // FIN and PSH only in the last segment, by the masks' reset values 0xFF6, 0xFF6, 0xF7F
      assert.is(bytes[l4 + 13], i === 3 ? 0x19 : 0x10, 'flags');
      assert.is(
        internetChecksum(
          bytes.slice(l4),
          ~internetChecksum(
            concat([
              bytes.slice(14 + (v6 ? 8 : 12), 14 + (v6 ? 40 : 20)),
              Uint8Array.of(0, 6, (data.length + 20) >>> 8, data.length + 20),
            ]),
          ) & 0xffff,
        ),
        0,
        'TCP checksum',
      );
      if (!v6) {
        assert.is(internetChecksum(bytes.slice(14, 34)), 0, 'IP checksum');
        assert.is(view.getUint16(16), 40 + data.length, 'total length');
        assert.is(view.getUint16(18), 0x1234 + i, 'identification');
      } else {
        assert.is(view.getUint16(18), 20 + data.length, 'payload length');
      }
      at += data.length;
    });
    void original;
  });
}

offload('tags each segment', () => {
  const { wire } = segmented([10, 1, 1, 1], 1000, new Uint8Array(2500), true);
  assert.is(wire.frames.length, 3);
  for (const bytes of wire.frames) assert.equal([...bytes.slice(12, 18)], [0x81, 0, 0, 5, 8, 0]);
});

offload('a send of one segment keeps its flags', () => {
  const { wire } = segmented([10, 1, 1, 1], 1000, new Uint8Array(500), false);
  assert.is(wire.frames.length, 1);
  assert.is(wire.frames[0]![47], 0x19);
});

offload('refuses contexts that make no sense', () => {
  for (const wrong of [
    context(14, 20, { l4: 1, l4Len: 20, mss: 0 }),
    context(14, 20, { l4: 1, l4Len: 4, mss: 100 }),
    context(0, 20, { l4: 1, l4Len: 20, mss: 100 }),
    context(14, 0, { l4: 1, l4Len: 20, mss: 100 }),
    context(14, 20, { l4: 3, l4Len: 20, mss: 100 }),
    context(14, 20, { l4: 1, l4Len: 24, mss: 100 }),
  ]) {
    const { nic, wire } = sender();
    nic.putTx(wrong, false);
    const bytes = packet(BROADCAST, { protocol: 'tcp', payload: new Uint8Array(200) });
    const iova = nic.putBuffer(1, bytes);
    nic.putTx([iova, 0, bytes.length | DATA | IFCS | TSE | EOP | RS, (200 << 14) | IXSM | TXSM]);
    nic.model.poll(8);
    assert.is(wire.frames.length, 0);
    assert.is(nic.violations.length, 1, nic.violations.join());
    assert.ok(nic.txDone(1), 'the descriptor is done nevertheless');
  }
});

offload.run();
