/**
 * A transmit ring of legacy descriptors (82574 datasheet 7.2.3) behind the loops that were made for advanced ones: the general
 * path, both halves in one loop, the pipe. The ring's model refuses what a legacy descriptor may not have.
 */
import * as assert from 'uvu/assert';
import { connectQueues, type ForwardOptions } from '../../../src/forward/forwarder.js';
import { type QueueRig, withRig } from '../../support/queue-rig.js';
import { RX_ERROR_RXE, RX_STATUS_DD, RX_STATUS_EOP } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

const legacy = suite('legacy transmit descriptors');
const DAMAGED = RX_STATUS_DD | RX_STATUS_EOP | RX_ERROR_RXE;

/** Frames of all lengths, with damaged ones among them, through a forwarder; returns the good ones. */
function forward(rig: QueueRig, options: ForwardOptions): Uint8Array[] {
  const forwarder = connectQueues(rig.rx, rig.tx, options);
  const good: Uint8Array[] = [];
  // Never more than a ring of 64 has room for while up to 31 sent packets wait for their report.
  for (let round = 0; round < 150; round++) {
    for (let i = 0; i < (round * 7) % 30; i++) {
      const frame = rig.frame(17 + ((round * 31 + i * 97) % 1968));
      const isDamaged = i % 11 === 5;
      const arrived = rig.rxDevice.receive(isDamaged ? { frame, status: DAMAGED } : { frame });
      if (arrived && !isDamaged) good.push(frame);
    }
    while (forwarder.poll() > 0);
    rig.txDevice.transmit();
  }
  while (forwarder.poll() > 0);
  rig.txDevice.transmit();
  return good;
}

/** One by one: the difference of long lists takes minutes to print. */
function assertSent({ txDevice: { sent } }: QueueRig, expected: readonly Uint8Array[]): void {
  for (const [i, frame] of expected.entries()) {
    assert.ok(
      Buffer.compare(sent[i]?.bytes ?? Buffer.alloc(0), frame) === 0,
      `frame ${i} of ${frame.length} bytes`,
    );
  }
  assert.is(sent.length, expected.length);
}

for (const path of ['general', 'pipe'] as const) {
  legacy(
    `${path}: good frames leave unchanged and in order, damaged ones do not`,
    withRig({ legacy: true }, (rig) => {
      const good = forward(rig, { path });
      assert.ok(good.length > 1000);
      assertSent(rig, good);
      assert.is(rig.txDevice.nulls > 0, path === 'pipe', 'a pipe keeps the place of what it drops');
    }),
  );
}

legacy(
  'a hook that drops and one that changes the length',
  withRig({ legacy: true }, (rig) => {
    let number = 0;
    const good = forward(rig, {
      path: 'pipe',
      onPacket: (_packet, lengthBytes) => (number++ % 3 === 0 ? 0 : Math.max(17, lengthBytes - 1)),
    });
    const expected = good
      .filter((_, i) => i % 3 !== 0)
      .map((frame) => frame.subarray(0, Math.max(17, frame.length - 1)));
    assertSent(rig, expected);
  }),
);

legacy(
  'there is no sendOffloaded',
  withRig({ legacy: true }, ({ tx }) => assert.is(tx.sendOffloaded, undefined)),
);

legacy.run();
