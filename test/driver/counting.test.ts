/**
 * The sums of every driver: one event is counted once, and nothing that was handed over at a ring is missing on the wire,
 * save for losses that have a name: ring <= wire, wire = ring + named losses.
 */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../src/driver/device.js';
import type { IxgbeModel } from '../../src/emulator/ixgbe/ixgbe-model.js';
import { frameMemory } from '../../src/emulator/link.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';
import { PciRegion } from '../../src/vfio/types.js';
import { Fake82576, QUEUE_ENABLE, R } from '../support/fake-82576.js';
import { IxgbeRig, MAC_B } from '../support/ixgbe-rig.js';
import { type Bench, bench } from '../support/open-igb.js';
import { suite } from '../support/suite.js';

/** Takes everything that has arrived. */
function receiveAll(nic: NetDevice, pool: PacketPool): void {
  const bufs = new Uint32Array(64);
  for (const queue of nic.rxQueues) {
    for (let count = queue.receive(bufs); count > 0; count = queue.receive(bufs)) pool.release(bufs, count);
  }
}

/** What arrived, by what should become of it. */
interface Arrived {
  good: number;
  wrong: number;
}

function assertSums(nic: NetDevice, arrived: Arrived): void {
  const stats = nic.stats();
  const { rxPackets, rxTooLong, rxDamaged, rxMissed = 0, rxErrors = 0, wireRxPackets = 0 } = stats;
  const text = JSON.stringify({ arrived, stats });
  assert.ok(rxPackets <= wireRxPackets, `ring <= wire: ${text}`);
  assert.is(wireRxPackets, rxPackets + rxTooLong + rxDamaged + rxMissed, `wire = ring + losses: ${text}`);
  assert.is(wireRxPackets, arrived.good, `every good frame once: ${text}`);
  assert.is(rxErrors, arrived.wrong, `every wrong frame once: ${text}`);
}

const ixgbe = suite('counting: ixgbe on the 82599 model');

function arrive(model: IxgbeModel, lengthBytes: number, etherType = 0x88b5): void {
  const memory = frameMemory(Math.max(lengthBytes, 64));
  memory.bytes.set(MAC_B);
  memory.bytes.set([etherType >>> 8, etherType & 0xff], 12);
  model.deliver(memory, 0, lengthBytes);
}

interface Kind {
  readonly good: boolean;
  readonly send?: (model: IxgbeModel) => void;
}

/** In place of a frame: the application takes what has arrived. */
const RECEIVE: Kind = { good: true };

/** Kinds of frames, and whether one is good. */
const KINDS: readonly Kind[] = [
  { good: true, send: (model) => arrive(model, 60) },
  { good: true, send: (model) => arrive(model, 1514) },
  { good: false, send: (model) => arrive(model, 59) },
  { good: false, send: (model) => arrive(model, 15_000) },
  { good: false, send: (model) => arrive(model, 100, 50) }, // a length field that does not fit
  { good: false, send: (model) => model.damaged(1000) },
  { good: false, send: (model) => model.damaged(20) },
  { good: false, send: (model) => model.damaged(15_000) },
];

ixgbe('any frames, received or not, in any order', async () => {
  const rig = await IxgbeRig.open({ flowControl: false, open: { rxRingSize: 64 } });
  try {
    const arrived = { good: 0, wrong: 0 };
    const burst = fc.tuple(fc.integer({ min: -1, max: KINDS.length - 1 }), fc.integer({ min: 1, max: 80 }));
    fc.assert(
      fc.property(fc.array(burst, { minLength: 1, maxLength: 30 }), (bursts) => {
        for (const [kind, count] of bursts) {
          const { good, send } = KINDS[kind] ?? RECEIVE;
          if (send === undefined) receiveAll(rig.b.nic, rig.pool);
          else for (let i = 0; i < count; i++) send(rig.b.model);
          if (send !== undefined) arrived[good ? 'good' : 'wrong'] += count;
        }
        receiveAll(rig.b.nic, rig.pool);
        assertSums(rig.b.nic, arrived);
      }),
      { numRuns: 50 },
    );
    assert.ok((rig.b.nic.stats().rxMissed ?? 0) > 0, 'the ring was full at times');
  } finally {
    await rig.close();
  }
});

