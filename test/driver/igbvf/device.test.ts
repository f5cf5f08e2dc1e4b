/** A virtual function of an 82576: what it says to its physical function, and how it lives through a reset of the port. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../../src/driver/device.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { IgbVfHardware } from '../../conformance/igbvf.js';
import { range } from '../../conformance/rig.js';
import { expectRejection } from '../../support/expect-error.js';
import { QUEUE_ENABLE, V } from '../../support/fake-82576-vf.js';
import { HANG_MS, until } from '../../support/hang.js';
import { suite } from '../../support/suite.js';

const ADMIN_MAC = [0x02, 0x76, 0x10, 0xca, 0, 1];
/** Low halves of messages. */
const [RESET, SET_MAC, , SET_VLAN, SET_LPE] = [1, 2, 3, 4, 5];
const ACK = (1 << 31) >>> 0;

class Bench {
  readonly hardware = new IgbVfHardware();
  readonly pool = new PacketPool({ buffers: 600, pageSize: '4K' });
  nic!: NetDevice;
  #number = 0;

  get model() {
    return this.hardware.model;
  }

  async open(options: OpenOptions = {}): Promise<this> {
    this.nic = await this.hardware.open({
      ...{ pool: this.pool, rxRingSize: 128, txRingSize: 128, pageSize: '4K' },
      ...options,
    });
    return this;
  }

