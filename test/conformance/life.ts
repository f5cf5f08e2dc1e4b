/** Conformance of `NetDevice`: what a device tells, its filters and counters, and how it ends. */
import { inspect } from 'node:util';
import * as assert from 'uvu/assert';
import type { NetDevice, NetStats, RxQueue, TxQueue } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import { expectError, expectRejection } from '../support/expect-error.js';
import { caseSuite, Missing } from './results.js';
import { type Family, makePool, onRig, optionsOf, pairsOf, Rig, range } from './rig.js';

export function life(family: Family): void {
  facts(family);
  counters(family);
  ends(family);
}

const COUNTERS: readonly (keyof NetStats)[] = [
  'rxPackets',
  'rxBytes',
  'txPackets',
  'txBytes',
  'rxTooLong',
  'rxDamaged',
  'rxNoBuffer',
  'txErrors',
];
const FCS_BYTES = 4;
/** The interface of AF_XDP stays the kernel's, and so does its filter. */
const FILTERS = 'address filters';

function facts(family: Family): void {
  const test = caseSuite(family, 'a device');

  test(
    'tells what it is',
    onRig(family, ({ nic }) => {
      for (const text of [nic.address, nic.driver, nic.model])
        assert.ok(typeof text === 'string' && text !== '');
      assert.is(nic.mac.length, 6);
      assert.is(nic.macAddress, Array.from(nic.mac, (byte) => byte.toString(16).padStart(2, '0')).join(':'));
      const { limits, capabilities } = nic;
      for (const { min, max, default: usual } of [limits.rxRing, limits.txRing])
        assert.ok(min <= usual && usual <= max);
      assert.ok(limits.minFrameBytes < nic.maxFrameBytes && nic.maxFrameBytes <= limits.maxFrameBytes);
      assert.is(capabilities.txOffloads !== 0, nic.txQueues[0].sendOffloaded !== undefined);
      assert.is(capabilities.txRate !== undefined, nic.txQueues[0].setRate !== undefined);
    }),
  );

  test('prints in a few lines, open and closed and gone', async () => {
    const rig = await Rig.open(family);
    const { nic } = rig;
    const print = (): string[] => inspect(nic).split('\n');
    for (const words of [
      nic.address,
      nic.model,
      nic.macAddress,
      `link ${nic.linkState().speedMbps} Mbit/s`,
    ]) {
      assert.match(print().join('\n'), words);
    }
    assert.ok(print().length <= 4);
    rig.hardware.setLink(false);
    assert.match(print()[0]!, 'no link');
    await rig.close();
    assert.match(print()[0]!, 'closed');
    assert.ok(print().length <= 4);
    const other = await Rig.open(family);
    other.hardware.pullOut(new NicError('DEVICE_GONE', 'planted'));
    assert.match(inspect(other.nic), 'does not answer');
    await other.nic.close().catch(() => {});
    other.pool.close();
  });

  test(
    'filters change when the promise is kept',
    onRig(family, async (rig) => {
      const { nic, hardware } = rig;
      await nic.setPromiscuous(true);
      await nic.setPromiscuous(false);
      const old = nic.mac;
      const mac = Uint8Array.of(0x02, 1, 2, 3, 4, 0xfe);
      const changing = nic.setMac(mac);
      mac.fill(0xff);
      await changing;
      assert.is(nic.macAddress, '02:01:02:03:04:fe');
      assert.is(old[5] === 0xfe, false, 'who kept the old address has it');
      await nic.setMac(old);
      await nic.setMulticast([
        Uint8Array.of(0x01, 0, 0x5e, 0, 0, 0xfb),
        Uint8Array.of(0x33, 0x33, 0, 0, 0, 1),
      ]);
      await nic.setMulticast('all');
      await nic.setMulticast([]);
      // All begun at once: the last one counts.
      await Promise.all([nic.setPromiscuous(true), nic.setPromiscuous(false), nic.setPromiscuous(true)]);
      assert.ok(hardware.arrive(rig.frame()));
      assert.is(rig.receive().length, 1);
    }),
  );

  test(
    'filters take what they are told to, and nothing else',
    onRig(family, async (rig) => {
      if (!family.hasFilters) throw new Missing(FILTERS);
      const { nic } = rig;
      const own = nic.mac;
      const other = Uint8Array.of(0x02, 0, 0, 0, 0x77, 0x77);
      const group = Uint8Array.of(0x01, 0, 0x5e, 0, 0, 0xfb);
      const broadcast = new Uint8Array(6).fill(0xff);
      const taken = (): string => {
        const kinds = { own, other, group, broadcast };
        const takes = ([, to]: [string, Uint8Array]): boolean => {
          const frame = rig.frame();
          frame.set(to);
          rig.hardware.arrive(frame);
          return rig.receive().length === 1;
        };
        return Object.entries(kinds)
          .filter(takes)
          .map(([name]) => name)
          .join(' ');
      };
      assert.is(taken(), 'own broadcast');
      await nic.setPromiscuous(true);
      // A virtual function has no unicast promiscuous mode.
      const all =
        nic.capabilities.promiscuous === 'multicast' ? 'own group broadcast' : 'own other group broadcast';
      assert.is(taken(), all);
      await nic.setPromiscuous(false);
      await nic.setMulticast([group]);
      assert.is(taken(), 'own group broadcast');
      await nic.setMulticast([]);
      assert.is(taken(), 'own broadcast');
      await nic.setMulticast('all');
      assert.is(taken(), 'own group broadcast');
      await nic.setMulticast([]);
      await nic.setMac(other);
      assert.is(taken(), 'other broadcast');
      await nic.setMac(own);
      assert.is(taken(), 'own broadcast');
    }),
  );

  test(
    'promiscuous from the start',
    onRig(
      family,
      (rig) => {
        if (!family.hasFilters) throw new Missing(FILTERS);
        const frame = rig.frame();
        const groupsOnly = rig.nic.capabilities.promiscuous === 'multicast';
        frame.set([groupsOnly ? 0x03 : 0x02, 0, 0, 0, 0x77, 0x77]);
        rig.hardware.arrive(frame);
        assert.equal(rig.receive(), [frame]);
      },
      { promiscuous: true },
    ),
  );
  test(
    'addresses that no filter takes, and what is no address',
    onRig(family, async ({ nic }) => {
      const before = nic.macAddress;
      const macs = [
        undefined,
        null,
        'x',
        [2, 0, 0, 0, 0, 1],
        new Uint8Array(6),
        Uint8Array.of(2, 0, 0, 0, 0),
        new Uint8Array(6).fill(0xff),
        Uint8Array.of(1, 0, 0x5e, 0, 0, 1),
      ];
      for (const mac of macs) await isRefused(nic.setMac(mac as Uint8Array));
      assert.is(nic.macAddress, before);
      const groups = [
        undefined,
        null,
        'some',
        Uint8Array.of(1, 0, 0x5e, 0, 0, 1),
        [undefined],
        [[1, 0, 0x5e, 0, 0, 1]],
        [Uint8Array.of(1)],
        [Uint8Array.of(2, 0, 0, 0, 0, 1)],
      ];
      for (const group of groups) await isRefused(nic.setMulticast(group as Uint8Array[]));
      for (const on of [undefined, 1, 'on', null] as unknown[])
        await isRefused(nic.setPromiscuous(on as boolean));
    }),
  );

  test.run();
}

