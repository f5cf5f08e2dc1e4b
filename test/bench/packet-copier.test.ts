import * as assert from 'uvu/assert';
import { PacketCopier } from '../../bench/alternatives/packet-copier.js';
import { connectQueues } from '../../src/forward/forwarder.js';
import { withRig } from '../support/queue-rig.js';
import { suite } from '../support/suite.js';

const copying = suite('PacketCopier');

for (const path of ['general', 'pipe'] as const) {
  for (const length of [60, 64, 127, 128, 129, 512, 1514]) {
    copying(
      `${path}, ${length} bytes: copied, and what is sent is what came`,
      withRig({}, (rig) => {
        const targets = rig.allocate(64);
        const copier = new PacketCopier(rig.pool, targets);
        const { onPacket } = copier;
        const forwarder = connectQueues(rig.rx, rig.tx, { path, onPacket });
        const frames = Array.from({ length: 40 }, () => rig.frame(length));
        for (const frame of frames) assert.ok(rig.rxDevice.receive({ frame }));
        assert.is(forwarder.poll() + forwarder.poll(), 40);
        copier.check();
        rig.txDevice.transmit();
        assert.equal(
          rig.txDevice.sent.map(({ bytes }) => bytes),
          frames,
        );
        for (const [i, frame] of frames.entries()) {
          assert.equal(rig.pool.bytes(targets[i]!).subarray(0, length), frame);
        }
        rig.pool.release(targets, targets.length);
      }),
    );
  }
}

copying(
  'a copy that differs is found',
  withRig({}, (rig) => {
    const targets = rig.allocate(32);
    const copier = new PacketCopier(rig.pool, targets);
    const forwarder = connectQueues(rig.rx, rig.tx, { onPacket: copier.onPacket });
    rig.arrive(3);
    forwarder.poll();
    copier.check();
    const last = rig.pool.bytes(targets[2]!);
    last[59] = last[59]! ^ 1;
    assert.throws(() => copier.check(), /copy 2 differs at byte 59/);
    rig.pool.release(targets, targets.length);
  }),
);

copying.run();