  frame(): Uint8Array {
    return this.hardware.frame(this.#number++, 60);
  }

  /** Frames go through the application: in and out again. Returns those that left. */
  echo(count: number): { came: Uint8Array[]; left: Uint8Array[] } {
    const came = range(count).map(() => this.frame());
    for (const frame of came) assert.ok(this.hardware.arrive(frame), 'a descriptor is free');
    const bufs = new Uint32Array(64);
    const [[rx], [tx]] = [this.nic.rxQueues, this.nic.txQueues];
    const got = rx.receive(bufs);
    assert.is(tx.send(bufs, got), got);
    return { came, left: this.hardware.transmit() };
  }

  /** The driver of the port resets it, as when its interface goes down and up. */
  async resetPort(whileDown: () => void = () => {}): Promise<void> {
    const { resets = 0 } = this.nic.stats();
    this.model.beginPortReset();
    await until(() => !this.nic.linkState().up, 'the reset is noticed');
    whileDown();
    this.model.endPortReset();
    await this.recovered(resets + 1);
  }

  async recovered(resets: number): Promise<void> {
    await until(() => this.nic.stats().resets === resets, 'everything is set up again');
    await until(() => this.nic.linkState().up, 'the link');
  }

  async close(): Promise<void> {
    await this.nic.close();
    assert.is(this.pool.available, this.pool.capacity, 'every buffer is back');
    assert.equal(this.hardware.complaints(), []);
    this.pool.close();
  }
}

/** @param prepare what is so before the open */
function withNic(
  test: (bench: Bench) => void | Promise<void>,
  options: OpenOptions = {},
  prepare: (bench: Bench) => void = () => {},
): () => Promise<void> {
  return async () => {
    const bench = new Bench();
    prepare(bench);
    await bench.open(options);
    try {
      await test(bench);
    } catch (error) {
      await bench.nic.close().catch(() => {});
      throw error;
    }
    await bench.close();
  };
}

const mailbox = suite('82576 VF: mailbox');

mailbox(
  'introduces itself before anything else, takes the address that it is given, and asks for its longest frame',
  withNic(
    ({ nic, model }) => {
      assert.equal(
        model.requests.map((word) => word & 0xffff),
        [RESET, SET_LPE],
      );
      assert.equal([...nic.mac], ADMIN_MAC);
      assert.is(model.longestBytes, 1522 + 4);
    },
    { mtu: 1500 },
  ),
);

mailbox(
  'without an address it makes one up: of one station, locally administered, and the same after a reset',
  withNic(
    async (bench) => {
      const { nic, model } = bench;
      const mac = [...nic.mac];
      assert.is(mac[0]! & 3, 2);
      assert.equal(model.mac, mac);
      await bench.resetPort();
      assert.equal([...nic.mac], mac);
      assert.equal(model.mac, mac);
    },
    {},
    ({ model }) => {
      model.adminMac = undefined;
    },
  ),
);

mailbox(
  'an address that the administrator has set may not be changed; one that is trusted may',
  withNic(
    async ({ nic, model }) => {
      const other = Uint8Array.of(2, 0, 0, 0, 0, 9);
      const error = await expectRejection('NO_PERMISSION', nic.setMac(other));
      assert.match(error.hint!, 'ip link set');
      assert.equal([...nic.mac], ADMIN_MAC);
      model.trusted = true;
      await nic.setMac(other);
      assert.equal(model.mac, [...other]);
      assert.equal([...nic.mac], [...other]);
    },
    {},
    ({ model }) => {
      model.trusted = false;
    },
  ),
);

mailbox(
  'groups go by their hash, up to 30; more are all',
  withNic(async ({ nic, model }) => {
    const groups = range(30).map((i) => Uint8Array.of(1, 0, 0x5e, 0, i, 0xfb));
    await nic.setMulticast(groups);
    assert.equal(
      model.hashes,
      range(30).map((i) => 0xfb0 | (i >>> 4)),
    );
    assert.not(model.allGroups);
    await nic.setMulticast([...groups, Uint8Array.of(1, 0, 0x5e, 0, 0, 1)]);
    assert.ok(model.allGroups);
    await nic.setMulticast([]);
    assert.not(model.allGroups);
    await nic.setPromiscuous(true);
    assert.ok(model.allGroups);
    await nic.setMulticast(groups.slice(0, 1));
    assert.ok(model.allGroups, 'promiscuous mode stays');
    await nic.setPromiscuous(false);
    assert.not(model.allGroups);
    assert.equal(model.hashes, [0xfb0]);
  }),
);

mailbox(
  'VLANs: only with metadata, which have the tag; refused ones are an error',
  withNic(
    async ({ nic, model }) => {
      await nic.setVlanFilter!(100, true);
      await nic.setVlanFilter!(200, true);
      await nic.setVlanFilter!(100, false);
      assert.equal([...model.vlans], [200]);
      for (const id of [0, 4095, 1.5]) await expectRejection('BAD_OPTION', nic.setVlanFilter!(id, true));
      model.refused = SET_VLAN;
      await expectRejection('NO_PERMISSION', nic.setVlanFilter!(7, true));
    },
    { rxMetadata: true },
  ),
);

mailbox(
  'a VLAN without metadata would lose its tag',
  withNic(async ({ nic }) => {
    const { hint } = await expectRejection('BAD_OPTION', nic.setVlanFilter!(100, true));
    assert.match(hint!, 'rxMetadata');
  }),
);

mailbox(
  'requests at the same time go one after the other',
  withNic(async ({ nic, model }) => {
    model.trusted = true;
    const macs = range(5).map((i) => Uint8Array.of(2, 0, 0, 0, 0, i + 1));
    await Promise.all(macs.map((mac) => nic.setMac(mac)));
    assert.equal(model.mac, [...macs[4]!]);
    assert.is(model.requests.filter((word) => (word & 0xffff) === SET_MAC).length, 5);
  }),
);

mailbox(
  'a request waits while the physical function has the buffer',
  withNic(async ({ nic, model }) => {
    model.trusted = true;
    model.holdBuffer(5);
    await nic.setMac(Uint8Array.of(2, 0, 0, 0, 0, 9));
    assert.equal(model.faults, []);
  }),
);

mailbox(
  'a message that comes in the middle of a request answers nothing',
  withNic(async ({ nic, model }) => {
    model.trusted = true;
    model.control(true);
    await nic.setMac(Uint8Array.of(2, 0, 0, 0, 0, 9));
    assert.is(nic.stats().resets, 0);
  }),
);

mailbox('a physical function that is down: the open says so, and leaves nothing', async () => {
  const bench = new Bench();
  bench.model.isDown = true;
  const error = await expectRejection('DEVICE_TIMEOUT', bench.open());
  assert.match(error.message, 'does not answer');
  assert.match(error.hint!, 'ip link set');
  assert.equal(bench.hardware.complaints(), []);
  bench.pool.close();
});

for (const [what, word] of [
  ['neither yes nor no', RESET],
  ['a group for an address', RESET | ACK],
] as const) {
  mailbox(`an answer that makes no sense: ${what}`, async () => {
    const bench = new Bench();
    bench.model.adminMac = [0x01, 0, 0, 0, 0, 1];
    bench.model.nextAnswer = word >>> 0;
    const error = await expectRejection('DEVICE_STATE', bench.open());
    assert.match(error.message, 'physical function');
    assert.equal(bench.hardware.complaints(), []);
    bench.pool.close();
  });
}

mailbox('the signal ends an open that waits for an answer', async () => {
  const bench = new Bench();
  bench.model.isDown = true;
  const abort = new AbortController();
  const opening = bench.open({ signal: abort.signal });
  setTimeout(() => abort.abort(new Error('enough')), 5);
  await opening.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'enough'),
  );
  assert.equal(bench.hardware.complaints(), []);
  bench.pool.close();
});

