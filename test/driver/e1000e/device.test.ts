/** Bring-up of the 82574, its registers' values, interrupts, statistics, and bring-up that fails. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../../src/driver/device.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { PciIrq } from '../../../src/vfio/types.js';
import { expectRejection } from '../../support/expect-error.js';
import {
  CTRL_GIO_MASTER_DISABLE,
  CTRL_RST,
  Fake82574,
  MDIO_SW,
  QUEUE_STRIDE,
  R,
  RAH_AV,
  type Stuck,
  TCTL_RESET,
} from '../../support/fake-82574.js';
import type { FakeVfioOptions } from '../../support/fake-vfio.js';
import { HANG_MS } from '../../support/hang.js';
import { type Bench, benchOn, find, what, withSteppedClock, write, written } from '../../support/open-igb.js';
import { suite } from '../../support/suite.js';

const ALL_ONES = 0xffff_ffff;
/** 10.2.5.1, 10.2.6.1. */
const RCTL_EN = 1 << 1;
const TCTL_EN = 1 << 1;
const LPE = 1 << 5;
/** Causes of the receive queues' interrupts (10.2.4.1). */
const RXQ0 = 1 << 20;
const RXQ1 = 1 << 21;

type E1000eBench = Bench<Fake82574>;

function bench(options: FakeVfioOptions = {}, buffers?: number): E1000eBench {
  return benchOn(new Fake82574(), { device: 0x10d3, vectors: 5, ...options }, buffers);
}

/** Opens, runs, closes. */
function withNic(
  test: (nic: NetDevice, bench: E1000eBench) => void | Promise<void>,
  options: OpenOptions = {},
  more: FakeVfioOptions = {},
): () => Promise<void> {
  return async () => {
    const made = bench(more);
    const nic = await made.open(options);
    try {
      await test(nic, made);
    } finally {
      await nic.close();
    }
    made.assertReleased();
  };
}

const order = suite('82574 bring-up: order');

order(
  'masked and quiet, reset, memory, rings, receiver and transmitter, tails, link',
  withNic((_, { vfio }) => {
    let at = 0;
    const next = (name: string, matches: Parameters<typeof find>[2]): void => {
      at = find(vfio.events, name, matches, at) + 1;
    };
    next('function reset', what('function reset'));
    next('IMC', write(R.IMC, ALL_ONES));
    next('RCTL off', write(R.RCTL, RCTL_EN, 0));
    next('GIO master disable', write(R.CTRL, CTRL_GIO_MASTER_DISABLE));
    next('RST', write(R.CTRL, CTRL_RST));
    next('IMC again', write(R.IMC, ALL_ONES));
    next('GIO master enable', write(R.CTRL, CTRL_GIO_MASTER_DISABLE, 0));
    next('map', what('map'));
    next('bus master on', what('bus master on'));
    next('extended descriptors', write(R.RFCTL, 1 << 15));
    next('RDT', write(R.RDT));
    next('TDT', write(R.TDT));
    next('RCTL.EN', write(R.RCTL, RCTL_EN));
    next('TCTL.EN', write(R.TCTL, TCTL_EN));
    next('RDT full', write(R.RDT, 63));
    next('PHY', write(R.EXTCNF_CTRL, MDIO_SW));
    next('MDIC', write(R.MDIC));
    next('PHY is free', write(R.EXTCNF_CTRL, MDIO_SW, 0));
  }),
);

order('close: queues off, masked, reset, bus master off, memory', async () => {
  const { open, vfio, assertReleased } = bench();
  const nic = await open();
  const from = vfio.events.length;
  await nic.close();
  const events = vfio.events.slice(from);
  let at = 0;
  for (const [name, matches] of [
    ['RCTL.EN off', write(R.RCTL, RCTL_EN, 0)],
    ['TCTL.EN off', write(R.TCTL, TCTL_EN, 0)],
    ['IMC', write(R.IMC, ALL_ONES)],
    ['RST', write(R.CTRL, CTRL_RST)],
    ['bus master off', what('bus master off')],
    ['unmap', what('unmap')],
    ['close', what('close')],
  ] as const) {
    at = find(events, name, matches, at) + 1;
  }
  assertReleased();
});

order.run();

const values = suite('82574 bring-up: values');

values(
  'thresholds in descriptors; WTHRESH of transmit is 0, and bit 22 is set',
  withNic((_, { model }) => {
    // PTHRESH 5:0, HTHRESH 13:8, WTHRESH 21:16, GRAN 24.
    assert.is(model.get(R.RXDCTL), 8 | (8 << 8) | (1 << 16) | (1 << 24));
    assert.is(model.get(R.TXDCTL), 8 | (1 << 8) | (1 << 22) | (1 << 24));
    assert.is(model.get(R.TARC), (1 << 26) | 0x403, '30:27 off, 26 on, ENABLE on');
  }),
);

