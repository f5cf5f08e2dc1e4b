/** Frames with an FCS of their own, from the driver to the other card (82599 datasheet 7.2.3.2.4: IFCS). */
import { crc32 } from 'node:zlib';
import * as assert from 'uvu/assert';
import { TxFlag } from '../../../src/hugepage/packet-metadata.js';
import { IxgbeRig, MAC_A, MAC_B, numberedFrame } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

const CRCERRS = 0x4000;

function withFcs(frame: Uint8Array, change = 0): Uint8Array {
  const all = new Uint8Array(frame.length + 4);
  all.set(frame);
  new DataView(all.buffer).setUint32(frame.length, (crc32(frame) ^ change) >>> 0, true);
  return all;
}

const fcs = suite('frames with an FCS of their own');

fcs('a right one is received, a wrong one is counted and dropped', async () => {
  const rig = await IxgbeRig.open();
  const good = numberedFrame(MAC_B, MAC_A, 1, 100);
  const bad = numberedFrame(MAC_B, MAC_A, 2, 200);
  const bufs = Uint32Array.of(rig.buffer(withFcs(good)), rig.buffer(withFcs(bad, 1)), rig.buffer(good));
  const flags = rig.pool.metadata.txFlags;
  flags[bufs[0]!] = flags[bufs[1]!] = TxFlag.OWN_FCS;
  flags[bufs[2]!] = 0;
  assert.is(rig.a.nic.txQueues[0].sendOffloaded!(bufs, 3), 3);
  rig.settle();
  assert.equal(rig.receive(rig.b), [good, good]);
  const [sent, received] = [rig.a.nic.stats(), rig.b.nic.stats()];
  assert.equal([sent.txPackets, sent.txBytes], [3, 400]);
  assert.equal(
    [sent.wireTxPackets, sent.wireTxBytes],
    [3, 412],
    'the MAC looks at no FCS that it did not make',
  );
  assert.equal([received.rxErrors, received.wireRxPackets], [1, 2]);
  assert.is(rig.b.model.counters().CRCERRS ?? rig.b.model.peek(CRCERRS), 0, 'cleared by reading');
  await rig.close();
  assert.equal(rig.complaints(), []);
});

fcs.run();