async function isRefused(promise: Promise<void>): Promise<void> {
  const error = await expectRejection('BAD_OPTION', promise);
  assert.ok(error.hint, error.message);
}

function onWire(frames: readonly Uint8Array[]): number {
  return frames.reduce((sum, { length }) => sum + length + FCS_BYTES, 0);
}

function counters(family: Family): void {
  const test = caseSuite(family, 'counters');

  test(
    'those that the hardware has, and no others, are numbers',
    onRig(family, (rig) => {
      const check = (stats: NetStats): void => {
        const names = [...COUNTERS, ...family.hardwareCounters].sort();
        const { interfaceMode, interfaceProgram, ...counts } = stats;
        const isShared = rig.nic.capabilities.sharesInterface === true;
        assert.is(['copy', 'zero-copy'].includes(interfaceMode!), isShared);
        assert.is(['native', 'generic'].includes(interfaceProgram!), isShared);
        // Some devices know what waits on their rings.
        assert.equal(
          Object.keys(counts)
            .filter((name) => name !== 'txInRing')
            .sort(),
          names,
        );
        for (const [name, value] of Object.entries(counts))
          assert.ok(Number.isSafeInteger(value) && value >= 0, name);
      };
      check(rig.nic.stats());
      rig.arrive(3);
      rig.receive();
      check(rig.nic.stats());
    }),
  );

  test(
    'add up: what came is received or lost by name, what was sent has left',
    onRig(family, (rig) => {
      const { nic, hardware } = rig;
      let [came, cameBytes] = [0, 0];
      for (let i = 0; i < 2 * family.ringSize; i++) {
        const frame = rig.frame(60 + i);
        if (hardware.arrive(frame) || family.hardwareCounters.includes('rxMissed')) {
          came++;
          cameBytes += frame.length;
        }
      }
      rig.receive();
      const frames = range(20).map((i) => rig.frame(70 + i));
      assert.is(rig.send(frames), 20);
      hardware.transmit();
      const stats = nic.stats();
      const { rxPackets, rxBytes, txPackets, txBytes, rxMissed = 0 } = stats;
      assert.is(rxPackets + rxMissed, came);
      if (rxMissed === 0) assert.is(rxBytes, cameBytes);
      assert.is(txPackets, 20);
      assert.is(
        txBytes,
        frames.reduce((sum, { length }) => sum + length, 0),
      );
      assert.equal(nic.stats(), stats, 'asking changes nothing');
      const registers = nic.registerCounters?.();
      assert.equal(nic.stats(), stats, 'by the names of registers neither');
      assert.equal(nic.registerCounters?.(), registers);
      assert.is(registers !== undefined, nic.driver === 'xdp' || family.hardwareCounters.length > 0);
      for (const name of ['GPTC', 'VFGPTC']) {
        if (registers?.[name] !== undefined) assert.is(registers[name], txPackets);
      }
    }),
  );

  test(
    'of the wire: the hardware counted what came and what left, to the frame and the byte',
    onRig(family, (rig) => {
      if (!family.hardwareCounters.includes('wireRxPackets')) throw new Missing('counters of the wire');
      const { nic, hardware } = rig;
      const frames = range(2 * family.ringSize).map((i) => rig.frame(60 + i));
      const taken = frames.filter((frame) => hardware.arrive(frame));
      rig.receive();
      assert.is(rig.send(range(20).map((i) => rig.frame(70 + i))), 20);
      const left = hardware.transmit();
      const counted = family.missesBeforeCounting === true ? taken : frames;
      const stats = nic.stats();
      assert.is(stats.wireRxPackets, counted.length);
      assert.is(stats.wireRxBytes, onWire(counted));
      assert.is(stats.wireTxPackets, left.length);
      assert.is(stats.wireTxBytes, onWire(left));
    }),
  );

  test(
    'add up while the link goes down and comes back: what was sent is on the wire, in the ring, or lost behind it',
    onRig(family, async (rig) => {
      const { nic, hardware } = rig;
      const hasWire = family.hardwareCounters.includes('wireTxPackets');
      let [sent, left] = [0, 0];
      const check = (): number => {
        const { txPackets, wireTxPackets, txInRing = 0 } = nic.stats();
        assert.is(txPackets, sent);
        if (hasWire) assert.is(wireTxPackets, left, 'the wire has just what left');
        const elsewhere = txPackets - left - txInRing;
        assert.ok(elsewhere >= 0, `${txPackets} >= ${left} on the wire + ${txInRing} in the ring`);
        return elsewhere;
      };
      const step = (count: number): void => {
        const frames = range(count).map(() => rig.frame());
        for (const queue of nic.txQueues) queue.reclaim();
        const { txInRing: before } = nic.stats();
        assert.is(rig.send(frames), count);
        sent += count;
        check();
        if (before !== undefined) assert.is(nic.stats().txInRing, before + count, 'in the ring at first');
        left += hardware.transmit().length;
      };
      for (let round = 1; round <= 3; round++) {
        step(3 * round);
        hardware.setLink(false);
        step(2 * round);
        if (nic.stats().txInRing !== undefined && left < sent) {
          assert.is(await nic.drain({ timeoutMs: 1 }), false, 'nothing leaves without a link');
        }
        hardware.setLink(true);
        left += hardware.transmit().length;
        assert.is(await nic.drain(), true, 'after the link was down');
        assert.is(nic.stats().txInRing ?? 0, 0);
        const lost = check();
        assert.ok(lost === sent - left && lost <= round * (round + 1), `${lost} lost`);
        step(1);
        assert.is(await nic.drain(), true, 'and again');
        assert.is(check(), lost, 'with the link up nothing is lost');
      }
    }),
  );

  test('are still there when the device is closed', async () => {
    const rig = await Rig.open(family);
    rig.arrive(4);
    rig.receive();
    const stats = rig.nic.stats();
    await rig.close();
    assert.equal(rig.nic.stats(), stats);
  });

  test('begin at 0 with every open', async () => {
    const hardware = family.makeHardware();
    const pool = makePool();
    for (let round = 0; round < 3; round++) {
      const nic = await hardware.open({ ...optionsOf(family), pool });
      const counts = Object.values(nic.stats()).filter((value) => typeof value === 'number');
      assert.ok(counts.length > 0 && counts.every((value) => value === 0));
      for (let i = 0; i < 5; i++) hardware.arrive(hardware.frame(i, 60));
      const bufs = new Uint32Array(8);
      assert.is(nic.rxQueues[0].receive(bufs), 5);
      pool.release(bufs, 5);
      await nic.close();
      assert.is(pool.available, pool.capacity);
    }
    pool.close();
    assert.equal(hardware.complaints(), []);
  });

  test.run();
}

