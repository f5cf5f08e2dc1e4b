/** Opens the igb driver over a simulated 82576, and what tests ask about the log of it. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { openOn } from '../../src/driver/registry.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { Fake82576 } from './fake-82576.js';
import { type DeviceEvent, FakeVfio, type FakeVfioOptions, type RegisterModel } from './fake-vfio.js';

export interface Bench<Model = Fake82576> {
  readonly model: Model;
  readonly vfio: FakeVfio;
  readonly pool: PacketPool;
  open(options?: OpenOptions): Promise<NetDevice>;
  /** Asserts that nothing of the device is left: memory, buffers, bus mastering. */
  assertReleased(): void;
}

export function bench(options: FakeVfioOptions = {}, buffers = 1024): Bench {
  return benchOn(new Fake82576(), options, buffers);
}

/** The same on the registers of another device. */
export function benchOn<Model extends RegisterModel>(
  model: Model,
  options: FakeVfioOptions,
  buffers = 1024,
): Bench<Model> {
  const vfio = new FakeVfio(model, options);
  const pool = new PacketPool({ buffers, pageSize: '4K' });
  return {
    model,
    vfio,
    pool,
    open: (more = {}) => openOn(vfio, { pool, rxRingSize: 64, txRingSize: 64, pageSize: '4K', ...more }),
    assertReleased() {
      assert.is(vfio.closed, true, 'the VFIO device is closed');
      assert.is(vfio.busMaster, false, 'bus mastering is off');
      assert.is(vfio.mapper.mapped.size, 0, 'nothing is mapped');
      assert.equal(vfio.eventfds, [], 'interrupts are disconnected');
      assert.is(pool.available, pool.capacity, 'all buffers are back');
      const free = new Set(pool.free.subarray(0, pool.freeCount));
      assert.is(free.size, pool.capacity, 'each once');
      pool.close();
    },
  };
}

/** Index of the first event, from `from` on, that `matches`; fails where there is none. */
export function find(
  events: readonly DeviceEvent[],
  name: string,
  matches: (event: DeviceEvent) => boolean,
  from = 0,
): number {
  const index = events.findIndex((event, i) => i >= from && matches(event));
  assert.ok(index >= 0, `${name} happened`);
  return index;
}

/** Matches a write to a register whose value has (or, with `value`, equals) these bits. */
export function write(offset: number, mask = 0, value = mask): (event: DeviceEvent) => boolean {
  return (event) =>
    event.what === 'write' && event.offset === offset && (event.value! & mask) >>> 0 === value >>> 0;
}

export function what(kind: DeviceEvent['what']): (event: DeviceEvent) => boolean {
  return (event) => event.what === kind;
}

/** Every value that was written to a register. */
export function written(events: readonly DeviceEvent[], offset: number): number[] {
  return events.filter((event) => event.offset === offset).map((event) => event.value!);
}

/**
 * Runs `action` with a clock that goes on by `stepMs` whenever it is looked at: waits of a second end soon, and after the
 * same number of looks each time, whatever the machine does meanwhile.
 */
export async function withSteppedClock<T>(stepMs: number, action: () => Promise<T>): Promise<T> {
  const real = performance.now;
  let now = real.call(performance);
  performance.now = () => {
    now += stepMs;
    return now;
  };
  try {
    return await action();
  } finally {
    performance.now = real;
  }
}
