/** The whole way: emulator in a worker, served over vfio-user, driven through the client like a real device. */
import { closeSync, ftruncateSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { EmulatorHost } from '../../src/emulator/host.js';
import { IxgbeModel } from '../../src/emulator/ixgbe/ixgbe-model.js';
import type { TrafficSink, TrafficSource } from '../../src/emulator/links/traffic.js';
import { buildEmulator } from '../../src/emulator/topology.js';
import { startEmulator } from '../../src/emulator/worker.js';
import { NicError } from '../../src/errors.js';
import {
  type Mapping,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  mapShared,
  memfdCreate,
  munmap,
} from '../../src/syscalls/memory.js';
import type { VfioDevice } from '../../src/vfio/types.js';
import { connectVfioUser } from '../../src/vfio/user/client.js';
import {
  Command,
  decodeRegionData,
  decodeRegionInfo,
  encodeRegionInfoRequest,
  encodeRegionRange,
  REGION_INFO_MAX_BYTES,
} from '../../src/vfio/user/protocol.js';
import { giveWays } from '../support/give-ways.js';
import { HANG_MS, until } from '../support/hang.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { RawClient } from '../vfio/user/support/harness.js';
import { BROADCAST, DATA, DESCTYPE_ADVANCED, ENABLE, EOP, frame, IFCS, R, RS, rx, tx } from './support.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-host-'));
const host = suite('emulator host');

const IOVA = 0x200000;
const MEMORY_BYTES = 0x100000;
const COUNT = 64;
const TX_BASE = 0x1000;
const BUFFERS = 0x10000;

/** A driver of a few lines: one ring each way. */
class Driver {
  readonly device: VfioDevice;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly #mapping: Mapping;
  readonly #fd: number;
  #sent = 0;
  #received = 0;

  static async at(path: string): Promise<Driver> {
    return new Driver(await connectVfioUser(path));
  }