function ends(family: Family): void {
  const test = caseSuite(family, 'close');

  test('whatever the rings hold, every buffer is back', async () => {
    for (const debug of [false, true]) {
      const queuePairs = Math.min(2, pairsOf(family));
      const other = queuePairs - 1;
      const rig = await Rig.open(family, { queuePairs }, { debug });
      const { nic, pool } = rig;
      rig.arrive(10);
      rig.arrive(7, 80, other);
      // Half of it leaves; the rest never does.
      assert.is(
        rig.send(
          range(20).map(() => rig.frame()),
          0,
        ),
        20,
      );
      rig.hardware.transmit();
      assert.is(
        rig.send(
          range(12).map(() => rig.frame()),
          0,
        ),
        12,
      );
      assert.is(
        rig.send(
          range(9).map(() => rig.frame()),
          other,
        ),
        9,
      );
      const mine = rig.packets([rig.frame(), rig.frame()]);
      const bufs = new Uint32Array(4);
      assert.is(nic.rxQueues[other]!.receive(bufs), 4);
      await nic.close();
      assert.is(pool.available, pool.capacity - 6, 'all but those of the application');
      pool.release(bufs, 4);
      pool.release(mine, 2);
      await rig.close();
    }
  });

  test('opened and closed 100 times: nothing of what the rings held before comes or leaves', async () => {
    const hardware = family.makeHardware();
    const pool = makePool();
    const bufs = new Uint32Array(4);
    for (let round = 0; round < 100; round++) {
      const nic = await hardware.open({ ...optionsOf(family), pool });
      assert.is(nic.rxQueues[0].receive(bufs), 0);
      assert.equal(hardware.transmit(), []);
      const frame = hardware.frame(round, 60);
      assert.ok(hardware.arrive(frame));
      assert.is(nic.rxQueues[0].receive(bufs), 1);
      assert.equal(pool.bytes(bufs[0]!).slice(0, 60), frame);
      assert.is(nic.txQueues[0].send(bufs, 1), 1);
      assert.equal(hardware.transmit(), [frame]);
      // What is left in both rings is left behind.
      for (let i = 0; i < 3; i++) hardware.arrive(hardware.frame(1000 + i, 60));
      assert.is(pool.allocate(bufs, 2), 2);
      for (const packet of bufs.subarray(0, 2)) pool.lengths[packet] = 60;
      assert.is(nic.txQueues[0].send(bufs, 2), 2);
      await nic.close();
      assert.is(pool.available, pool.capacity, `every buffer is back after opening ${round}`);
    }
    pool.close();
    assert.equal(hardware.complaints(), []);
  });

  test('twice, and at the same time', async () => {
    const rig = await Rig.open(family);
    await Promise.all([rig.nic.close(), rig.nic.close()]);
    await rig.nic.close();
    await rig.nic[Symbol.asyncDispose]();
    await rig.close();
  });

  test('a block of its own ends it', async () => {
    const hardware = family.makeHardware();
    const pool = makePool();
    let kept: NetDevice | undefined;
    {
      await using nic = await hardware.open({ ...optionsOf(family), pool });
      kept = nic;
      assert.ok(pool.available < pool.capacity);
    }
    assert.is(pool.available, pool.capacity);
    expectError('CLOSED', () => kept.rxQueues[0].receive(new Uint32Array(1)));
    pool.close();
    assert.equal(hardware.complaints(), []);
  });

  for (const debug of [false, true]) {
    test(`everything that moves packets says so afterwards${debug ? ', with a debug pool' : ''}`, async () => {
      const rig = await Rig.open(family, {}, { debug });
      const { nic, pool } = rig;
      const [rx, tx]: [RxQueue, TxQueue] = [nic.rxQueues[0], nic.txQueues[0]];
      // Who kept the functions is told the same.
      const calls = callsOf(rx, tx);
      rig.arrive(3);
      const bufs = rig.packets([rig.frame(), rig.frame()]);
      await nic.close();
      const { available } = pool;
      for (const [name, call] of [...calls, ...callsOf(rx, tx)]) {
        for (let i = 0; i < 2; i++) {
          const error = expectError('CLOSED', () => call(bufs));
          assert.match(error.message, nic.address, name);
          assert.ok(error.hint);
        }
      }
      assert.is(rx.pending, false);
      assert.is(pool.available, available);
      for (const change of [
        nic.setPromiscuous(true),
        nic.setMac(Uint8Array.of(2, 0, 0, 0, 0, 1)),
        nic.setMulticast('all'),
      ]) {
        await expectRejection('CLOSED', change);
      }
      pool.release(bufs, 2);
      await rig.close();
    });
  }

  test('a shared pool goes with the last who has it', async () => {
    for (const first of ['pool', 'device'] as const) {
      const rig = await Rig.open(family);
      const { nic, pool, hardware } = rig;
      const bufs = new Uint32Array(2);
      if (first === 'pool') {
        pool.close();
        // The device goes on.
        const [frame] = rig.arrive(1);
        assert.equal(rig.receive(), [frame]);
        assert.is(rig.send([frame!]), 1);
        assert.equal(hardware.transmit(), [frame]);
        await nic.close();
      } else {
        await nic.close();
        assert.is(pool.allocate(bufs, 2), 2);
        pool.release(bufs, 2);
        pool.close();
      }
      expectError('CLOSED', () => pool.allocate(bufs, 1));
      rig.assertBack();
      assert.equal(hardware.complaints(), []);
    }
  });

  test('an own pool goes with the device, or with the last that was given it', async () => {
    const [one, two] = [family.makeHardware(), family.makeHardware()];
    const a = await one.open({ ...optionsOf(family), buffersForDevices: 2 });
    const b = await two.open({ ...optionsOf(family), pool: a.pool });
    await a.close();
    assert.ok(two.arrive(two.frame(1, 60)));
    const bufs = new Uint32Array(2);
    assert.is(b.rxQueues[0].receive(bufs), 1);
    b.pool.release(bufs, 1);
    await b.close();
    expectError('CLOSED', () => b.pool.allocate(bufs, 1));
  });

  test.run();
}

type Call = (bufs: Uint32Array) => unknown;

function callsOf(rx: RxQueue, tx: TxQueue): [string, Call][] {
  const receive = rx.receive;
  const send = tx.send;
  const calls: [string, Call][] = [
    ['receive', (bufs) => receive.call(rx, bufs)],
    ['receive of one', (bufs) => receive.call(rx, bufs, 1)],
    ['send', (bufs) => send.call(tx, bufs, 2)],
    ['send of none', (bufs) => send.call(tx, bufs, 0)],
    ['send of a part', (bufs) => send.call(tx, bufs, 1, 1)],
    ['reclaim', () => tx.reclaim()],
  ];
  if (tx.sendOffloaded !== undefined) calls.push(['sendOffloaded', (bufs) => tx.sendOffloaded!(bufs, 1)]);
  return calls;
}
