/** Statistics registers (82599 datasheet 8.2.3.23). */
import * as assert from 'uvu/assert';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import { BROADCAST, DATA, EOP, frame, IFCS, packet, R, Recorder, TestNic, tx } from './support.js';

const GPRC = 0x04074;
const BPRC = 0x04078;
const MPRC = 0x0407c;
const GPTC = 0x04080;
const GORCL = 0x04088;
const GORCH = 0x0408c;
const GOTCL = 0x04090;
const GOTCH = 0x04094;
const TPR = 0x040d0;
const TPT = 0x040d4;
const MPTC = 0x040f0;
const BPTC = 0x040f4;

const statistics = suite('statistics');

statistics('count what is received, and reading clears', () => {
  const nic = new TestNic().setUpRx({ count: 64 }).promiscuous();
  nic.arrive(frame(nic.model.mac, 60));
  nic.arrive(frame(BROADCAST, 60));
  nic.arrive(frame(Uint8Array.of(1, 0, 0x5e, 0, 0, 1), 60));
  assert.equal(
    [GPRC, TPR, BPRC, MPRC].map((r) => nic.read(r)),
    [3, 3, 1, 1],
  );
  assert.equal(
    [GPRC, TPR, BPRC, MPRC].map((r) => nic.read(r)),
    [0, 0, 0, 0],
  );
  assert.is(nic.read(GORCL), 3 * 64);
});

statistics('size classes include the FCS', () => {
  const nic = new TestNic().setUpRx({ count: 64 }).promiscuous();
  // octets with FCS: 64 | 65 127 | 128 255 | 256 511 | 512 1023 | 1024 1518
  const classes = [[60], [61, 123], [124, 251], [252, 507], [508, 1019], [1020, 1514]];
  for (const lengths of classes) for (const length of lengths) nic.arrive(frame(BROADCAST, length));
  assert.equal(
    [0, 1, 2, 3, 4, 5].map((i) => nic.read(0x0405c + i * 4)),
    [1, 2, 2, 2, 2, 2],
  );
});

statistics('count what is sent', () => {
  const nic = new TestNic().setUpTx({ count: 64 });
  connect(nic.model, new Recorder());
  nic.send(frame(BROADCAST, 60));
  nic.send(frame(Uint8Array.of(1, 0, 0, 0, 0, 1), 124));
  nic.send(frame(Uint8Array.of(2, 0, 0, 0, 0, 1), 1514));
  assert.equal(
    [GPTC, TPT, BPTC, MPTC].map((r) => nic.read(r)),
    [3, 3, 1, 1],
  );
  assert.is(nic.read(GOTCL), 64 + 128 + 1518);
  assert.equal(
    [0, 1, 2, 3, 4, 5].map((i) => nic.read(0x040d8 + i * 4)),
    [1, 0, 1, 0, 0, 1],
  );
});

statistics('octets are 36 bits; the high half clears the pair and loses nothing in between', () => {
  const nic = new TestNic().setUpRx({ count: 64 }).promiscuous();
  // 2^33 + 5 octets, without waiting for them
  nic.arrive(frame(BROADCAST, 60));
  counters(nic)[15] = 2 ** 33 + 5;
  assert.is(nic.read(GORCL), 5);
  nic.arrive(frame(BROADCAST, 60));
  assert.is(nic.read(GORCH), 2);
  assert.is(nic.read(GORCL), 64);
  assert.is(nic.read(GORCH), 0);
  assert.is(nic.read(GORCL), 0);
  counters(nic)[15] = 2 ** 36 + 7;
  assert.is(nic.read(GORCL), 7, 'wraps at 36 bits');
  nic.read(GORCH);
  counters(nic)[15] = 2 ** 35;
  assert.is(nic.read(GORCH), 8, 'the high half alone');
});

statistics('the low half alone does not clear', () => {
  const nic = new TestNic().setUpTx();
  connect(nic.model, new Recorder());
  nic.send(frame(BROADCAST, 60));
  assert.is(nic.read(GOTCL), 64);
  assert.is(nic.read(GOTCL), 64);
  assert.is(nic.read(GOTCH), 0);
  assert.is(nic.read(GOTCL), 0);
});

statistics('a 32-bit counter sticks below all ones', () => {
  const nic = new TestNic();
  counters(nic)[12] = 2 ** 40;
  assert.is(nic.read(GPRC), 0xfffffffe);
});

statistics('queue counters go to the set that RQSMR and TQSM choose', () => {
  const nic = new TestNic().setUpRx({ queue: 0, count: 64 }).setUpTx({ queue: 0, count: 64 }).promiscuous();
  connect(nic.model, new Recorder());
  nic.write(R.RQSMR0, 0x00000003);
  nic.write(R.TQSM0, 0x00000005);
  nic.arrive(packet(nic.model.mac));
  nic.send(frame(BROADCAST, 60));
  assert.is(nic.read(0x01030 + 3 * 0x40), 1, 'QPRC(3)');
  assert.is(nic.read(0x01034 + 3 * 0x40), 60, 'QBRC_L(3)');
  assert.is(nic.read(0x06030 + 5 * 0x40), 1, 'QPTC(5)');
  assert.is(nic.read(0x08700 + 5 * 8), 64, 'QBTC_L(5)');
  assert.is(nic.read(0x01030), 0);
});

statistics('a software reset leaves them, a function reset clears them', () => {
  const nic = new TestNic().setUpTx();
  connect(nic.model, new Recorder());
  nic.send(frame(BROADCAST));
  nic.write(R.CTRL, 1 << 26);
  assert.is(nic.read(GPTC), 1);
  nic.setUpTx();
  nic.txNext = 0;
  const iova = nic.putBuffer(0, frame(BROADCAST));
  nic.putTx([iova, 0, 60 | DATA | EOP | IFCS, 60 << 14]);
  nic.model.poll(1);
  nic.model.reset();
  assert.is(nic.read(GPTC), 0);
  assert.is(nic.read(tx(0, 'TDT')), 0);
});

/** The model's counters, to put large numbers there. */
function counters(nic: TestNic): Float64Array {
  return nic.model.statistics.counters;
}

statistics.run();
