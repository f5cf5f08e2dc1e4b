/** What the model reports: mistakes of drivers, and accesses the IOMMU refuses. Nothing of it may stop the model. */
import * as assert from 'uvu/assert';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import {
  BROADCAST,
  CONFIG,
  DATA,
  DROP_EN,
  ENABLE,
  EOP,
  frame,
  IFCS,
  MEMORY_BYTES,
  MEMORY_IOVA,
  R,
  Recorder,
  RS,
  RX_RING,
  rx,
  TestNic,
  TX_BUFFERS,
  TX_RING,
  tx,
} from './support.js';

const violations = suite('violations');

/** Each case is one mistake; the report must name the register or field. */
const CASES: [string, RegExp, (nic: TestNic) => void][] = [
  ['RX queue enabled without a base', /^RDBAL\(2\)/, (nic) => nic.write(rx(2, 'RXDCTL'), ENABLE)],
  ['RX queue enabled without a length', /^RDLEN\(2\)/, (nic) => nic.write(rx(2, 'RXDCTL'), ENABLE)],
  ['TX queue enabled without a base', /^TDBAL\(2\)/, (nic) => nic.write(tx(2, 'TXDCTL'), ENABLE)],
  ['TX queue enabled without a length', /^TDLEN\(2\)/, (nic) => nic.write(tx(2, 'TXDCTL'), ENABLE)],
  ['TX queue enabled before DMATXCTL.TE', /^TXDCTL\(2\)/, (nic) => nic.write(tx(2, 'TXDCTL'), ENABLE)],
  ['RX ring length not a multiple of 128', /^RDLEN\(0\)/, (nic) => nic.write(rx(0, 'RDLEN'), 130)],
  ['TX ring length not a multiple of 128', /^TDLEN\(0\)/, (nic) => nic.write(tx(0, 'TDLEN'), 16)],
  ['RX ring base not 128-aligned', /^RDBAL\(0\)/, (nic) => nic.write(rx(0, 'RDBAL'), MEMORY_IOVA + 64)],
  ['TX ring base not 128-aligned', /^TDBAL\(0\)/, (nic) => nic.write(tx(0, 'TDBAL'), MEMORY_IOVA + 64)],
  ['RX tail moved while the queue is off', /^RDT\(1\).*disabled/, (nic) => nic.write(rx(1, 'RDT'), 5)],
  ['TX tail moved while the queue is off', /^TDT\(1\).*disabled/, (nic) => nic.write(tx(1, 'TDT'), 5)],
  ['RX tail beyond the ring', /^RDT\(0\).*beyond/, (nic) => nic.setUpRx({ count: 8 }).write(rx(0, 'RDT'), 8)],
  ['TX tail beyond the ring', /^TDT\(0\).*beyond/, (nic) => nic.setUpTx({ count: 8 }).write(tx(0, 'TDT'), 9)],
  [
    'RX head beyond the ring',
    /^RDH\(0\).*beyond/,
    (nic) => {
      nic.write(rx(0, 'RDH'), 99);
      nic.setUpRx();
    },
  ],
  ['BSIZEPACKET of 0', /^SRRCTL\(0\).*BSIZEPACKET/, (nic) => nic.setUpRx({ bufferKib: 0 })],
  [
    'header split',
    /^SRRCTL\(3\).*header split/,
    (nic) => {
      nic.write(rx(3, 'SRRCTL'), (2 << 25) | 2);
      nic.write(rx(3, 'RXDCTL'), ENABLE);
    },
  ],
  [
    'SRRCTL changed under way',
    /^RDBAL\(0\).*SRRCTL changed/,
    (nic) => {
      nic.setUpRx();
      nic.write(rx(0, 'SRRCTL'), 1);
      nic.model.poll(1);
    },
  ],
  [
    'receive coalescing asked for',
    /^RSCCTL\(0\).*coalescing/,
    (nic) => {
      nic.setUpRx();
      nic.write(0x0102c, 1); // RSCCTL(0).RSCEN, 8.2.3.8.13
      nic.model.poll(1);
    },
  ],
  [
    'more receive buffer than there is',
    /^RXPBSIZE\(0\).*513 KiB/,
    (nic) => nic.write(0x03c00, 513 << 10), // 8.2.3.8.9
  ],
  [
    'a frame longer than the transmit threshold leaves room for',
    /^TDESC.PAYLEN\(0\).*TXPBTHRESH/,
    (nic) => {
      nic.setUpTx();
      connect(nic.model, new Recorder());
      nic.write(0x04950, 0xa0 - 1); // TXPBTHRESH(0), 8.2.3.9.16: 1 KiB of 160 stays
      nic.send(frame(BROADCAST, 1021));
    },
  ],
  [
    'TX ring moved under way',
    /^TDBAL\(0\).*changed/,
    (nic) => {
      nic.setUpTx();
      nic.write(tx(0, 'TDBAL'), MEMORY_IOVA + 0x8000);
      nic.model.poll(1);
    },
  ],
  ['TXDCTL reserved bit', /^TXDCTL\(0\).*reserved/, (nic) => nic.write(tx(0, 'TXDCTL'), 1 << 24)],
  ['FCTRL reserved bit', /^FCTRL.*reserved/, (nic) => nic.write(R.FCTRL, 1)],
  ['IVAR reserved bit', /^IVAR\(0\).*reserved/, (nic) => nic.write(R.IVAR0, 0x40)],
  ['DCB mode', /^MRQC.*MRQE 4/, (nic) => nic.write(R.MRQC, 4)],
  ['RX statistics are not written', /^GPRC/, (nic) => nic.write(0x04074, 1)],
  [
    'descriptor type 1',
    /^TDESC\.DTYP/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, 60 | (1 << 29) | (1 << 20) | EOP | IFCS, 60 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'buffer address 0',
    /^TDESC\.ADDR/,
    (nic) => {
      nic.setUpTx().putTx([0, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'buffer length 0',
    /^TDESC\.DTALEN/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, DATA | EOP | IFCS, 0]);
      nic.model.poll(1);
    },
  ],
  [
    'PAYLEN wrong',
    /^TDESC\.PAYLEN/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, 60 | DATA | EOP | IFCS, 61 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'PAYLEN wrong in several descriptors',
    /^TDESC\.PAYLEN/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, 60 | DATA | IFCS, 60 << 14], false);
      nic.putTx([MEMORY_IOVA, 0, 60 | DATA | EOP, 0]);
      nic.model.poll(1);
    },
  ],
  [
    'frame shorter than its header',
    /^TDESC\.PAYLEN.*shorter/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, 9 | DATA | EOP | IFCS, 9 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'frame too long',
    /^TDESC\.PAYLEN.*15\.5/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, 20000 | DATA | EOP | IFCS, 20000 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'no EOP before the tail',
    /^TDESC\.EOP/,
    (nic) => {
      nic.setUpTx().putTx([MEMORY_IOVA, 0, 60 | DATA | IFCS, 60 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'WTHRESH without RS on each frame',
    /^TDESC\.RS/,
    (nic) => {
      nic.setUpTx({ wthresh: 8 }).putTx([MEMORY_IOVA, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
      nic.model.poll(1);
    },
  ],
  [
    'context index over 1',
    /^TDESC\.IDX/,
    (nic) => {
      nic.setUpTx().putTx([0, 0, (1 << 29) | (2 << 20), 2 << 4]);
      nic.model.poll(1);
    },
  ],
];

for (const [name, expected, mistake] of CASES) {
  violations(name, () => {
    const nic = new TestNic();
    mistake(nic);
    const found = nic.model.violations.list.find((v) => expected.test(`${v.subject}: ${v.message}`));
    assert.ok(found, `reports: ${nic.violations.join('; ')}`);
    assert.match(found!.section, /^\d+\.\d/);
  });
}

violations('a driver that follows the datasheet causes none', () => {
  const nic = new TestNic({ strict: true });
  nic.write(R.FCTRL, 0x700);
  nic.setUpRx().setUpTx();
  connect(nic.model, new Recorder());
  for (let i = 0; i < 20; i++) {
    nic.send(frame(BROADCAST));
    nic.arrive(frame(nic.model.mac));
    nic.receive();
  }
  assert.equal(nic.violations, []);
  assert.is(nic.model.violations.faultCount, 0);
});

violations('what stock drivers do while queues run, without harm, is not reported', () => {
  const nic = new TestNic({ strict: true }).setUpRx();
  // 8.2.3.7.1 says that RXEN should be off; Linux and DPDK change FCTRL all the same, and nothing comes of it.
  nic.write(R.FCTRL, 0x700);
  nic.write(rx(0, 'SRRCTL'), nic.read(rx(0, 'SRRCTL')) | DROP_EN);
  nic.model.poll(1);
  nic.write(rx(0, 'SRRCTL'), nic.read(rx(0, 'SRRCTL')) & ~DROP_EN);
  nic.model.poll(1);
  assert.equal(nic.violations, []);
});

violations('receive coalescing is reported once for each time it is asked for', () => {
  const nic = new TestNic().setUpRx();
  for (const value of [1, 1, 0, 1]) {
    nic.write(0x0102c, value);
    for (let i = 0; i < 3; i++) nic.model.poll(1);
  }
  assert.is(nic.model.violations.count, 2);
});

violations('are counted, listed once, and told to a listener once', () => {
  const told: string[] = [];
  const nic = new TestNic({ onViolation: (v) => told.push(v.subject) });
  for (let i = 0; i < 5; i++) nic.write(R.STATUS, 0);
  assert.equal(told, ['STATUS']);
  assert.is(nic.model.violations.count, 5);
  assert.is(nic.model.violations.list[0]!.count, 5);
});

violations('in strict mode the access throws, and the model goes on', () => {
  const nic = new TestNic({ strict: true });
  assert.throws(() => nic.write(R.STATUS, 0), /STATUS: a read-only register/);
  nic.write(R.FCTRL, 0x700);
  assert.is(nic.read(R.FCTRL), 0x700);
});

violations.run();

const faults = suite('IOMMU faults');

faults('a TX buffer outside the windows loses the frame and no more', () => {
  const nic = new TestNic().setUpTx();
  const wire = new Recorder();
  connect(nic.model, wire);
  const index = nic.putTx([0x50000000, 0x12, 60 | DATA | EOP | IFCS | RS, 60 << 14]);
  nic.model.poll(8);
  assert.equal(nic.model.violations.faults, [
    { iova: 0x12_5000_0000, sizeBytes: 60, direction: 'read', purpose: 'TX buffer' },
  ]);
  assert.ok(nic.txDone(index));
  assert.is(nic.read(R.EICR) & (1 << 18), 1 << 18, 'PCI exception');
  nic.send(frame(BROADCAST));
  assert.is(wire.frames.length, 1);
});

faults('a buffer that begins in a window and ends outside of all is refused', () => {
  const nic = new TestNic().setUpTx();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.putTx([MEMORY_IOVA + MEMORY_BYTES - 30, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  nic.model.poll(8);
  assert.is(nic.model.violations.faultCount, 1);
  assert.is(wire.frames.length, 0);
});

faults('a buffer that spans two windows side by side is fine', () => {
  const nic = new TestNic().setUpTx().setUpRx({ bufferKib: 2 });
  const wire = new Recorder();
  connect(nic.model, wire);
  const bytes = frame(nic.model.mac, 1000);
  const next = nic.host.addWindow(MEMORY_IOVA + MEMORY_BYTES, 0x1000);
  nic.memory.bytes.set(bytes.slice(0, 400), MEMORY_BYTES - 400);
  next.bytes.set(bytes.slice(400), 0);
  nic.putTx([MEMORY_IOVA + MEMORY_BYTES - 400, 0, 1000 | DATA | EOP | IFCS, 1000 << 14]);
  nic.model.poll(8);
  assert.equal(wire.frames, [bytes]);
  nic.memory.bytes.fill(0, MEMORY_BYTES - 400);
  next.bytes.fill(0);
  nic.setWords(RX_RING, [MEMORY_IOVA + MEMORY_BYTES - 400, 0, 0, 0]);
  nic.arrive(bytes);
  assert.equal(nic.memory.bytes.slice(MEMORY_BYTES - 400), bytes.slice(0, 400));
  assert.equal(next.bytes.slice(0, 600), bytes.slice(400));
});

faults('windows for one direction are used in that direction only', () => {
  const nic = new TestNic().setUpTx().setUpRx();
  connect(nic.model, new Recorder());
  nic.host.addWindow(0x40000000, 0x1000, 'w');
  nic.host.addWindow(0x40001000, 0x1000, 'r');
  nic.putTx([0x40000000, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  nic.model.poll(8);
  nic.setWords(RX_RING, [0x40001000, 0, 0, 0]);
  nic.arrive(frame(nic.model.mac));
  assert.equal(
    nic.model.violations.faults.map((f) => `${f.direction} ${f.purpose}`),
    ['read TX buffer', 'write RX buffer'],
  );
  assert.is(nic.rxWords(0)[2]! & 1, 1, 'the descriptor is written back nevertheless');
});

faults('a ring outside the windows stops the queue until it is enabled again', () => {
  const nic = new TestNic().setUpTx();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.write(tx(0, 'TXDCTL'), 0);
  nic.write(tx(0, 'TDBAL'), 0x70000000);
  nic.write(tx(0, 'TXDCTL'), ENABLE);
  nic.write(tx(0, 'TDT'), 3);
  for (let i = 0; i < 5; i++) nic.model.poll(8);
  assert.is(nic.model.violations.faultCount, 1);
  assert.is(nic.model.violations.faults[0]!.purpose, 'TX descriptor');
});

faults('a window that was removed is not used any more', () => {
  const nic = new TestNic().setUpTx();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.send(frame(BROADCAST));
  const iova = MEMORY_IOVA + TX_BUFFERS;
  const extra = nic.host.addWindow(0x60000000, 0x1000);
  nic.putTx([0x60000000, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  nic.model.poll(8);
  assert.is(wire.frames.length, 2);
  nic.host.removeWindow(extra);
  nic.putTx([0x60000000, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  nic.putTx([iova, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  nic.model.poll(8);
  assert.is(wire.frames.length, 3);
  assert.is(nic.model.violations.faultCount, 1);
});

faults('after detach nothing is touched and the device is reset', () => {
  const nic = new TestNic().setUpTx().setUpRx();
  nic.model.detach();
  nic.memory.words.fill(0x7e7e7e7e);
  nic.arrive(frame(nic.model.mac));
  assert.is(nic.model.poll(8), 0);
  assert.ok(nic.memory.words.every((word) => word === 0x7e7e7e7e));
  assert.is(nic.config16(4), 0);
  assert.is(nic.read(tx(0, 'TXDCTL')), 0);
  void CONFIG;
  void TX_RING;
});

faults.run();
