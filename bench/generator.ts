/**
 * `npm run bench:generator`: what it costs to generate and to check a frame of 64 bytes, feature by feature, beside a generator and a
 * checker in C that work as Pktgen-DPDK does (native/generator-peer.c). The device works in lockstep between runs: only the
 * generator's own time counts. Exits 1 where a frame was not as it must be.
 */
import { parseArgs } from 'node:util';
import { systemClock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import { RingMemory } from '../src/driver/intel/rings.js';
import { IntelTxQueue } from '../src/driver/intel/tx-queue.js';
import { NicError } from '../src/errors.js';
import { DmaRegion } from '../src/hugepage/dma-region.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';
import { checkFlow } from '../src/traffic/flow.js';
import { FrameWriter } from '../src/traffic/frame-writer.js';
import { type FlowOptions, TrafficChecker, TrafficSender } from '../src/traffic/index.js';
import { LabMapper } from './lab.js';
import { native, type Pointer } from './native.js';
import { quantile } from './throughput.js';

const RING = 512;
const BUFFERS = 2048;
const BUFFER_BYTES = 2048;
const BUFFER_SHIFT = Math.log2(BUFFER_BYTES);
const BATCH = 32;
const WINDOW = 192;
const WINDOWS = 200;
const WARM_UP_MS = 300;
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);

/** Something that is timed. */
interface Subject {
  readonly name: string;
  /** Its twin in C. */
  readonly twin?: string;
  /** A window; nanoseconds per frame. */
  run(): number;
  close(): void;
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, only: { type: 'string' } },
});