  private constructor(device: VfioDevice) {
    this.device = device;
    this.#fd = memfdCreate('host-test', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ftruncateSync(this.#fd, MEMORY_BYTES);
    this.#mapping = mapShared(this.#fd, MEMORY_BYTES);
    this.words = new Int32Array(this.#mapping.buffer);
    this.bytes = new Uint8Array(this.#mapping.buffer);
    this.device.mapper.map(
      { address: this.#mapping.address, fd: this.#fd, sizeBytes: MEMORY_BYTES },
      BigInt(IOVA),
    );
    this.device.enableBusMaster();
    const bar = this.device.region(0);
    bar.write32(R.FCTRL, 0x700);
    bar.write32(rx(0, 'RDBAL'), IOVA);
    bar.write32(rx(0, 'RDLEN'), COUNT * 16);
    bar.write32(rx(0, 'SRRCTL'), 2 | DESCTYPE_ADVANCED);
    bar.write32(R.RXCTRL, 1);
    for (let i = 0; i < COUNT; i++) this.#give(i);
    bar.write32(rx(0, 'RXDCTL'), ENABLE);
    bar.write32(rx(0, 'RDT'), COUNT - 1);
    bar.write32(R.DMATXCTL, 0x81000001);
    bar.write32(tx(0, 'TDBAL'), IOVA + TX_BASE);
    bar.write32(tx(0, 'TDLEN'), COUNT * 16);
    bar.write32(tx(0, 'TXDCTL'), ENABLE);
  }

  #give(index: number): void {
    this.words.set([IOVA + BUFFERS + index * 2048, 0, 0, 0], index * 4);
  }

  send(bytes: Uint8Array): void {
    const index = this.#sent++ % COUNT;
    const at = BUFFERS + (COUNT + index) * 2048;
    this.bytes.set(bytes, at);
    this.words.set(
      [IOVA + at, 0, bytes.length | DATA | EOP | IFCS | RS, bytes.length << 14],
      TX_BASE / 4 + index * 4,
    );
    this.device.region(0).write32(tx(0, 'TDT'), (index + 1) % COUNT);
  }

  receive(): Uint8Array | undefined {
    const index = this.#received % COUNT;
    if ((this.words[index * 4 + 2]! & 1) === 0) return undefined;
    const at = BUFFERS + index * 2048;
    const bytes = this.bytes.slice(at, at + (this.words[index * 4 + 3]! & 0xffff));
    this.#give(index);
    this.device.region(0).write32(rx(0, 'RDT'), index);
    this.#received++;
    return bytes;
  }

  async receiveSoon(): Promise<Uint8Array> {
    let bytes: Uint8Array | undefined;
    await until(() => {
      bytes = this.receive();
      return bytes !== undefined;
    }, 'a frame');
    return bytes!;
  }

  close(): void {
    this.device.close();
    munmap(this.#mapping);
    closeSync(this.#fd);
  }
}

for (const mappable of [true, false]) {
  host(
    `carries frames between two drivers, ${mappable ? 'doorbells in shared memory' : 'every access trapped'}`,
    async () => {
      const paths = [join(directory, `a${mappable}.sock`), join(directory, `b${mappable}.sock`)];
      const capture = join(directory, `c${mappable}.pcap`);
      const trouble: string[] = [];
      const emulator = await startEmulator(
        {
          nics: paths.map((path) => ({ path, mappable, strict: true })),
          links: [{ ends: [{ nic: 0 }, { nic: 1 }], capture }],
        },
        (message) => trouble.push(message),
      );
      const a = await Driver.at(paths[0]!);
      const b = await Driver.at(paths[1]!);
      for (let i = 0; i < 200; i++) {
        const bytes = frame(BROADCAST, 60 + i);
        (i % 2 === 0 ? a : b).send(bytes);
        assert.equal(await (i % 2 === 0 ? b : a).receiveSoon(), bytes);
      }
      assert.is(a.device.region(0).read32(0x04080), 100, 'GPTC');
      const report = await emulator.report();
      assert.equal(
        report.nics.map((nic) => [nic.violationCount, nic.faultCount, nic.counters.GPRC]),
        [
          [0, 0, 100],
          [0, 0, 100],
        ],
      );
      await emulator.setCarrier(0, false);
      assert.is(a.device.region(0).read32(R.LINKS) & (1 << 30), 0);
      await emulator.setCarrier(0, true);
      assert.is(b.device.region(0).read32(R.LINKS) & (1 << 30), 1 << 30);
      a.close();
      b.close();
      // the sockets take a new client
      const again = await Driver.at(paths[0]!);
      assert.is(again.device.region(0).read32(0x04080), 0);
      again.close();
      await emulator.close();
      assert.equal(trouble, []);
      assert.is((await readFrames(capture)).length, 200);
      assert.not(readdirSync(directory).some((name) => name.endsWith(`${mappable}.sock`)));
    },
  );
}

host(
  'a client that does not know maps no page with counters, and every register is right for it',
  async () => {
    const path = join(directory, 'e.sock');
    const emulator = await startEmulator({ nics: [{ path }], links: [] });
    const QPRC0 = 0x01030; // 8.2.3.23
    const RDLEN0 = 0x01008; // 8.2.3.8.3: bits 6:0 and 31:20 are 0
    try {
      const knows = await connectVfioUser(path);
      for (const page of [0x1000, 0x6000, 0x7000, 0xd000]) assert.ok(knows.region(0).window(page, 0x1000));
      assert.is(knows.region(0).readTrapped32(QPRC0), 0);
      knows.close();
      const client = await eventually(() => RawClient.negotiated(path));
      const { body, fds } = client.ask(
        Command.DEVICE_GET_REGION_INFO,
        encodeRegionInfoRequest(0, REGION_INFO_MAX_BYTES),
      );
      assert.equal(fds, []);
      assert.is(decodeRegionInfo(body).areas, undefined);
      const range = { index: 0, offset: RDLEN0, count: 4 };
      client.ask(Command.REGION_WRITE, encodeRegionRange(range, new Uint8Array(4).fill(0xff)));
      const { data } = decodeRegionData(client.ask(Command.REGION_READ, encodeRegionRange(range)).body);
      assert.equal(data, Uint8Array.of(0x80, 0xff, 0x0f, 0x00));
      client.close();
    } finally {
      await emulator.close();
    }
  },
);

/** Tries again until it does not throw: a server needs a moment to see that its client has left. */
async function eventually<T>(action: () => T): Promise<T> {
  const deadlineMs = performance.now() + HANG_MS;
  for (;;) {
    try {
      return action();
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
      await sleep(10);
    }
  }
}

host('runs traffic over links of every kind without a NIC', async () => {
  const recorded = join(directory, 'd.pcap');
  const {
    host: runner,
    ends,
    cables,
  } = await buildEmulator({
    nics: [],
    links: [
      {
        ends: [{ source: { count: 500, sizeBytes: 128, flows: 4 } }, { sink: true }],
        cable: { delayNs: 1000, loss: 0.1, seed: 3 },
      },
      { ends: [{ source: { count: 20 } }, { record: recorded }], flowControl: true },
      { ends: [{ stream: join(directory, 's.sock') }, { sink: true }] },
    ],
  });
  const running = runner.run();
  const [source, sink] = ends[0] as [TrafficSource, TrafficSink];
  const cable = cables[0]!;
  await until(
    () => source.done && sink.counters.received + cable.counters('ab').lost === 500,
    'every frame has arrived or is lost',
  );
  assert.is(sink.counters.received, 500 - cable.counters('ab').lost);
  assert.ok(cable.counters('ab').lost > 20);
  runner.stop();
  await running;
  runner.close();
  assert.is((await readFrames(recorded)).length, 20);
});

host('stops by a flag in shared memory', async () => {
  const runner = new EmulatorHost({ sleepMs: 1 });
  const model = new IxgbeModel();
  runner.serve(model, join(directory, 'flag.sock'));
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const running = runner.run(flag);
  await sleep(20);
  Atomics.store(flag, 0, 1);
  await running;
  runner.close();
  runner.close();
});

host('an idle host sleeps', async () => {
  const runner = new EmulatorHost({ spinMs: 1 });
  runner.serve(new IxgbeModel(), join(directory, 'idle.sock'));
  let polls = 0;
  runner.addPollable({
    poll: () => {
      polls++;
      return 0;
    },
  });
  const running = runner.run();
  await sleep(200);
  runner.stop();
  await running;
  runner.close();
  // one poll a millisecond and those of the spinning start; a busy loop makes tens of thousands
  assert.ok(polls < 5000, `${polls} polls`);
});

for (const sharesCpu of [true, false]) {
  host(`a host that finds nothing to do ${sharesCpu ? 'gives the CPU away' : 'keeps it'}`, async () => {
    const runner = new EmulatorHost({ sharesCpu, spinMs: 1e6 });
    let polls = 0;
    runner.addPollable({
      poll: () => {
        if (++polls === 200) runner.stop();
        return 0;
      },
    });
    const times = await giveWays(() => runner.run());
    runner.close();
    assert.is(times, sharesCpu ? polls : 0);
  });
}

host('what goes wrong at every poll is told a few times, and how often it was', () => {
  const told: string[] = [];
  const runner = new EmulatorHost({
    clock: new ManualClock(),
    onError: (error, where) => told.push(`${where}: ${(error as Error).message}`),
  });
  const model = new IxgbeModel({ name: 'port 7' });
  model.poll = () => {
    throw new Error('planted');
  };
  runner.serve(model, join(directory, 'bad.sock'));
  for (let i = 0; i < 10_000; i++) runner.pollOnce();
  assert.equal(told, Array(5).fill('port 7: planted'));
  runner.close();
  assert.is(told.at(-1), 'port 7: 9995 more messages suppressed');
});

host('a host with work keeps the CPU', async () => {
  const runner = new EmulatorHost({ sharesCpu: true, roundsPerTurn: 1 });
  let polls = 0;
  runner.addPollable({
    poll: () => {
      if (++polls === 200) runner.stop();
      return 1;
    },
  });
  assert.is(await giveWays(() => runner.run()), 0);
  runner.close();
});

host('a description that is wrong leaves nothing open', async () => {
  const path = join(directory, 'wrong.sock');
  const failed = async (run: () => Promise<unknown>): Promise<NicError> => {
    try {
      await run();
    } catch (error) {
      if (error instanceof NicError) return error;
      throw error;
    }
    throw new Error('it was taken');
  };
  const error = await failed(() =>
    buildEmulator({ nics: [{ path }], links: [{ ends: [{ nic: 0 }, { nic: 1 }] }] }),
  );
  assert.is(error.code, 'BAD_OPTION');
  assert.not(readdirSync(directory).includes('wrong.sock'));
  const noCapture = join(directory, 'no.pcap');
  writeFileSync(noCapture, 'no');
  const inThread = await failed(() =>
    startEmulator({ nics: [{ path }], links: [{ ends: [{ nic: 0 }, { play: noCapture }] }] }),
  );
  assert.is(inThread.code, 'BAD_OPTION');
  const device = await failed(() => startEmulator({ nics: [{ path, deviceId: 1 }], links: [] }));
  assert.match(device.message, /PCI device 1$/);
});

host.after(() => rmSync(directory, { recursive: true }));
host.run();
