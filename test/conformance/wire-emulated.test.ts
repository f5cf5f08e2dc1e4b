/** The conformance on a wire for ixgbe over vfio-user: two emulated 82599 with a cable between them, in another thread. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmulator } from '../../src/emulator/index.js';
import { type NetDevice, open, PacketPool } from '../../src/index.js';
import { type Station, wireConformance } from './wire.js';

const STATION_MTU = 9000;
const folder = mkdtempSync(join(tmpdir(), 'barewire-conformance-'));
const paths = ['device', 'station'].map((name) => join(folder, `${name}.sock`));
const emulator = await startEmulator({
  nics: paths.map((path) => ({ path })),
  links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
});
const station = await open(`vfio-user:${paths[1]}`, {
  pool: new PacketPool({ buffers: 8192, bufferSizeBytes: 16_384, pageSize: '4K' }),
  promiscuous: true,
  rxRingSize: 4096,
});

/** The other port, looked at by nobody but who collects. */
class EmulatedStation implements Station {
  readonly #nic: NetDevice;
  readonly #one = new Uint32Array(1);

  constructor(nic: NetDevice) {
    this.#nic = nic;
  }

  send(frame: Uint8Array): void {
    const { pool, txQueues } = this.#nic;
    const one = this.#one;
    txQueues[0].reclaim();
    if (pool.allocate(one, 1) !== 1) throw new Error('the station has no buffer');
    pool.bytes(one[0]!).set(frame);
    pool.lengths[one[0]!] = frame.length;
    if (txQueues[0].send(one, 1) !== 1) throw new Error('the station has no room to send');
  }

  async collect(
    count: number,
    filter: (frame: Uint8Array) => boolean,
    timeoutMs = 60_000,
  ): Promise<Uint8Array[]> {
    const { pool, rxQueues } = this.#nic;
    const frames: Uint8Array[] = [];
    const deadline = performance.now() + timeoutMs;
    while (frames.length < count) {
      const got = rxQueues[0].receive(this.#one);
      if (got === 1) {
        const frame = pool.bytes(this.#one[0]!).slice(0, pool.lengths[this.#one[0]!]);
        pool.release(this.#one, 1);
        if (filter(frame)) frames.push(frame);
      } else if (performance.now() > deadline) {
        break;
      } else {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    return frames;
  }
}

wireConformance({
  ...{ driver: 'ixgbe', device: 'an emulated 82599', backend: 'vfio-user', hasWireCounters: true },
  stationMaxBytes: STATION_MTU,
  open: (options) => open(`vfio-user:${paths[0]}`, options),
  setLink: (up) => emulator.setCarrier(0, up),
  connect: () => new EmulatedStation(station),
  async disconnect() {
    await station.close();
    station.pool.close();
    await emulator.close();
    rmSync(folder, { recursive: true });
  },
});
