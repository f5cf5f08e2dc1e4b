/** Interrupts: causes, masks, allocation, moderation (82599 datasheet 7.3, 8.2.3.5). */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import { BROADCAST, frame, R, Recorder, TestNic } from './support.js';

const MSIX = 1 << 4;
const EIAME = 1 << 30;
const LSC = 1 << 20;
const EIMS_EX = 0x00aa0;
const EIMC_EX = 0x00ab0;
const EIAM_EX = 0x00ad0;

/** Receive queue 0 on vector 5, transmit queue 0 on vector 20, other causes on vector 7. */
function msixNic(options = {}): TestNic {
  const nic = new TestNic(options).setUpRx({ count: 64 }).setUpTx({ count: 64 }).promiscuous();
  nic.write(R.GPIE, MSIX);
  nic.write(R.IVAR0, 0x80 | 5 | ((0x80 | 20) << 8));
  nic.write(R.IVAR_MISC, (0x80 | 7) << 8);
  return nic;
}

const interrupts = suite('interrupts');

interrupts('MSI-X: a queue raises its vector when unmasked', () => {
  const nic = msixNic();
  nic.arrive(frame(BROADCAST));
  assert.equal(nic.host.raised, []);
  nic.write(R.EIMS, 1 << 5);
  assert.equal(nic.host.raised, ['msix:5'], 'the cause waited behind the mask');
  nic.arrive(frame(BROADCAST));
  assert.equal(nic.host.raised, ['msix:5', 'msix:5']);
  nic.write(R.EIMC, 1 << 5);
  nic.arrive(frame(BROADCAST));
  assert.is(nic.host.raised.length, 2);
});

interrupts('MSI-X: vectors above 15 are masked in the EX registers', () => {
  const nic = msixNic();
  connect(nic.model, new Recorder());
  nic.write(EIMS_EX, 1 << 20);
  assert.is(nic.read(EIMS_EX), 1 << 20);
  nic.send(frame(BROADCAST));
  assert.equal(nic.host.raised, ['msix:20']);
  nic.write(EIMC_EX, 1 << 20);
  nic.send(frame(BROADCAST));
  assert.is(nic.host.raised.length, 1);
});

interrupts('EIMS and EIMS_EX(0) show the same mask; writing 0 to EIMS masks nothing', () => {
  const nic = new TestNic();
  nic.write(R.EIMS, 0x8003);
  nic.write(R.EIMS, 0);
  assert.is(nic.read(R.EIMS), 0x8003);
  assert.is(nic.read(EIMS_EX), 0x8003);
  nic.write(R.EIMC, 0xffffffff);
  assert.is(nic.read(R.EIMS), 0);
});

interrupts('one interrupt for a burst', () => {
  const nic = msixNic();
  connect(nic.model, nic.model);
  nic.write(R.EIMS, 1 << 5);
  const { host } = nic;
  const bytes = frame(BROADCAST);
  const memory = { bytes, words: new Int32Array(bytes.buffer, 0, 15) };
  for (let i = 0; i < 10; i++) nic.model.deliver(memory, 0, 60);
  nic.model.flush();
  assert.equal(host.raised, ['msix:5']);
});

interrupts('link changes raise the vector of other causes', () => {
  const nic = msixNic();
  nic.write(R.EIMS, LSC);
  connect(nic.model, new Recorder());
  assert.equal(nic.host.raised, ['msix:7']);
  assert.is(nic.read(R.EICR) & LSC, LSC);
});

interrupts('EICR is cleared by reading and by writing ones', () => {
  const nic = new TestNic();
  nic.write(R.EICS, 0x00100003);
  nic.write(R.EICR, 1);
  assert.is(nic.read(R.EICR), 0x00100002);
  assert.is(nic.read(R.EICR), 0);
});