values(
  'what hardware needs otherwise than a reset leaves it',
  withNic((_, { model }) => {
    // Bits 22 and 23 of CTRL_EXT; bit 22 of GCR, bit 0 of GCR2.
    assert.is((model.get(R.CTRL_EXT) >>> 22) & 3, 1);
    assert.is(model.get(R.GCR), 1 << 22);
    assert.is(model.get(R.GCR2), 1);
  }),
);

values(
  'rings are where the mapper was told, aligned, and do not overlap',
  withNic(
    (_, { model, vfio }) => {
      const [, rings] = [...vfio.mapper.mapped.keys()] as [bigint, bigint];
      const ringBytes = BigInt(vfio.mapper.mapped.get(rings)!);
      const at = (base: number): bigint => (BigInt(model.get(base + 4)) << 32n) | BigInt(model.get(base));
      const bases = [R.RDBAL, R.RDBAL + QUEUE_STRIDE, R.TDBAL, R.TDBAL + QUEUE_STRIDE];
      for (const base of bases) {
        const bytes = BigInt(model.get(base + 8));
        assert.is(bytes, base < R.TDBAL ? 2048n : 1024n);
        assert.is(at(base) % 128n, 0n);
        assert.ok(at(base) >= rings && at(base) + bytes <= rings + ringBytes);
        for (const other of bases)
          if (other !== base) assert.ok(at(other) >= at(base) + bytes || at(other) < at(base));
      }
    },
    { rxRingSize: 128, txRingSize: 64, queuePairs: 2 },
  ),
);

values(
  'the MAC address is the EEPROM’s, and valid; other addresses and groups are not',
  withNic((nic, { model, vfio }) => {
    assert.is(nic.macAddress, '02:11:22:33:44:f5');
    assert.is(model.get(R.RAH0), (RAH_AV | 0xf544) >>> 0);
    for (let entry = 1; entry < 16; entry++) assert.equal(written(vfio.events, R.RAH0 + 8 * entry), [0]);
    for (let word = 0; word < 128; word++) assert.equal(written(vfio.events, R.MTA + 4 * word), [0]);
  }),
);

for (const [name, options, bufferSizeBytes, control, longest] of [
  ['2 KiB buffers take frames of up to 1522 bytes with FCS', {}, 2048, 0, 1518],
  ['with an mtu of 1500 as well', { mtu: 1500 }, 2048, 0, 1518],
  ['a shorter mtu is the driver’s limit', { mtu: 1000 }, 2048, 0, 1022],
  ['1 KiB buffers: 512 bytes of each', {}, 1024, LPE | (2 << 16), 512],
  ['4 KiB buffers: 3 KiB of each', {}, 4096, LPE | (3 << 27), 3072],
  ['an mtu in 4 KiB buffers', { mtu: 1600 }, 4096, LPE | (3 << 27), 1622],
  ['16 KiB buffers: 15 KiB of each, and frames of 9234 bytes with FCS', {}, 16_384, LPE | (15 << 27), 9230],
] as const) {
  values(name, async () => {
    const made = bench();
    made.pool.close();
    const headroom = 64;
    const pool = new PacketPool({ buffers: 256, bufferSizeBytes, headroomBytes: headroom, pageSize: '4K' });
    const nic = await made.open({ pool, ...options });
    // FLXBUF 30:27, SECRC 26, BSEX 25, BSIZE 17:16, BAM 15.
    assert.is(made.model.get(R.RCTL), ((1 << 26) | (1 << 15) | RCTL_EN | control) >>> 0);
    assert.is(nic.maxFrameBytes, longest);
    await nic.close();
    pool.close();
  });
}

values(
  'an mtu that the hardware’s whole KiB of a buffer do not hold is refused, or gets larger buffers',
  async () => {
    const made = bench();
    const error = await expectRejection('BAD_OPTION', made.open({ mtu: 1501 }));
    assert.match(error.message, 'frames of 1523 bytes in buffers of 2048');
    assert.match(error.hint!, 'bufferSizeBytes 4096');
    made.assertReleased();
    const own = bench();
    own.pool.close();
    const nic = await own.open({ pool: undefined, mtu: 1501 } as never);
    assert.is(nic.pool.bufferSizeBytes, 4096);
    assert.is(nic.maxFrameBytes, 1523);
    await nic.close();
  },
);

values(
  'TCTL: pads short frames; collision threshold 15, distance 63, nothing else changed',
  withNic((_, { model }) => {
    assert.is(model.get(R.TCTL), TCTL_RESET | TCTL_EN | (15 << 4) | (63 << 12));
  }),
);