ixgbe('frames that arrive after every register access of the opening', async () => {
  let opening = true;
  const rig = await IxgbeRig.open({
    flowControl: false,
    beforeOpen: (vfio) => {
      if (vfio.address !== 'local:b') return;
      const model = vfio.model as IxgbeModel;
      const { regionWrite } = model;
      model.regionWrite = (index, offset, from) => {
        regionWrite.call(model, index, offset, from);
        if (opening && index === PciRegion.BAR0) arrive(model, 60);
      };
    },
  });
  opening = false;
  try {
    receiveAll(rig.b.nic, rig.pool);
    const { rxPackets, rxMissed = 0, wireRxPackets = 0 } = rig.b.nic.stats();
    assert.ok(rxPackets > 0, 'some came in time');
    assert.is(wireRxPackets, rxPackets + rxMissed);
  } finally {
    await rig.close();
  }
});

ixgbe.run();

const igb = suite('counting: igb on registers of an 82576');

// 8.19: counters of good and of wrong frames. RLEC has what RUC and ROC have, RJC what CRCERRS has of the long ones.
const GPRC = R.GPRC;
const WRONG: readonly (readonly number[])[] = [
  [R.CRCERRS],
  [R.CRCERRS, R.RJC],
  [R.RLEC, R.RUC],
  [R.RLEC, R.ROC],
  [R.RFC],
];

/** Puts a frame into the next descriptor that the driver has given, as hardware would, and counts it. */
class Wire {
  readonly #made: Bench;
  readonly #counts = new Map<number, number>();
  #head = 0;

  constructor(made: Bench) {
    this.#made = made;
    made.model.onWrite = (offset) => {
      if (offset === R.RXDCTL || offset === R.RDH) this.#head = 0;
    };
  }

  #count(register: number): void {
    const before = this.#counts.get(register) ?? 0;
    this.#counts.set(register, before + 1);
    this.#made.model.count(register, before + 1);
  }

  /** Reading cleared them. */
  settle(): void {
    this.#counts.clear();
  }

  /** Returns how many frames have arrived: none while the receiver is off. */
  good(): number {
    const { model, vfio } = this.#made;
    const RXEN = 1 << 1;
    if ((model.get(R.RCTL) & RXEN) === 0 || (model.get(R.RXDCTL) & QUEUE_ENABLE) === 0) return 0;
    this.#count(GPRC);
    if (this.#head === model.get(R.RDT)) {
      this.#count(R.RQDPC);
      return 1;
    }
    const base = (BigInt(model.get(R.RDBAH)) << 32n) | BigInt(model.get(R.RDBAL));
    const size = model.get(R.RDLEN);
    const words = new Int32Array(vfio.mapper.memoryAt(base, size));
    words[this.#head * 4 + 3] = 60;
    words[this.#head * 4 + 2] = 3;
    this.#head = (this.#head + 1) % (size / 16);
    return 1;
  }

  wrong(kind: number): number {
    for (const register of WRONG[kind]!) this.#count(register);
    return 1;
  }
}

igb('any frames, received or not, in any order', async () => {
  const made = bench();
  const nic = await made.open();
  const wire = new Wire(made);
  const arrived: Arrived = { good: 0, wrong: 0 };
  const step = fc.tuple(
    fc.constantFrom<'good' | 'wrong' | 'receive'>('good', 'wrong', 'receive'),
    fc.integer({ min: 1, max: 80 }),
    fc.integer({ min: 0, max: WRONG.length - 1 }),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (stepsTaken) => {
      for (const [what, count, kind] of stepsTaken) {
        if (what === 'receive') receiveAll(nic, made.pool);
        else for (let i = 0; i < count; i++) arrived[what] += wire[what](kind);
      }
      receiveAll(nic, made.pool);
      assertSums(nic, arrived);
      wire.settle();
    }),
    { numRuns: 50 },
  );
  assert.ok((nic.stats().rxMissed ?? 0) > 0, 'the ring was full at times');
  await nic.close();
  made.assertReleased();
});

igb('frames that arrive after every register access of the opening', async () => {
  const made = bench();
  const wire = new Wire(made);
  const { onWrite } = made.model;
  const read = Fake82576.prototype.read;
  // Reading a counter clears it here, too.
  made.model.read = function (offset: number): number {
    const value = read.call(this, offset);
    if (offset === GPRC || offset === R.RQDPC) wire.settle();
    return value;
  };
  made.model.onWrite = (offset, value) => {
    onWrite(offset, value);
    wire.good();
  };
  const nic = await made.open();
  made.model.onWrite = onWrite;
  receiveAll(nic, made.pool);
  const { rxPackets, rxMissed = 0, wireRxPackets = 0 } = nic.stats();
  assert.ok(rxPackets > 0, 'some came in time');
  assert.is(wireRxPackets, rxPackets + rxMissed);
  await nic.close();
  made.assertReleased();
});

igb.run();
