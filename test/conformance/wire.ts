/**
 * Conformance of `NetDevice` on a wire: what a device does with frames that a station at the other end sends and gets. For devices that
 * nobody can stop between two frames, as under the kernel's VFIO; `suite.ts` has what needs that.
 */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { type Column, caseSuite, Missing } from './results.js';

/** The other end of the wire. */
export interface Station {
  send(frame: Uint8Array): void;
  /** Frames that have come and pass the filter: `count` of them, or fewer when the time is up. */
  collect(
    count: number,
    filter: (frame: Uint8Array) => boolean,
    timeoutMs?: number,
  ): Promise<readonly Uint8Array[]>;
}

/** A device under test. */
export interface WirePort extends Column {
  open(options: OpenOptions): Promise<NetDevice>;
  /** Makes and ends the station's end; called once each. */
  connect(): Station;
  disconnect(): void | Promise<void>;
  /** Plugs the device's cable in or out, where that can be done. */
  setLink?(up: boolean): Promise<void>;
  /** Counters of the wire, to the frame. */
  readonly hasWireCounters: boolean;
  /** Longest frame that the station sends. */
  readonly stationMaxBytes: number;
}

const ETHERTYPE = [0x88, 0xb5] as const;
const STATION_MAC = [0x02, 0, 0, 0, 0x0b, 0x02] as const;
const BURST = 32;
/** Of the tests with small rings. */
const RING = 64;
const FCS_BYTES = 4;
const SOON_MS = 60_000;
const QUIET_MS = 150;
const OPENINGS = 20;

const isOurs = (frame: Uint8Array): boolean => frame[12] === ETHERTYPE[0] && frame[13] === ETHERTYPE[1];

/** A frame of that length; those of other numbers differ, from 18 bytes on. */
function frameTo(to: ArrayLike<number>, from: ArrayLike<number>, lengthBytes: number, number: number) {
  const frame = Buffer.alloc(Math.max(18, lengthBytes));
  for (let i = 18; i < frame.length; i++) frame[i] = i * 7 + number * 13;
  frame.set(to, 0);
  frame.set(from, 6);
  frame.set(ETHERTYPE, 12);
  frame.writeUInt32BE(number, 14);
  return frame.subarray(0, lengthBytes);
}

/** An open device, and what its tests do with it. */
class Bench {
  readonly nic: NetDevice;
  readonly pool: PacketPool;
  readonly station: Station;
  #number = 0;

  constructor(nic: NetDevice, pool: PacketPool, station: Station) {
    this.nic = nic;
    this.pool = pool;
    this.station = station;
  }