values(
  'RSS over 2 queues: bit 7 of the entries in turn, key, fields',
  withNic(
    (_, { model }) => {
      const entries = Array.from(
        { length: 128 },
        (_entry, i) => (model.get(R.RETA + (i & ~3)) >>> (8 * (i % 4))) & 0xff,
      );
      assert.equal(
        entries,
        entries.map((_entry, i) => (i % 2) * 0x80),
      );
      assert.is(model.get(R.RSSRK), 0xda56_5a6d);
      assert.is(model.get(R.RSSRK + 36), 0xfa01_acbe);
      // Two queues by hash; TCP over IPv4 and IPv6, IPv4, IPv6. The hash in the descriptor.
      assert.is(model.get(R.MRQC), 0x0017_0001);
      assert.is((model.get(R.RXCSUM) >>> 13) & 1, 1);
    },
    { queuePairs: 2 },
  ),
);

values(
  'symmetric RSS: a key that repeats after 16 bits',
  withNic(
    (_, { model }) => {
      const key = Array.from({ length: 10 }, (_word, i) => model.get(R.RSSRK + 4 * i));
      assert.equal(
        key,
        key.map(() => 0x5a6d_5a6d),
      );
    },
    { queuePairs: 2, symmetricRss: true },
  ),
);

values(
  'one queue needs no RSS',
  withNic((_, { vfio }) => assert.equal(written(vfio.events, R.MRQC), [])),
);

values(
  'the PHY is powered and negotiates; MAC speed is not forced',
  withNic((nic, { model }) => {
    assert.is(model.get(R.CTRL) & 0x1840, 0x40, 'SLU 6, FRCSPD 11, FRCDPLX 12');
    assert.is(model.phyControl & 0x1a00, 0x1200, 'restart 9, enable 12, power down 11');
    assert.equal(nic.linkState(), { up: true, speedMbps: 1000, fullDuplex: true });
    model.linkUp = false;
    assert.is(nic.linkState().up, false);
  }),
);

values.run();

const interrupts = suite('82574 interrupts');

/** Writes back a good frame to slot 0 of a queue, as the device would. */
function deliver({ model, vfio }: E1000eBench, queue = 0): void {
  const at = QUEUE_STRIDE * queue;
  const base = (BigInt(model.get(R.RDBAH + at)) << 32n) | BigInt(model.get(R.RDBAL + at));
  const words = new Int32Array(vfio.mapper.memoryAt(base, 64 * 16));
  words[3] = 60;
  words[2] = 3;
}

interrupts(
  'MSI-X: queue q has vector q in IVAR; what fires is acknowledged and masked',
  withNic(
    (_, { model, vfio }) => {
      assert.is(vfio.irqIndex, PciIrq.MSIX);
      assert.is(vfio.eventfds.length, 2);
      assert.is(model.get(R.IVAR), 0x98);
      assert.is(model.get(R.EIAC), RXQ0 | RXQ1);
      assert.is(model.get(R.IAM), RXQ0 | RXQ1);
      // EIAME 24, PBA_CLR 31.
      assert.is((model.get(R.CTRL_EXT) & 0x8100_0000) >>> 0, 0x8100_0000);
    },
    { queuePairs: 2 },
  ),
);

interrupts(
  'an interrupt ends the wait; queues are masked afterwards',
  withNic(
    async (nic, made) => {
      const { model, vfio } = made;
      const wait = nic.waitForPackets({ timeoutMs: HANG_MS });
      assert.is(model.get(R.IMS), RXQ0 | RXQ1);
      deliver(made, 1);
      vfio.raise(1);
      assert.is(await wait, true);
      assert.is(model.get(R.IMS), 0);
    },
    { queuePairs: 2 },
  ),
);

interrupts(
  'MSI where there is no MSI-X: one interrupt for both queues, acknowledged, and masked when nobody sleeps',
  withNic(
    async (nic, made) => {
      const { model, vfio } = made;
      assert.is(vfio.irqIndex, PciIrq.MSI);
      assert.is(vfio.eventfds.length, 1);
      // RXT0 7, RXO 6, RXDMT0 4.
      const causes = 0xd0;
      const [first, second] = nic.rxQueues.map((queue) => queue.wait({ timeoutMs: HANG_MS }));
      assert.is(model.get(R.IMS), causes);
      model.registers.set(R.ICR, causes);
      // The queue that is told last wakes; the one before it has armed the interrupt again by then.
      deliver(made, 1);
      vfio.raise(0);
      assert.is(await second, true);
      assert.is(model.get(R.ICR), 0, 'acknowledged');
      assert.is(model.get(R.IMS), causes, 'the other sleeps on');
      deliver(made, 0);
      vfio.raise(0);
      assert.is(await first, true);
      assert.is(model.get(R.IMS), 0);
    },
    { queuePairs: 2 },
    { vectors: 0, msiVectors: 1 },
  ),
);