interrupts('with GPIE.OCD reading leaves the queue causes', () => {
  const nic = new TestNic();
  nic.write(R.GPIE, 1 << 5);
  nic.write(R.EICS, 0x00100003);
  assert.is(nic.read(R.EICR), 0x00100003);
  assert.is(nic.read(R.EICR), 0x3);
});

interrupts('EIAC clears the cause as the message goes out', () => {
  const nic = msixNic();
  nic.write(R.EIAC, 1 << 5);
  nic.write(R.EIMS, 1 << 5);
  nic.arrive(frame(BROADCAST));
  assert.is(nic.host.raised.length, 1);
  assert.is(nic.read(R.EICR) & 0xffff, 0);
});

interrupts('EIAM masks it when GPIE.EIAME is set', () => {
  const nic = msixNic();
  nic.write(R.GPIE, MSIX | EIAME);
  nic.write(EIAM_EX, 0xffffffff);
  nic.write(R.EIMS, 1 << 5);
  nic.arrive(frame(BROADCAST));
  nic.arrive(frame(BROADCAST));
  assert.equal(nic.host.raised, ['msix:5']);
  assert.is(nic.read(R.EIMS), 0);
  nic.write(EIMS_EX, 1 << 5);
  assert.is(nic.host.raised.length, 2, 'what came meanwhile is delivered');
});

interrupts('EITR spaces interrupts out and loses none', () => {
  const clock = new ManualClock();
  const nic = msixNic({ clock });
  nic.write(0x00820 + 5 * 4, 50 << 3); // 100 us
  nic.write(R.EIMS, 1 << 5);
  nic.arrive(frame(BROADCAST));
  clock.advanceNs(10_000);
  nic.arrive(frame(BROADCAST));
  nic.arrive(frame(BROADCAST));
  assert.is(nic.host.raised.length, 1);
  clock.advanceNs(80_000);
  nic.model.poll(1);
  assert.is(nic.host.raised.length, 1);
  clock.advanceNs(20_000);
  nic.model.poll(1);
  assert.is(nic.host.raised.length, 2);
  clock.advanceNs(200_000);
  nic.model.poll(1);
  assert.is(nic.host.raised.length, 2);
});

interrupts('EICS makes software interrupts', () => {
  const nic = msixNic();
  nic.write(R.EIMS, 1 << 3);
  nic.write(R.EICS, 1 << 3);
  assert.equal(nic.host.raised, ['msix:3']);
});

interrupts('without MSI-X mode all causes are one interrupt: INTx, MSI or vector 0', () => {
  const nic = new TestNic().setUpRx({ count: 64 }).promiscuous();
  nic.write(R.IVAR0, 0x80);
  nic.write(R.EIMS, 1);
  nic.arrive(frame(BROADCAST));
  assert.equal(nic.host.raised, ['intx:0', 'msi:0', 'msix:0']);
  assert.is(nic.read(R.EICR), 1);
  nic.setConfig16(4, 0x406); // INTx disable
  nic.arrive(frame(BROADCAST));
  assert.equal(nic.host.raised.slice(3), ['msi:0', 'msix:0']);
});

interrupts('a queue without a valid IVAR entry raises nothing', () => {
  const nic = msixNic();
  nic.write(R.IVAR0, 5);
  nic.write(R.EIMS, 0xffff);
  nic.arrive(frame(BROADCAST));
  assert.equal(nic.host.raised, []);
});

interrupts('no message without bus master', () => {
  const nic = msixNic();
  nic.write(R.EIMS, 1 << 3);
  nic.setConfig16(4, 2);
  nic.write(R.EICS, 1 << 3);
  assert.equal(nic.host.raised, []);
});

interrupts('a reset masks everything', () => {
  const nic = msixNic();
  nic.write(R.EIMS, 0xffff);
  nic.write(R.CTRL, 1 << 26);
  nic.write(R.EICS, 0xffff);
  assert.equal(nic.host.raised, []);
  assert.is(nic.read(R.EIMS), 0);
});

interrupts.run();
