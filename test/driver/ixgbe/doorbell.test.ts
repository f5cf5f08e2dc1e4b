/**
 * An emulated 82599 rests while its driver waits for interrupts, and does not see doorbells in mapped memory then: the driver tells
 * it of what it sends meanwhile by a write that the emulator hears.
 */
import * as assert from 'uvu/assert';
import { openCursor } from '../../../src/forward/cursor.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { IxgbeRig, MAC_A, MAC_B, numberedFrame } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

/** Of queue 0 (82599 datasheet, 8.2.3.8.5 and 8.2.3.9.9). */
const RDT = 0x1018;
const TDT = 0x6018;

const doorbell = suite('doorbells of a device that rests');

/** Ways to send on B's queue what has come to A; each returns how many packets that were. */
const WAYS: Readonly<Record<string, (rig: IxgbeRig) => () => number>> = {
  send({ a, b }) {
    const bufs = new Uint32Array(32);
    return () => b.nic.txQueues[0].send(bufs, a.nic.rxQueues[0].receive(bufs));
  },
  sendOffloaded({ a, b, pool }) {
    const bufs = new Uint32Array(32);
    return () => {
      const count = a.nic.rxQueues[0].receive(bufs);
      for (const packet of bufs.subarray(0, count)) pool.metadata.txFlags[packet] = 0;
      return b.nic.txQueues[0].sendOffloaded!(bufs, count);
    };
  },
  'the general path': ({ a, b }) =>
    connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], { path: 'general' }).poll,
  'a hook': ({ a, b }) =>
    connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], { path: 'general', onPacket: (_, length) => length })
      .poll,
  'a pipe': ({ a, b }) => connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], { path: 'pipe' }).poll,
  'a cursor'({ a, b }) {
    const { next, push, flush } = openCursor(a.nic.rxQueues[0], b.nic.txQueues[0]);
    return () => {
      while (next() >= 0 && push());
      return flush();
    };
  },
};

for (const debug of [true, false]) {
  for (const [name, connect] of Object.entries(WAYS)) {
    doorbell(
      `${name}${debug ? ', in a debug pool' : ''}: heard while the device rests, and only then`,
      async () => {
        const rig = await IxgbeRig.open({ debug });
        const { a, b } = rig;
        const forward = connect(rig);
        let heard = 0;
        /** Frames come to A from the wire, and are forwarded. */
        const forwarded = (): number => {
          for (let i = 0; i < 4; i++) {
            const frame = numberedFrame(MAC_A, MAC_B, i);
            const memory = { bytes: frame, words: new Int32Array(frame.buffer, 0, frame.length >>> 2) };
            assert.is(a.model.deliver(memory, 0, frame.length), true);
          }
          heard = 0;
          return forward();
        };
        const { regionWrite } = b.model;
        b.model.regionWrite = (index, offset, from) => {
          regionWrite.call(b.model, index, offset, from);
          // Doorbells trap here, so that the model works without a thread of its own: they do not count.
          if (offset !== RDT && offset !== TDT) heard++;
        };
        assert.is(forwarded(), 4);
        assert.is(heard, 0, 'one that is polled is told nothing');
        const stop = new AbortController();
        const waiting = b.nic.waitForPackets({ signal: stop.signal }).catch((error: unknown) => error);
        assert.is(b.model.resting, true);
        assert.is(forwarded(), 4);
        assert.is(heard, 1, 'one write a batch');
        assert.is(b.model.resting, true, 'which changes nothing');
        heard = 0;
        assert.is(forward(), 0);
        assert.is(heard, 0, 'nothing was sent');
        stop.abort();
        assert.is(await waiting, stop.signal.reason);
        assert.is(forwarded(), 4);
        assert.is(heard, 0, 'awake again');
        await rig.close();
      },
    );
  }
}

doorbell.run();
