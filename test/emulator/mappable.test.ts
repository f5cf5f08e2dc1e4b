/** Queue registers in shared memory: the client's loads and stores reach the model without a call. */
import * as assert from 'uvu/assert';
import { IxgbeModel } from '../../src/emulator/ixgbe/ixgbe-model.js';
import { connect } from '../../src/emulator/link.js';
import { mapShared, munmap } from '../../src/syscalls/memory.js';
import { suite } from '../support/suite.js';
import {
  BROADCAST,
  DATA,
  DESCTYPE_ADVANCED,
  ENABLE,
  EOP,
  frame,
  IFCS,
  MEMORY_IOVA,
  R,
  Recorder,
  RS,
  RX_RING,
  rx,
  TestNic,
  TX_RING,
  tx,
} from './support.js';

const mappable = suite('mappable queue pages');

/** A model in mappable mode, and BAR0 as the client maps it. */
function mapped(): { nic: TestNic; bar: Int32Array; close: () => void } {
  const nic = new TestNic({ mappable: true });
  const region = nic.model.regions[0]!;
  const mapping = mapShared(region.fd!, region.sizeBytes);
  return {
    nic,
    bar: new Int32Array(mapping.buffer),
    close: () => {
      munmap(mapping);
      nic.model.close();
    },
  };
}

/** Polls until queues that were enabled in shared memory are noticed. */
function settle(nic: TestNic): void {
  for (let i = 0; i < 8; i++) nic.model.poll(1);
}

mappable('declares whole pages that hold queue registers, for clients that know what else is there', () => {
  const pages = (onlyKnowing: boolean) => [
    { offset: 0x1000, sizeBytes: 0x1000, onlyKnowing },
    { offset: 0x6000, sizeBytes: 0x2000, onlyKnowing },
    { offset: 0xd000, sizeBytes: 0x1000, onlyKnowing },
  ];
  const { nic, close } = mapped();
  assert.equal(nic.model.regions[0]!.areas, pages(false));
  close();
  const byDefault = new IxgbeModel();
  assert.equal(byDefault.regions[0]!.areas, pages(true));
  byDefault.close();
  const plain = new TestNic({ mappable: false });
  assert.is(plain.model.regions[0]!.fd, undefined);
});

mappable('sends and receives with nothing but stores', () => {
  const { nic, bar, close } = mapped();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.enableBusMaster().promiscuous();
  nic.write(R.DMATXCTL, 0x81000001);
  nic.write(R.RXCTRL, 1);
  for (const queue of [0, 70]) {
    const at = tx(queue, 'TDBAL') / 4;
    bar[at] = MEMORY_IOVA + TX_RING;
    bar[at + 2] = 8 * 16;
    bar[tx(queue, 'TXDCTL') / 4] = ENABLE;
    assert.is(bar[tx(queue, 'TXDCTL') / 4]! & ENABLE, ENABLE);
    nic.setWords(TX_RING, [nic.putBuffer(0, frame(BROADCAST, 64)), 0, 64 | DATA | EOP | IFCS | RS, 64 << 14]);
    bar[tx(queue, 'TDT') / 4] = 1;
    settle(nic);
    nic.model.poll(8);
    assert.is(wire.frames.length, queue === 0 ? 1 : 2);
    assert.is(bar[tx(queue, 'TDH') / 4], 1);
  }
  const at = rx(0, 'RDBAL') / 4;
  nic.giveRx(0);
  bar[at] = MEMORY_IOVA + RX_RING;
  bar[at + 2] = 8 * 16;
  bar[rx(0, 'SRRCTL') / 4] = 2 | DESCTYPE_ADVANCED;
  bar[rx(0, 'RXDCTL') / 4] = ENABLE;
  bar[rx(0, 'RDT') / 4] = 1;
  settle(nic);
  nic.arrive(frame(BROADCAST, 77));
  assert.is(nic.rxWords(0)[3], 77);
  assert.is(bar[rx(0, 'RDH') / 4], 1);
  close();
});

mappable('a queue that is switched off and set up again starts at its new head', () => {
  const { nic, bar, close } = mapped();
  const wire = new Recorder();
  connect(nic.model, wire);
  nic.setUpTx();
  nic.send(frame(BROADCAST));
  nic.send(frame(BROADCAST));
  assert.is(bar[tx(0, 'TDH') / 4], 2);
  // off and on between two polls: the model only sees the new head and tail
  bar[tx(0, 'TXDCTL') / 4] = 0;
  bar[tx(0, 'TDH') / 4] = 0;
  bar[tx(0, 'TDT') / 4] = 0;
  bar[tx(0, 'TXDCTL') / 4] = ENABLE;
  nic.txNext = 0;
  nic.send(frame(BROADCAST, 99));
  assert.is(wire.frames.at(-1)!.length, 99);
  assert.is(wire.frames.length, 3);
  close();
});

mappable('DMA stops with the frame after ENABLE is taken away', () => {
  const { nic, bar, close } = mapped();
  nic.setUpRx({ count: 8 }).promiscuous();
  nic.arrive(frame(BROADCAST));
  bar[rx(0, 'RXDCTL') / 4] = 0;
  nic.arrive(frame(BROADCAST));
  assert.is(nic.rxWords(0)[2]! & 1, 1);
  assert.is(nic.rxWords(1)[2], 0);
  close();
});

mappable('tails and heads beyond the ring are reported and ignored', () => {
  const { nic, bar, close } = mapped();
  nic.setUpRx().setUpTx();
  bar[tx(0, 'TDT') / 4] = -5;
  bar[tx(0, 'TDH') / 4] = 0x7fffffff;
  bar[rx(0, 'RDT') / 4] = 1000;
  settle(nic);
  assert.ok(nic.arrive(frame(nic.model.mac)));
  const subjects = nic.model.violations.list.map((v) => v.subject);
  for (const expected of ['TDT(0)', 'TDH(0)', 'RDT(0)']) assert.ok(subjects.includes(expected), expected);
  close();
});

mappable('queue counters read 0 in the mapping and their value by a trapped read', () => {
  const { nic, bar, close } = mapped();
  nic.setUpRx().promiscuous();
  nic.arrive(frame(BROADCAST));
  assert.is(bar[0x1030 / 4], 0);
  assert.is(nic.read(0x1030), 1);
  assert.is(nic.read(0x1030), 0);
  close();
});

mappable('the memory cannot be resized', async () => {
  const { nic, close } = mapped();
  const { ftruncateSync } = await import('node:fs');
  assert.throws(() => ftruncateSync(nic.model.regions[0]!.fd!, 4096), /EPERM/);
  close();
  assert.is(nic.model.peek(0), 0, 'still there after close');
  nic.model.close();
});

mappable.run();