mailbox.run();

const reset = suite('82576 VF: a reset of the port');

reset(
  'the link is down meanwhile, and all that was set is set again',
  withNic(
    async (bench) => {
      const { nic, model } = bench;
      await nic.setMulticast([Uint8Array.of(1, 0, 0x5e, 0, 0, 0xfb)]);
      await nic.setVlanFilter!(100, true);
      const before = [V.RDBAL, V.RDLEN, V.SRRCTL, V.TDBAL, V.TDLEN, V.EIAC, V.EIAM, V.VTIVAR].map((offset) =>
        model.get(offset),
      );
      model.adminMac = [0x02, 0, 0, 0, 0, 0x55];
      await bench.resetPort(() => assert.not(nic.linkState().up));
      assert.equal(
        [V.RDBAL, V.RDLEN, V.SRRCTL, V.TDBAL, V.TDLEN, V.EIAC, V.EIAM, V.VTIVAR].map((offset) =>
          model.get(offset),
        ),
        before,
      );
      assert.ok((model.get(V.RXDCTL) & model.get(V.TXDCTL) & QUEUE_ENABLE) !== 0);
      assert.equal([...model.vlans], [100]);
      assert.equal(model.hashes, [0xfb0]);
      assert.is(model.longestBytes, nic.maxFrameBytes + 4);
      assert.equal([...nic.mac], model.adminMac, 'the address is the one that was set meanwhile');
    },
    { rxMetadata: true },
  ),
);

for (const before of [0, 1, 40, 63, 64, 100]) {
  reset(
    `${before} packets before: those after go on at the same places in the rings`,
    withNic(async (bench) => {
      for (let left = before; left > 0; left -= 8) {
        const { came, left: sent } = bench.echo(Math.min(8, left));
        assert.equal(sent, came);
      }
      await bench.resetPort();
      for (let round = 0; round < 40; round++) {
        const { came, left } = bench.echo(8);
        assert.equal(left, came, `round ${round}`);
      }
      const { rxPackets, txPackets, wireRxPackets, wireTxPackets } = bench.nic.stats();
      assert.equal(
        [rxPackets, txPackets, wireRxPackets, wireTxPackets],
        [before + 320, before + 320, before + 320, before + 320],
      );
    }),
  );
}