  toDevice(lengthBytes = 60, to: ArrayLike<number> = this.nic.mac): Buffer {
    return frameTo(to, STATION_MAC, lengthBytes, this.#number++);
  }

  toStation(lengthBytes = 60): Buffer {
    return frameTo(STATION_MAC, this.nic.mac, lengthBytes, this.#number++);
  }

  /** Sends, waits for room where there is none. */
  async send(frames: readonly Uint8Array[], batch = BURST): Promise<void> {
    const [queue] = this.nic.txQueues;
    const bufs = new Uint32Array(batch);
    for (let first = 0; first < frames.length; first += batch) {
      const part = frames.slice(first, first + batch);
      assert.is(this.pool.allocate(bufs, part.length), part.length, 'free buffers');
      for (const [i, frame] of part.entries()) {
        this.pool.bytes(bufs[i]!).set(frame);
        this.pool.lengths[bufs[i]!] = frame.length;
      }
      for (let sent = 0; sent < part.length; ) {
        const taken = queue.send(bufs, part.length - sent, sent);
        sent += taken;
        if (taken === 0) await turn();
      }
      await this.nic.drain({ timeoutMs: SOON_MS });
      queue.reclaim();
    }
  }

  /** Copies of the next frames of ours, at most `max` at a time; fewer than `count` when nothing more comes. */
  async receive(count: number, max = BURST, timeoutMs = SOON_MS): Promise<Uint8Array[]> {
    const [queue] = this.nic.rxQueues;
    const bufs = new Uint32Array(Math.max(1, max));
    const frames: Uint8Array[] = [];
    const deadline = performance.now() + timeoutMs;
    while (frames.length < count && performance.now() < deadline) {
      const got = queue.receive(bufs, max);
      for (const packet of bufs.subarray(0, got)) {
        const frame = this.pool.bytes(packet).slice(0, this.pool.lengths[packet]);
        if (isOurs(frame)) frames.push(frame);
      }
      this.pool.release(bufs, got);
      if (got === 0) await turn();
    }
    return frames;
  }

  /** From the device to the station: each once, in order, as it was sent, perhaps padded. */
  async passOut(frames: readonly Uint8Array[], batch = BURST): Promise<void> {
    for (let first = 0; first < frames.length; first += 256) {
      const part = frames.slice(first, first + 256);
      await this.send(part, batch);
      const got = await this.station.collect(part.length, isOurs, SOON_MS);
      for (const [i, frame] of part.entries()) assertSame(got[i], frame);
    }
  }

  /** From the station to the device. */
  async passIn(frames: readonly Uint8Array[], max = BURST): Promise<void> {
    for (let first = 0; first < frames.length; first += BURST) {
      const part = frames.slice(first, first + BURST);
      for (const frame of part) this.station.send(frame);
      const got = await this.receive(part.length, max);
      for (const [i, frame] of part.entries()) assertSame(got[i], frame);
    }
  }
}

async function linkIs(nic: NetDevice, up: boolean): Promise<void> {
  const deadline = performance.now() + SOON_MS;
  while (nic.linkState().up !== up && performance.now() < deadline) await turn();
  assert.is(nic.linkState().up, up, 'the link');
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The same bytes; behind them nothing, or zeros up to the shortest frame of Ethernet. */
function assertSame(got: Uint8Array | undefined, wanted: Uint8Array): void {
  const text = (frame: Uint8Array): string => Buffer.from(frame).toString('hex');
  assert.ok(got !== undefined, `a frame of ${wanted.length} bytes did not come: ${text(wanted)}`);
  assert.is(text(got.subarray(0, wanted.length)), text(wanted));
  const rest = got.subarray(wanted.length);
  assert.ok(
    got.length <= Math.max(60, wanted.length) && rest.every((byte) => byte === 0),
    'nothing behind it',
  );
}

/** Registers the suite. */
export function wireConformance(port: WirePort): void {
  const test = caseSuite(port, 'on a wire');
  let station: Station;

  /** Runs a test on an open device, and wants all its buffers back. */
  const onBench =
    (body: (bench: Bench) => Promise<void>, options: OpenOptions = {}, buffers = 2048) =>
    async (): Promise<void> => {
      const pool = new PacketPool({ buffers });
      const nic = await port.open({ pool, ...options });
      let outcome: unknown;
      try {
        await nic.waitForLink({ timeoutMs: SOON_MS });
        // What came for a test before is nobody's.
        await station.collect(Number.POSITIVE_INFINITY, isOurs, 0);
        await body(new Bench(nic, pool, station));
      } catch (error) {
        outcome = error;
      }
      await nic.close();
      const { available, capacity } = pool;
      pool.close();
      // What the test found counts, not what is left undone because of it.
      if (outcome !== undefined) throw outcome;
      assert.is(available, capacity, 'every buffer is back');
    };

  test.before(() => {
    station = port.connect();
  });
  test.after(() => port.disconnect());

  test(
    'every length from the shortest to 1514 bytes leaves once, in order, as it is',
    onBench(async (bench) => {
      const { minFrameBytes } = bench.nic.limits;
      const lengths = Array.from({ length: 1514 - minFrameBytes + 1 }, (_, i) => minFrameBytes + i);
      await bench.passOut(lengths.map((length) => bench.toStation(length)));
      assert.is((await bench.station.collect(1, isOurs, QUIET_MS)).length, 0, 'none twice');
      assert.is(bench.nic.stats().txPackets, lengths.length);
    }),
  );

  test(
    'every length from 60 to 1514 bytes comes once, in order, as it is',
    onBench(async (bench) => {
      const lengths = Array.from({ length: 1514 - 60 + 1 }, (_, i) => 60 + i);
      await bench.passIn(lengths.map((length) => bench.toDevice(length)));
      assert.is((await bench.receive(1, BURST, QUIET_MS)).length, 0, 'none twice');
    }),
  );

  test(
    'the longest frame passes both ways; what is longer is dropped, and the ring goes on',
    onBench(async (bench) => {
      const { nic } = bench;
      const longest = Math.min(nic.maxFrameBytes, port.stationMaxBytes);
      await bench.passOut([bench.toStation(longest)]);
      const one = new Uint32Array(1);
      assert.is(bench.pool.allocate(one, 1), 1);
      bench.pool.lengths[one[0]!] = nic.maxFrameBytes + 1;
      assert.is(nic.txQueues[0].send(one, 1), 1);
      assert.is(nic.stats().txErrors, 1);
      await bench.passIn([bench.toDevice(longest)]);
      if (nic.maxFrameBytes < port.stationMaxBytes) bench.station.send(bench.toDevice(nic.maxFrameBytes + 1));
      await bench.passIn([bench.toDevice()]);
      await bench.passOut([bench.toStation()]);
    }),
  );

  test('rings of several sizes: frames go around each', async () => {
    const nic = await port.open({ pool: new PacketPool({ buffers: 4096 }) });
    const { rxRing, txRing } = nic.limits;
    await nic.close();
    nic.pool.close();
    const [min, max] = [Math.max(rxRing.min, txRing.min, 32), Math.min(rxRing.max, txRing.max, 1024)];
    for (const size of new Set([min, 128, max])) {
      const sizes = { rxRingSize: size, txRingSize: size };
      await onBench(
        async (bench) => {
          const some = Array.from({ length: size + 16 });
          await bench.passIn(
            some.map(() => bench.toDevice()),
            size >>> 1,
          );
          await bench.passOut(
            some.map(() => bench.toStation()),
            size >>> 1,
          );
        },
        sizes,
        4096,
      )();
    }
  });

  test(
    'a receive ring that nobody empties: what it took comes in order, all once, and then it goes on',
    onBench(
      async (bench) => {
        const frames = Array.from({ length: 200 }, () => bench.toDevice());
        for (const [i, frame] of frames.entries()) {
          bench.station.send(frame);
          if (i % BURST === 0) await turn();
        }
        const got: Uint8Array[] = [];
        // Until nothing comes any more.
        for (let more = await bench.receive(BURST, BURST, 500); more.length > 0; ) {
          got.push(...more);
          more = await bench.receive(BURST, BURST, 500);
        }
        const numbers = got.map((frame) => Buffer.from(frame).readUInt32BE(14));
        assert.ok(numbers.length >= RING - 1, `${numbers.length} frames`);
        assert.is(new Set(numbers).size, numbers.length, 'none twice');
        // Those that the ring took. Whoever holds back the others, as QEMU does, may let younger ones pass.
        const first = numbers.slice(0, RING - 1);
        assert.equal(
          first,
          first.map((_, i) => first[0]! + i),
        );
        await bench.passIn([bench.toDevice()]);
      },
      { rxRingSize: RING },
    ),
  );

  test(
    'an empty pool: frames wait in the ring, which is counted',
    onBench(async (bench) => {
      const { nic, pool } = bench;
      const all = new Uint32Array(pool.available);
      assert.is(pool.allocate(all, all.length), all.length);
      const frames = Array.from({ length: 5 }, () => bench.toDevice());
      for (const frame of frames) bench.station.send(frame);
      const deadline = performance.now() + SOON_MS;
      while (nic.stats().rxNoBuffer === 0 && performance.now() < deadline) {
        assert.is(nic.rxQueues[0].receive(new Uint32Array(8)), 0);
        await turn();
      }
      assert.ok(nic.stats().rxNoBuffer > 0);
      pool.release(all, all.length);
      const got = await bench.receive(frames.length);
      for (const [i, frame] of frames.entries()) assertSame(got[i], frame);
    }),
  );

  test(
    'batches of 1 to 256',
    onBench(async (bench) => {
      for (const batch of [1, 2, 3, 7, 16, 31, 33, 64, 127, 200, 256]) {
        await bench.passOut(
          Array.from({ length: batch }, () => bench.toStation()),
          batch,
        );
        await bench.passIn(
          Array.from({ length: Math.min(batch, 64) }, () => bench.toDevice()),
          batch,
        );
      }
    }),
  );

  test(
    'filters take what they are told to, and nothing else',
    onBench(async (bench) => {
      const { nic } = bench;
      const own = nic.mac;
      const other = Uint8Array.of(0x02, 0, 0, 0, 0x77, 0x77);
      const group = Uint8Array.of(0x01, 0, 0x5e, 0, 0, 0xfb);
      const kinds = { own, other, group, broadcast: new Uint8Array(6).fill(0xff) };
      const taken = async (): Promise<string> => {
        const sent = Object.entries(kinds).map(([name, to]) => [name, bench.toDevice(60, to)] as const);
        // The last one always comes: who has not come before it does not.
        const last = bench.toDevice(60, nic.mac);
        for (const [, frame] of sent) bench.station.send(frame);
        bench.station.send(last);
        const got: string[] = [];
        const wanted = last.toString('hex');
        while (got.at(-1) !== wanted) {
          const [frame] = await bench.receive(1, 1);
          assert.ok(frame !== undefined, 'the last frame comes');
          got.push(Buffer.from(frame).toString('hex'));
        }
        return sent
          .filter(([, frame]) => got.includes(frame.toString('hex')))
          .map(([name]) => name)
          .join(' ');
      };
      assert.is(await taken(), 'own broadcast');
      await nic.setPromiscuous(true);
      // A virtual function is promiscuous for groups only, which QEMU's port does not do (VMOLR.MPME).
      const isVirtual = nic.capabilities.promiscuous === 'multicast';
      const promiscuous = isVirtual ? /^own (group )?broadcast$/ : /^own other group broadcast$/;
      assert.match(await taken(), promiscuous);
      await nic.setPromiscuous(false);
      await nic.setMulticast([group]);
      assert.is(await taken(), 'own group broadcast');
      await nic.setMulticast('all');
      // QEMU's Intel models look unicast up in the table of groups as well, which is full now.
      assert.match(await taken(), isVirtual ? promiscuous : /^own (other )?group broadcast$/);
      await nic.setMulticast([]);
      assert.is(await taken(), 'own broadcast');
    }),
  );

  test(
    'another station address',
    onBench(async (bench) => {
      const { nic } = bench;
      const own = nic.mac;
      const other = Uint8Array.of(0x02, 0, 0, 0, 0x77, 0x77);
      await nic.setMac(other).catch((error: NodeJS.ErrnoException) => {
        // The port's owner may forbid it.
        throw error.code === 'NO_PERMISSION' ? new Missing('an address of its own choice') : error;
      });
      await bench.passIn([bench.toDevice(60, other)]);
      bench.station.send(bench.toDevice(60, own));
      const [last] = [bench.toDevice(60, other)];
      bench.station.send(last!);
      assertSame((await bench.receive(1))[0], last!);
      await nic.setMac(own);
      await bench.passIn([bench.toDevice(60, own)]);
    }),
  );

  test(
    'counters: what the station sent and got, to the frame and the byte',
    onBench(async (bench) => {
      const { nic } = bench;
      const there = Array.from({ length: 300 }, (_, i) => bench.toStation(60 + i));
      const back = Array.from({ length: 200 }, (_, i) => bench.toDevice(60 + i));
      const bytes = (frames: readonly Uint8Array[]): number => frames.reduce((sum, f) => sum + f.length, 0);
      await bench.passOut(there);
      await bench.passIn(back);
      const stats = nic.stats();
      assert.is(stats.txPackets, there.length);
      assert.is(stats.txBytes, bytes(there));
      assert.is(stats.rxPackets, back.length);
      assert.is(stats.rxBytes, bytes(back));
      assert.equal([stats.txErrors, stats.rxTooLong, stats.rxDamaged, stats.rxNoBuffer], [0, 0, 0, 0]);
      if (!port.hasWireCounters) throw new Missing('counters of the wire');
      assert.is(stats.wireTxPackets, there.length);
      assert.is(stats.wireTxBytes, bytes(there) + FCS_BYTES * there.length);
      assert.is(stats.wireRxPackets, back.length);
      assert.is(stats.wireRxBytes, bytes(back) + FCS_BYTES * back.length);
    }),
  );

  test(
    'waiting ends by an interrupt when a frame comes, and at its time when none does',
    onBench(async (bench) => {
      const [queue] = bench.nic.rxQueues;
      assert.ok(bench.nic.capabilities.interrupts);
      for (let i = 0; i < 3; i++) {
        await bench.receive(1, BURST, 1);
        assert.is(await queue.wait({ timeoutMs: 20 }), false);
        const frame = bench.toDevice();
        const waiting = queue.wait({ timeoutMs: SOON_MS });
        bench.station.send(frame);
        assert.is(await waiting, true);
        assertSame((await bench.receive(1))[0], frame);
      }
    }),
  );

  test(
    'the link goes down and comes back: it is told, and what comes and leaves from then on does so whole',
    onBench(async (bench) => {
      if (port.setLink === undefined) throw new Missing('a cable of its own to pull');
      const { nic } = bench;
      for (let round = 0; round < 2; round++) {
        await bench.passOut([bench.toStation()]);
        await port.setLink(false);
        try {
          await linkIs(nic, false);
          for (let i = 0; i < 5; i++) bench.station.send(bench.toDevice());
          assert.is((await bench.receive(1, BURST, QUIET_MS)).length, 0, 'nothing comes without a link');
          assert.is((await nic.waitForLink({ timeoutMs: 1 })).up, false);
        } finally {
          await port.setLink(true);
        }
        await linkIs(nic, true);
        // Some hardware sends what had to wait.
        await bench.station.collect(Number.POSITIVE_INFINITY, isOurs, QUIET_MS);
        await bench.receive(Number.POSITIVE_INFINITY, BURST, QUIET_MS);
        await bench.passOut(Array.from({ length: 100 }, () => bench.toStation()));
        await bench.passIn(Array.from({ length: 100 }, () => bench.toDevice()));
      }
    }),
  );

  test(`opened and closed ${OPENINGS} times, now and then with frames on their way`, async () => {
    const pool = new PacketPool({ buffers: 2048 });
    for (let round = 0; round < OPENINGS; round++) {
      const nic = await port.open({ pool, rxRingSize: RING, txRingSize: RING });
      if (round % 5 === 0) {
        await nic.waitForLink({ timeoutMs: SOON_MS });
        const bench = new Bench(nic, pool, station);
        await station.collect(Number.POSITIVE_INFINITY, isOurs, 0);
        await bench.passOut([bench.toStation()]);
        await bench.passIn([bench.toDevice()]);
        // Reset in flight: what is on its way then is lost, whole.
        for (let i = 0; i < 40; i++) station.send(bench.toDevice());
        const bufs = new Uint32Array(20);
        assert.is(pool.allocate(bufs, 20), 20);
        for (const packet of bufs) {
          pool.bytes(packet).set(bench.toStation());
          pool.lengths[packet] = 60;
        }
        assert.is(nic.txQueues[0].send(bufs, 20), 20);
      }
      await nic.close();
      assert.is(pool.available, pool.capacity, `every buffer is back after opening ${round}`);
    }
    pool.close();
  });

  test.run();
}