for (const [kind, vectors, register] of [
  ['MSI-X: EITR of each vector', {}, 0xec],
  ['MSI: ITR', { vectors: 0, msiVectors: 1 }, 0xc4],
] as const) {
  interrupts(
    `held back, in 256 ns, rounded up: ${kind}`,
    withNic(
      (_, { model }) => assert.is(model.get(register), Math.ceil(100_000 / 256)),
      { queuePairs: 2, interruptIntervalUs: 100 },
      vectors,
    ),
  );
}

interrupts('held back, and there is no interrupt: refused', async () => {
  const error = await expectRejection(
    'BAD_OPTION',
    bench({ vectors: 0 }).open({ interruptIntervalUs: 100 }),
    /too few interrupt vectors/,
  );
  assert.match(error.hint!, /interruptIntervalUs/);
});

interrupts(
  'without any a wait looks',
  withNic(
    async (nic, made) => {
      assert.equal(made.vfio.eventfds, []);
      const wait = nic.waitForPackets({ timeoutMs: HANG_MS });
      deliver(made);
      assert.is(await wait, true);
    },
    {},
    { vectors: 0 },
  ),
);

interrupts.run();

const statistics = suite('82574 statistics');

statistics(
  'each read adds up, what is damaged counts once, and totals are cleared with their copies',
  withNic((nic, { model, vfio }) => {
    for (let round = 1; round <= 3; round++) {
      model.count(R.GPRC, 10);
      model.count(R.GPTC, 20);
      model.count(R.GOTCL, 0xffff_fff0);
      model.count(R.GOTCH, 1);
      model.count(R.MPC, 1);
      for (const [register, count] of [
        [R.CRCERRS, 4],
        [R.RFC, 1],
        [R.RUC, 5],
        [R.ROC, 2],
        // The same frames again.
        [R.RLEC, 7],
        [R.RJC, 3],
      ] as const) {
        model.count(register, count);
      }
      const from = vfio.reads.length;
      const stats = nic.stats();
      assert.is(stats.wireRxPackets, 10 * round);
      assert.is(stats.wireTxPackets, 20 * round);
      assert.is(stats.wireTxBytes, (2 ** 32 + 0xffff_fff0) * round);
      assert.is(stats.rxMissed, round);
      assert.is(stats.rxErrors, 12 * round);
      const reads = vfio.reads.slice(from);
      // TPT, TOTH (10.2.7).
      assert.ok(reads.indexOf(0x40d4) >= 0 && reads.indexOf(0x40d4) < reads.indexOf(R.GPTC));
      assert.ok(reads.indexOf(0x40cc) >= 0 && reads.indexOf(0x40cc) < reads.indexOf(R.GOTCL));
    }
  }),
);

statistics('counters that were there before the open do not count', async () => {
  const { model, open } = bench();
  model.count(R.GPRC, 1000);
  const nic = await open();
  assert.is(nic.stats().wireRxPackets, 0);
  await nic.close();
});

statistics.run();

const failures = suite('82574: bring-up that fails');

for (const [stuck, name] of [
  ['GIO_MASTER', 'STATUS.GIO_MASTER_ENABLE'],
  ['RST', 'CTRL.RST'],
  ['MDIO_SW', 'EXTCNF_CTRL.MDIO_SW'],
  ['MDIC', 'MDIC.READY'],
] as readonly (readonly [Stuck, string])[]) {
  failures(`${name} names itself and the value it had last`, async () => {
    const { model, vfio, open, assertReleased } = bench();
    model.stuck.add(stuck);
    await withSteppedClock(20, async () => {
      const error = await expectRejection('DEVICE_TIMEOUT', open());
      assert.match(error.message, `${name} did not become`);
      assert.match(error.message, vfio.address);
    });
    assertReleased();
  });
}

failures('pulled out at any read of bring-up: DEVICE_GONE, and everything is released', async () => {
  const probe = bench();
  const nic = await probe.open();
  const lastStep = probe.vfio.reads.lastIndexOf(R.MDIC);
  await nic.close();
  probe.assertReleased();
  assert.ok(lastStep > 20);
  for (let after = 0; after < lastStep; after++) {
    const { vfio, open, assertReleased } = bench({}, 64);
    vfio.goneAfterReads = after;
    const error = await expectRejection('DEVICE_GONE', open());
    assert.match(error.message, 'does not answer');
    assertReleased();
  }
});

failures.run();