reset(
  'what had come before is received after it; what was not sent is lost, and its buffers come back',
  withNic(async (bench) => {
    const { nic, hardware, pool } = bench;
    bench.echo(8);
    const waiting = range(5).map(() => bench.frame());
    for (const frame of waiting) hardware.arrive(frame);
    const bufs = new Uint32Array(127);
    assert.is(pool.allocate(bufs, 100), 100);
    for (const buffer of bufs.subarray(0, 100)) pool.lengths[buffer] = 60;
    assert.is(nic.txQueues[0].send(bufs, 100), 100);
    await bench.resetPort(() => {
      // The ring fills while nobody sends.
      assert.is(pool.allocate(bufs, 10), 10);
      for (const buffer of bufs.subarray(0, 10)) pool.lengths[buffer] = 60;
      assert.is(nic.txQueues[0].send(bufs, 10), 10);
    });
    assert.is(nic.rxQueues[0].receive(bufs), 5);
    for (const [i, frame] of waiting.entries()) {
      assert.equal(pool.bytes(bufs[i]!).slice(0, 60), frame);
    }
    pool.release(bufs, 5);
    assert.equal(hardware.transmit(), []);
    nic.txQueues[0].reclaim();
    // 118 were given: three groups of 32 are whole.
    assert.is(pool.capacity - pool.available, 128 + (118 % 32));
    for (let round = 0; round < 20; round++) {
      const { came, left } = bench.echo(8);
      assert.equal(left, came);
    }
    const { txPackets, wireTxPackets = 0, txInRing } = nic.stats();
    assert.is(txPackets - wireTxPackets, 110, 'lost, and told by the difference');
    assert.is(txInRing, 0);
    assert.ok(await nic.drain({ timeoutMs: HANG_MS }));
  }),
);

reset(
  'a pipe goes on',
  withNic(async (bench) => {
    const { nic, hardware } = bench;
    const pipe = connectQueues(nic.rxQueues[0], nic.txQueues[0], { path: 'pipe' });
    const pass = (count: number): void => {
      const frames = range(count).map(() => bench.frame());
      for (const frame of frames) assert.ok(hardware.arrive(frame));
      while (pipe.poll() > 0);
      assert.equal(hardware.transmit(), frames);
    };
    for (const count of [20, 50, 7]) pass(count);
    const lost = range(10).map(() => bench.frame());
    for (const frame of lost) hardware.arrive(frame);
    while (pipe.poll() > 0);
    await bench.resetPort();
    for (let round = 0; round < 30; round++) pass(21);
  }),
);

reset(
  'whoever sleeps is woken by the next frame',
  withNic(async (bench) => {
    const wait = bench.nic.waitForPackets({ timeoutMs: HANG_MS });
    await bench.resetPort();
    assert.ok(bench.hardware.arrive(bench.frame()));
    assert.is(await wait, true);
  }),
);

reset(
  'a message without "clear to send" is one as well; one with it is none',
  withNic(async (bench) => {
    bench.model.control(true);
    await new Promise((resolve) => setTimeout(resolve, 250));
    assert.is(bench.nic.stats().resets, 0);
    bench.model.control(false);
    await bench.recovered(1);
    const { came, left } = bench.echo(8);
    assert.equal(left, came);
  }),
);

reset(
  'a physical function that has forgotten us refuses, and is told again who we are',
  withNic(async (bench) => {
    bench.model.trusted = true;
    bench.model.forget();
    const mac = Uint8Array.of(2, 0, 0, 0, 0, 9);
    await expectRejection('DEVICE_STATE', bench.nic.setMac(mac));
    await bench.recovered(1);
    await bench.nic.setMac(mac);
    assert.equal(bench.model.mac, [...mac]);
  }),
);

reset(
  'again and again, also while it is being survived',
  withNic(async (bench) => {
    for (let i = 1; i <= 3; i++) {
      await bench.resetPort();
      const { came, left } = bench.echo(8);
      assert.equal(left, came);
      assert.is(bench.nic.stats().resets, i);
    }
  }),
);

reset(
  'close while the port is down: at once, with every buffer',
  withNic(async (bench) => {
    bench.echo(8);
    bench.model.beginPortReset();
    await until(() => !bench.nic.linkState().up, 'noticed');
  }),
);

reset(
  'counters that wrap round add up',
  withNic(({ nic, model }) => {
    const before = nic.stats();
    for (const offset of [V.VFGORC, V.VFGOTC]) model.registers.set(offset, 0xffff_fff0);
    nic.stats();
    for (const offset of [V.VFGORC, V.VFGOTC]) model.registers.set(offset, 0x10);
    const { wireRxBytes, wireTxBytes, rxErrors } = nic.stats();
    assert.equal(
      [wireRxBytes, wireTxBytes],
      [before.wireRxBytes! + 2 ** 32 + 0x10, before.wireTxBytes! + 2 ** 32 + 0x10],
    );
    assert.is(rxErrors, undefined, 'the port has that counter');
  }),
);

reset.run();