/** A transmit ring in DMA memory, and the device behind it. */
class Ring {
  readonly memory: RingMemory = new RingMemory({
    queuePairs: 1,
    rxRingSize: RING,
    txRingSize: RING,
    pageSize: 'auto',
  });
  readonly #registers = new DmaRegion({ sizeBytes: 4096, pageSize: '4K', name: 'registers' });
  readonly tail = new Uint32Array(this.#registers.buffer, 0, 1);
  #head = 0;

  get address(): bigint {
    return this.memory.region.address + BigInt(this.memory.tx[0]!.offset);
  }

  get tailAddress(): bigint {
    return this.#registers.address;
  }

  /** Frames that were sent since the last time. @throws Error where one was not as it must be */
  complete(memory: bigint, iova: bigint): number {
    const count = native.generatorComplete(this.address, this.tailAddress, memory, iova, RING, this.#head);
    if (count < 0) throw new Error(`a frame was not as it must be (${count})`);
    this.#head = (this.#head + count) % RING;
    return count;
  }

  close(): void {
    this.memory.region.close();
    this.#registers.close();
  }
}

/** `TrafficSender` on a real transmit queue. */
function ours(name: string, flow: FlowOptions, twin?: string): Subject {
  const mapper = new LabMapper();
  const pool = new PacketPool({ buffers: BUFFERS, bufferSizeBytes: BUFFER_BYTES });
  pool.attach(mapper);
  const ring = new Ring();
  const queue = new IntelTxQueue({ ring: ring.memory.tx[0]!.words, tail: ring.tail, pool });
  const device = {
    address: 'lockstep',
    pool,
    txQueues: [queue],
    mac: MAC,
    maxFrameBytes: 1514,
    linkState: () => ({ up: true, speedMbps: 10_000, fullDuplex: true }),
  } as unknown as NetDevice;
  const sender = new TrafficSender(device, [flow], { clock: systemClock, batch: BATCH });
  const { address, iova } = mapper.mapped[0]!;
  sender.start();
  return {
    name,
    ...(twin === undefined ? {} : { twin }),
    run() {
      const start = performance.now();
      for (let i = 0; i < WINDOW / BATCH; i++) sender.poll();
      const ns = (performance.now() - start) * 1e6;
      if (ring.complete(address, iova) !== WINDOW) throw new Error(`${name}: not all frames were sent`);
      return ns / WINDOW;
    },
    close() {
      queue.close(new NicError('CLOSED', 'the benchmark is over'));
      pool.detach(mapper);
      pool.close();
      ring.close();
    },
  };
}

/** The frame that all senders send, once in each buffer. */
function filled(flow: FlowOptions): DmaRegion {
  const memory = new DmaRegion({ sizeBytes: BUFFERS * BUFFER_BYTES, name: 'peer' });
  const bytes = new Uint8Array(memory.buffer);
  const writer = new FrameWriter(checkFlow(flow, 0), 0, MAC);
  for (let i = 0; i < BUFFERS; i++) {
    writer.prepare(bytes, i * BUFFER_BYTES);
    writer.write(bytes, Int32Array.of(i * BUFFER_BYTES), Uint16Array.of(writer.maxBytes), 1, i, 0);
  }
  return memory;
}

function inC(name: string, flow: FlowOptions, hasFields: boolean): Subject {
  const memory = filled(flow);
  const ring = new Ring();
  const pointer: Pointer = native.generatorNew(
    ring.address,
    ring.tailAddress,
    memory.address,
    BUFFERS,
    BUFFER_BYTES,
    RING,
  );
  return {
    name,
    run() {
      const ns = native.generatorRun(pointer, WINDOW / BATCH, BATCH, hasFields ? 1 : 0);
      if (ring.complete(memory.address, memory.address) !== WINDOW)
        throw new Error(`${name}: not all frames were sent`);
      return ns / WINDOW;
    },
    close() {
      native.generatorFree(pointer);
      ring.close();
      memory.close();
    },
  };
}

/** Checks the same frames again and again, with numbers that go on. */
function checkers(sizeBytes: number): Subject[] {
  const flow: FlowOptions = { size: sizeBytes };
  const memory = filled(flow);
  const lengthBytes = sizeBytes - 4;
  const bytes = new Uint8Array(memory.buffer);
  const words = new Int32Array(memory.buffer);
  const writer = new FrameWriter(checkFlow(flow, 0), 0, MAC);
  const places = Int32Array.from({ length: WINDOW }, (_, i) => i * BUFFER_BYTES);
  const lengths = new Uint16Array(WINDOW).fill(lengthBytes);
  const batches = Array.from({ length: WINDOW / BATCH }, (_, b) =>
    Uint32Array.from({ length: BATCH }, (_, i) => b * BATCH + i),
  );
  const others = new Uint32Array(BATCH);
  let sequence = 0;
  const refill = (): void => {
    const time = systemClock.nowNs() | 0;
    writer.write(bytes, places, lengths, WINDOW, sequence, time);
    sequence += WINDOW;
  };
  const checker = new TrafficChecker({ sharedClock: true });
  const pointer = native.checkerNew();
  const frames = sizeBytes === 64 ? '64 bytes' : `${sizeBytes} bytes`;
  return [
    {
      name: `C: check, ${frames}`,
      run() {
        refill();
        return native.checkerRun(pointer, memory.address, BUFFER_BYTES, WINDOW, lengthBytes) / WINDOW;
      },
      close() {
        native.checkerFree(pointer);
      },
    },
    {
      name: `check, ${frames}`,
      twin: `C: check, ${frames}`,
      run() {
        refill();
        const start = performance.now();
        const nowNs = systemClock.nowNs();
        for (let i = 0; i < WINDOW; i += BATCH)
          checker.checkBatch(bytes, words, batches[i / BATCH]!, BATCH, BUFFER_SHIFT, lengths, nowNs, others);
        const ns = (performance.now() - start) * 1e6;
        if (checker.unknown + checker.damagedFields > 0) throw new Error('a frame was not known');
        return ns / WINDOW;
      },
      close() {
        memory.close();
      },
    },
  ];
}

const FIXED: FlowOptions = { numbered: false, size: 64 };
const FIELDS: FlowOptions = {
  numbered: false,
  size: 64,
  srcIp: '10.0.0.0-10.0.255.255~',
  srcPort: '1024-17407~',
  dstPort: '1000-2023~',
};

const all: Subject[] = [
  inC('C: fixed frame', FIXED, false),
  ours('fixed frame', FIXED, 'C: fixed frame'),
  inC('C: three random fields, checksums', { ...FIXED, srcIp: '10.0.0.0', srcPort: 0, dstPort: 0 }, true),
  ours('three random fields, checksums', FIELDS, 'C: three random fields, checksums'),
  ours('numbers and time stamps', { size: 64 }),
  ours('the same at a rate (100 Mpps)', { size: 64, rate: '100Mpps' }),
  ours('numbers and three random fields', { ...FIELDS, numbered: true }),
  ...checkers(64),
  ...checkers(1514),
];

/** With `--only NAME` nothing else has shaped the engine's code. */
const subjects = all.filter(({ name }) => values.only === undefined || name === values.only);

const rounds = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
try {
  for (const { run } of subjects) {
    const end = performance.now() + WARM_UP_MS;
    while (performance.now() < end) run();
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { name, run } of subjects) {
      rounds.get(name)!.push(quantile(Array.from({ length: WINDOWS }, run), 0.5));
    }
  }
} finally {
  for (const subject of all) subject.close();
}

console.log(
  `Node.js ${process.versions.node}, batches of ${BATCH}; ns per frame, median of ${values.rounds} rounds`,
);
for (const { name, twin } of subjects) {
  const ns = rounds.get(name)!;
  const other = twin === undefined ? undefined : rounds.get(twin);
  const ratio =
    other === undefined
      ? ''
      : quantile(
          ns.map((value, i) => value / other[i]!),
          0.5,
        ).toFixed(2);
  console.log(`${name.padEnd(36)}${quantile(ns, 0.5).toFixed(1).padStart(8)}${ratio.padStart(8)}`);
}
