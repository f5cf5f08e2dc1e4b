import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CopyForwarder } from '../../bench/alternatives/copy-forwarder.js';
import { withRig } from '../support/queue-rig.js';

const copying = suite('CopyForwarder');

for (const length of [60, 64, 127, 128, 129, 512, 1514]) {
  copying(
    `${length} bytes: copied, and what is sent is what came`,
    withRig({}, (rig) => {
      const targets = rig.allocate(64);
      const forwarder = new CopyForwarder(rig.rx, rig.tx, rig.pool, targets);
      const frames = Array.from({ length: 40 }, () => rig.frame(length));
      for (const frame of frames) assert.ok(rig.rxDevice.receive({ frame }));
      forwarder.poll();
      forwarder.check();
      forwarder.poll();
      forwarder.check();
      rig.txDevice.transmit();
      assert.equal(
        rig.txDevice.sent.map(({ bytes }) => bytes),
        frames,
      );
      for (const [i, frame] of frames.entries()) {
        assert.equal(rig.pool.bytes(targets[i]!).subarray(0, length), frame);
      }
      rig.pool.release(targets);
    }),
  );
}

copying(
  'a copy that differs is found',
  withRig({}, (rig) => {
    const targets = rig.allocate(64);
    const forwarder = new CopyForwarder(rig.rx, rig.tx, rig.pool, targets);
    rig.arrive(3);
    forwarder.poll();
    forwarder.check();
    const last = rig.pool.bytes(targets[2]!);
    last[59] = last[59]! ^ 1;
    assert.throws(() => forwarder.check(), /copy 2 differs at byte 59/);
    rig.pool.release(targets);
  }),
);

copying(
  'without targets nothing is copied',
  withRig({}, (rig) => {
    const forwarder = new CopyForwarder(rig.rx, rig.tx, rig.pool, undefined);
    const frame = rig.frame(60);
    rig.rxDevice.receive({ frame });
    forwarder.poll();
    forwarder.check();
    rig.txDevice.transmit();
    assert.equal(rig.txDevice.sent[0]!.bytes, frame);
  }),
);

copying.run();
