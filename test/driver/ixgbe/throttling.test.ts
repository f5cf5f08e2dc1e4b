/** Interrupts that are held back (EITR, 82599 datasheet 8.2.3.5.12): the driver's option and the model, in virtual time. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../../src/clock.js';
import { IxgbeRig, MAC_A, MAC_B, numberedFrame } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

const throttling = suite('82599 interrupts that are held back');

for (const [intervalUs, unitsOf2Us] of [
  [1, 1],
  [100, 50],
  [101, 51],
  [1022, 511],
] as const) {
  throttling(
    `${intervalUs} us: ${unitsOf2Us} units in the register of each queue, and no other`,
    async () => {
      const rig = await IxgbeRig.open({ open: { queuePairs: 2, interruptIntervalUs: intervalUs } });
      assert.equal(
        [0, 1, 2].map((vector) => rig.a.model.peek(0x820 + 4 * vector)),
        [unitsOf2Us << 3, unitsOf2Us << 3, 0],
      );
      await rig.close();
    },
  );
}

throttling('the first packet after a pause interrupts at once, the next when its time has come', async () => {
  const clock = new ManualClock();
  const rig = await IxgbeRig.open({ model: { clock }, open: { interruptIntervalUs: 100 } });
  const { model, nic } = rig.a;
  let number = 0;
  const arrive = (): void => {
    const frame = numberedFrame(MAC_A, MAC_B, number++);
    const words = new Int32Array(frame.buffer, 0, frame.length >>> 2);
    assert.is(model.deliver({ bytes: frame, words }, 0, frame.length), true);
    model.flush();
  };
  /** Time passes for the model, and the event loop has turns in which an interrupt is heard. */
  const pass = async (us: number): Promise<void> => {
    clock.advanceNs(us * 1000);
    model.poll(1);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  const sleep = (): { woken: boolean; readonly over: Promise<void> } => {
    const state = { woken: false, over: Promise.resolve() };
    state.over = nic.waitForPackets().then(() => {
      state.woken = true;
    });
    return state;
  };
  await pass(1000);
  const first = sleep();
  arrive();
  await first.over;
  assert.is(rig.receive(rig.a).length, 1);
  const second = sleep();
  arrive();
  await pass(99);
  assert.is(second.woken, false, 'held back');
  arrive();
  await pass(1);
  await second.over;
  assert.is(rig.receive(rig.a).length, 2, 'one interrupt for both');
  await pass(1000);
  const third = sleep();
  arrive();
  await third.over;
  assert.is(rig.receive(rig.a).length, 1);
  await rig.close();
});

throttling.run();
