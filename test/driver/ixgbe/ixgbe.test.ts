/** The ixgbe driver on the 82599 model, in strict mode: whatever the datasheet forbids fails the test. */
import * as assert from 'uvu/assert';
import { PciRegion } from '../../../src/vfio/types.js';
import { HANG_MS } from '../../support/hang.js';
import { IxgbeRig, MAC_A, MAC_B, numberedFrame, type RigOptions } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

const BROADCAST = new Uint8Array(6).fill(0xff);
const OTHER = Uint8Array.of(0x02, 0, 0, 0, 0, 0x77);

/** Runs a test on a fresh rig, closes it, and wants no complaint from the models. */
function onRig(options: RigOptions, body: (rig: IxgbeRig) => Promise<void> | void) {
  return async () => {
    const rig = await IxgbeRig.open(options);
    try {
      await body(rig);
    } finally {
      await rig.close();
    }
    assert.equal(rig.complaints(), []);
  };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

const bringUp = suite('ixgbe bring-up');

for (const [deviceId, name] of [
  [0x10fb, 'SFP+'],
  [0x10f7, 'KX4'],
  [0x1528, 'X540'],
] as const) {
  bringUp(
    `${name}: link, MAC, traffic both ways`,
    onRig({ deviceId }, async (rig) => {
      assert.equal(await rig.a.nic.waitForLink({ timeoutMs: HANG_MS }), {
        up: true,
        speedMbps: 10_000,
        fullDuplex: true,
      });
      assert.equal(rig.a.nic.mac, MAC_A);
      assert.is(rig.b.nic.macAddress, '02:00:00:00:00:0b');
      const frames = range(20).map((i) => numberedFrame(MAC_B, MAC_A, i));
      assert.is(rig.send(rig.a, frames), 20);
      rig.settle();
      assert.equal(rig.receive(rig.b), frames);
      const back = range(20).map((i) => numberedFrame(MAC_A, MAC_B, i));
      assert.is(rig.send(rig.b, back), 20);
      rig.settle();
      assert.equal(rig.receive(rig.a), back);
    }),
  );
}

bringUp(
  'bus mastering is on only between reset and close',
  onRig({}, (rig) => {
    const before = rig.a.vfio.events;
    assert.equal(before.slice(0, 2), ['reset', 'bus master on']);
    assert.not(before.includes('bus master off'));
  }),
);

bringUp('closing: bus master off, then interrupts, then the memory, then the device', async () => {
  const rig = await IxgbeRig.open();
  const { vfio } = rig.a;
  const windows = vfio.mapper.windows.length;
  await rig.close();
  assert.equal(vfio.events.slice(-3), ['bus master off', 'interrupts off', 'close']);
  assert.ok(windows > 0);
  assert.is(vfio.mapper.windows.length, 0, 'nothing stays mapped');
});

bringUp(
  'thresholds survive enabling the queue',
  onRig({}, (rig) => {
    const bar = rig.a.vfio.region(PciRegion.BAR0);
    // TXDCTL(0), 8.2.3.9.10: PTHRESH 36, HTHRESH 8, WTHRESH 0, ENABLE.
    assert.is(bar.read32(0x6028), ((1 << 25) | (8 << 8) | 36) >>> 0);
    // RAH(0), 8.2.3.7.9: Address Valid.
    assert.is(bar.read32(0xa204) >>> 31, 1);
  }),
);

bringUp(
  'what another driver left running is reset',
  onRig(
    {
      model: { strict: false },
      beforeOpen: (vfio) => {
        vfio.canReset = false;
        const bar = vfio.region(PciRegion.BAR0);
        // FCTRL.UPE (8.2.3.7.1), EIMS (8.2.3.5.3), and a receive queue that is on (8.2.3.8.6).
        bar.write32(0x5080, 1 << 9);
        bar.write32(0x0880, 0x7fff_ffff);
        bar.write32(0x1028 + 0x40 * 5, 1 << 25);
      },
    },
    (rig) => {
      const bar = rig.a.vfio.region(PciRegion.BAR0);
      assert.is(bar.read32(0x5080) & (1 << 9), 0);
      assert.is(bar.read32(0x0880), 0);
      assert.is(bar.read32(0x1028 + 0x40 * 5) & (1 << 25), 0);
      rig.a.model.violations.list.length = 0;
      rig.b.model.violations.list.length = 0;
    },
  ),
);

bringUp.run();

const traffic = suite('ixgbe traffic');

traffic(
  'every length from 17 to 1514 bytes arrives unchanged, short ones padded',
  onRig({}, (rig) => {
    for (let length = 17; length <= 1514; length++) {
      const frame = numberedFrame(MAC_B, MAC_A, length, length);
      assert.is(rig.send(rig.a, [frame]), 1);
      rig.settle();
      const [arrived, ...more] = rig.receive(rig.b);
      assert.is(more.length, 0);
      assert.is(arrived!.length, Math.max(length, 60));
      assert.equal(arrived!.slice(0, length), frame);
    }
  }),
);

traffic(
  'the rings wrap many times, in order and without loss',
  onRig({}, (rig) => {
    let next = 0;
    for (let round = 0; round < 200; round++) {
      const count = 1 + (round % 47);
      const frames = range(count).map((i) => numberedFrame(MAC_B, MAC_A, next + i));
      assert.is(rig.send(rig.a, frames), count);
      next += count;
      rig.settle();
      assert.equal(rig.receive(rig.b), frames);
    }
    const { txPackets, txBytes, wireTxPackets, wireTxBytes } = rig.a.nic.stats();
    assert.equal([txPackets, wireTxPackets], [next, next]);
    assert.equal([txBytes, wireTxBytes], [next * 60, next * 64]);
    const { rxPackets, rxBytes, wireRxPackets, wireRxBytes, rxMissed } = rig.b.nic.stats();
    assert.equal([rxPackets, wireRxPackets, rxMissed], [next, next, 0]);
    assert.equal([rxBytes, wireRxBytes], [next * 60, next * 64]);
  }),
);

traffic(
  'a full transmit ring takes no more, and goes on when the device has caught up',
  onRig({}, (rig) => {
    const frames = range(200).map((i) => numberedFrame(MAC_B, MAC_A, i));
    const taken = rig.send(rig.a, frames);
    assert.is(taken, 127, 'one slot of 128 stays empty');
    assert.is(rig.send(rig.a, frames.slice(0, 1)), 0);
    rig.settle();
    assert.equal(rig.receive(rig.b), frames.slice(0, 127));
    assert.ok(rig.send(rig.a, frames.slice(0, 60)) >= 60);
    rig.settle();
    assert.is(rig.receive(rig.b).length, 60);
  }),
);

traffic(
  'frames that find no descriptor are counted as missed, once',
  onRig({ flowControl: false }, (rig) => {
    let sent = 0;
    for (let round = 0; round < 5; round++) {
      sent += rig.send(
        rig.a,
        range(100).map((i) => numberedFrame(MAC_B, MAC_A, i)),
      );
      rig.settle();
    }
    const arrived = rig.receive(rig.b).length;
    const { rxMissed = 0, rxPackets } = rig.b.nic.stats();
    assert.is(rxPackets, arrived);
    assert.is(rxPackets + rxMissed, sent);
    assert.ok(rxMissed > 0);
    assert.is(rig.b.nic.stats().rxMissed, rxMissed, 'reading again adds nothing');
  }),
);

for (const [what, bufferSizeBytes, open, longest] of [
  ['default buffers', 2048, {}, 1984],
  ['an MTU of 1500', 2048, { mtu: 1500 }, 1522],
  ['an MTU of 9000', 16_384, { mtu: 9000 }, 9022],
  ['the longest that the hardware has', 16_384, {}, 15_868],
] as const) {
  traffic(
    `long frames, ${what}: ${longest} bytes pass, one more is refused and counted`,
    onRig({ bufferSizeBytes, open }, (rig) => {
      assert.is(rig.a.nic.maxFrameBytes, longest);
      const frames = [1515, longest - 1, longest].filter((length) => length <= longest);
      for (const [i, length] of frames.entries()) {
        const frame = numberedFrame(MAC_B, MAC_A, i, length);
        rig.send(rig.a, [frame]);
        rig.settle();
        assert.equal(rig.receive(rig.b), [frame]);
      }
      // The sender takes it, to refuse it.
      const tooLong = Uint32Array.of(rig.buffer(new Uint8Array(longest)));
      rig.pool.lengths[tooLong[0]!] = longest + 1;
      assert.is(rig.a.nic.txQueues[0].send(tooLong, 1), 1);
      rig.settle();
      assert.equal(rig.receive(rig.b), []);
      assert.is(rig.a.nic.stats().txErrors, 1);
      // One that comes all the same is damaged to the MAC: MAXFRS (8.2.3.22.13), counted in ROC.
      rig.b.model.deliver(frameMemory(longest + 1), 0, longest + 1);
      rig.b.model.flush();
      rig.settle();
      assert.equal(rig.receive(rig.b), []);
      const { rxErrors, rxTooLong, rxDamaged } = rig.b.nic.stats();
      assert.equal([rxErrors, rxTooLong, rxDamaged], [1, 0, 0]);
    }),
  );
}

traffic(
  'frames longer than a buffer are dropped and counted, and the next one arrives',
  onRig({ open: {} }, async (rig) => {
    // 2 KiB buffers: a jumbo frame needs two. HLREG0.JUMBOEN and MAXFRS (8.2.3.22.8, 8.2.3.22.13) let it in.
    for (const side of [rig.a, rig.b]) {
      const bar = side.vfio.region(PciRegion.BAR0);
      bar.write32(0x4268, 9000 << 16);
      bar.write32(0x4240, bar.read32(0x4240) | (1 << 2));
    }
    rig.b.model.deliver(frameMemory(3000), 0, 3000);
    rig.b.model.flush();
    const good = numberedFrame(MAC_B, MAC_A, 1);
    rig.send(rig.a, [good]);
    rig.settle();
    assert.equal(rig.receive(rig.b), [good]);
    assert.is(rig.b.nic.stats().rxTooLong, 1);
  }),
);

traffic(
  'link down: nothing arrives, and linkState says so',
  onRig({}, async (rig) => {
    rig.a.model.carrier(false);
    assert.is(rig.a.nic.linkState().up, false);
    assert.is((await rig.a.nic.waitForLink({ timeoutMs: 5 })).up, false);
    rig.a.model.carrier(true);
    rig.settle();
    assert.is((await rig.a.nic.waitForLink({ timeoutMs: HANG_MS })).up, true);
  }),
);

traffic(
  'octet counters are read in both halves',
  onRig({}, (rig) => {
    const { model, nic } = rig.b;
    const read = model.regionRead.bind(model);
    // GORCL and GORCH (8.2.3.23.27), as after 12 GiB and 5 bytes.
    const octets = new Map([
      [0x4088, 5],
      [0x408c, 3],
    ]);
    model.regionRead = (index, offset, into) => {
      read(index, offset, into);
      const value = octets.get(offset);
      if (index !== PciRegion.BAR0 || value === undefined) return;
      new DataView(into.buffer, into.byteOffset).setUint32(0, value, true);
      octets.delete(offset);
    };
    assert.is(nic.stats().wireRxBytes, 3 * 2 ** 32 + 5);
    assert.is(nic.stats().wireRxBytes, 3 * 2 ** 32 + 5);
  }),
);

traffic.run();

const filters = suite('ixgbe filters');

filters(
  'without promiscuous mode: own address and broadcast only',
  onRig({}, (rig) => {
    const mine = numberedFrame(MAC_B, MAC_A, 1);
    const all = numberedFrame(BROADCAST, MAC_A, 2);
    rig.send(rig.a, [numberedFrame(OTHER, MAC_A, 0), mine, all]);
    rig.settle();
    assert.equal(rig.receive(rig.b), [mine, all]);
  }),
);

filters(
  'promiscuous mode, on and off',
  onRig({}, async (rig) => {
    const foreign = numberedFrame(OTHER, MAC_A, 1);
    const group = numberedFrame(Uint8Array.of(1, 0, 0x5e, 1, 2, 3), MAC_A, 2);
    await rig.b.nic.setPromiscuous(true);
    rig.send(rig.a, [foreign, group]);
    rig.settle();
    assert.equal(rig.receive(rig.b), [foreign, group]);
    await rig.b.nic.setPromiscuous(false);
    rig.send(rig.a, [foreign, group]);
    rig.settle();
    assert.equal(rig.receive(rig.b), []);
  }),
);

filters(
  'setMac changes the address that is received',
  onRig({}, async (rig) => {
    await rig.b.nic.setMac(OTHER);
    const foreign = numberedFrame(OTHER, MAC_A, 1);
    rig.send(rig.a, [foreign, numberedFrame(MAC_B, MAC_A, 2)]);
    rig.settle();
    assert.equal(rig.receive(rig.b), [foreign]);
    const refused = await rig.b.nic.setMac(BROADCAST).catch((error: Error) => error.message);
    assert.match(String(refused), /not the address of one station/);
  }),
);

filters(
  'multicast groups',
  onRig({}, async (rig) => {
    const joined = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
    const other = Uint8Array.of(1, 0, 0x5e, 0x40, 0x73, 0x22);
    const wanted = numberedFrame(joined, MAC_A, 1);
    const unwanted = numberedFrame(other, MAC_A, 2);
    const arriveAt = (): number => {
      rig.send(rig.a, [wanted, unwanted]);
      rig.settle();
      return rig.receive(rig.b).length;
    };
    assert.is(arriveAt(), 0);
    await rig.b.nic.setMulticast([joined]);
    assert.is(arriveAt(), 1);
    await rig.b.nic.setMulticast('all');
    assert.is(arriveAt(), 2);
    await rig.b.nic.setMulticast([]);
    assert.is(arriveAt(), 0);
  }),
);

filters.run();

const idle = suite('ixgbe interrupts');

idle(
  'a packet ends the wait; without one it ends by time',
  onRig({ model: { strict: true } }, async (rig) => {
    // EIMS (8.2.3.5.3): what is set is not masked.
    const eims = () => rig.b.vfio.region(PciRegion.BAR0).read32(0x0880);
    assert.is(await rig.b.nic.waitForPackets({ timeoutMs: 5 }), false);
    assert.is(eims(), 0, 'masked after a wait in vain');
    const waiting = rig.b.nic.waitForPackets({ timeoutMs: HANG_MS });
    rig.send(rig.a, [numberedFrame(MAC_B, MAC_A, 1)]);
    rig.settle();
    assert.is(await waiting, true);
    assert.is(eims(), 0, 'masked after an interrupt');
    assert.is(rig.receive(rig.b).length, 1);
    assert.is(
      await rig.b.nic.waitForPackets({ timeoutMs: 5 }),
      false,
      'no second wake-up for the same packet',
    );
  }),
);

idle.run();

function frameMemory(length: number) {
  const buffer = new ArrayBuffer((length + 3) & ~3);
  const bytes = new Uint8Array(buffer);
  bytes.set(MAC_B, 0);
  bytes.set(MAC_A, 6);
  bytes.set([0x88, 0xb5], 12);
  return { bytes, words: new Int32Array(buffer) };
}
