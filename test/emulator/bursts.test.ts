/** Frames that move together are treated as they are one by one: the same memory, counters, interrupts and reports. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { connect, FrameBurst, frameMemory } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import {
  BROADCAST,
  DATA,
  EOP,
  frame,
  IFCS,
  MEMORY_BYTES,
  MEMORY_IOVA,
  type PacketOptions,
  packet,
  R,
  Recorder,
  RS,
  TestNic,
  TX_BUFFERS,
  TX_RING,
  tx,
} from './support.js';

const bursts = suite('bursts');
const MAC = Uint8Array.of(0x02, 0, 0, 0, 0, 0x11);
const GROUP = Uint8Array.of(0x01, 0, 0x5e, 0, 0, 1);
const RUNS = 200;

/** Usually the first value, now and then one of the others. */
function mostly<T>(usual: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 20, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

const payload = fc
  .oneof(fc.constant(18), fc.integer({ min: 0, max: 90 }), fc.integer({ min: 900, max: 1480 }))
  .map((length) => Uint8Array.from({ length }, (_, i) => i * 7 + 3));
const packetOptions: fc.Arbitrary<PacketOptions> = fc.record(
  {
    payload,
    protocol: fc.constantFrom('udp', 'udp', 'tcp'),
    sourcePort: fc.integer({ min: 0, max: 0xffff }),
    badIpChecksum: mostly(false, true),
    badL4Checksum: mostly(false, true),
    zeroUdpChecksum: mostly(false, true),
    fragment: mostly(0, 0x2000, 5),
  },
  { requiredKeys: ['payload', 'protocol'] },
);

/** Mostly frames that go the short way, with the others between them. */
const arrival = fc
  .tuple(
    fc.oneof(fc.constantFrom(MAC, BROADCAST), mostly(MAC, GROUP, Uint8Array.of(2, 9, 9, 9, 9, 9))),
    fc.oneof(
      { weight: 24, arbitrary: packetOptions },
      { weight: 1, arbitrary: packetOptions.map((options) => ({ ...options, vlan: 5 })) },
      { weight: 1, arbitrary: fc.constantFrom(0x0806, 0x88b5, 46, 40) },
    ),
    // Where it lies, and how many bytes of padding follow the packet or are missing.
    mostly(0, 1, 2),
    fc.oneof(fc.constant(0), mostly(1, 2, 3, 7, -1, -9)),
    // One byte of it is changed.
    fc.oneof(
      { weight: 20, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.tuple(fc.nat(59), fc.integer({ min: 0, max: 255 })) },
    ),
  )
  .map(([destination, what, shift, padding, change]) => {
    const made = typeof what === 'number' ? frame(destination, 64, what) : packet(destination, what);
    const length = Math.max(made.length + padding, 60);
    const bytes = new Uint8Array(Math.max(length, made.length));
    bytes.set(made);
    if (change !== null) bytes[change[0]] = change[1];
    return { bytes, shift, length };
  });

const settings = fc.record({
  ring: fc.record({
    count: fc.constantFrom(8, 32, 64),
    bufferKib: fc.constantFrom(1, 2),
    legacy: mostly(false, true),
    drop: fc.boolean(),
    stripVlan: fc.boolean(),
  }),
  given: fc.integer({ min: 0, max: 63 }),
  keepCrc: mostly(false, true),
  hash: fc.boolean(),
  /** RSS with all fields. */
  mrqc: mostly(0, 0x00ff0001),
  multicastHash: fc.boolean(),
});

function receiver(with_: typeof settings extends fc.Arbitrary<infer T> ? T : never): TestNic {
  const { ring, given, keepCrc, hash, mrqc, multicastHash } = with_;
  const nic = new TestNic({ mac: MAC });
  nic.write(R.FCTRL, 1 << 10);
  if (multicastHash) {
    for (let i = 0; i < 128; i++) nic.write(R.MTA0 + 4 * i, 0xffffffff);
    nic.write(R.MCSTCTRL, 1 << 2);
  }
  if (keepCrc) nic.write(R.HLREG0, nic.read(R.HLREG0) & ~2);
  if (hash) nic.write(R.RXCSUM, 1 << 13);
  if (mrqc !== 0) nic.write(R.MRQC, mrqc);
  nic.write(R.IVAR0, 0x80);
  nic.write(R.EIMS, 0xffff);
  return nic.setUpRx({ ...ring, give: Math.min(given, ring.count - 1) });
}

/** Compares everything that a driver or a user can see. */
function assertAlike(a: TestNic, b: TestNic): void {
  assert.equal(stateOf(a), stateOf(b));
  assert.ok(Buffer.from(a.memory.bytes.buffer).equals(Buffer.from(b.memory.bytes.buffer)), 'memory differs');
}

function stateOf(nic: TestNic): unknown {
  return {
    counters: nic.model.counters(),
    heads: [nic.model.peek(0x1010), nic.model.peek(0x6010)],
    interrupts: nic.host.raised,
    violations: nic.model.violations.list,
    faults: nic.model.violations.faults,
    unheard: nic.model.unheard,
  };
}

bursts('frames that arrive together are those that arrive one by one', () => {
  fc.assert(
    fc.property(
      fc.array(arrival, { minLength: 1, maxLength: 64, size: 'max' }),
      settings,
      (frames, chosen) => {
        const one = receiver(chosen);
        const all = receiver(chosen);
        const memory = frameMemory(frames.length * 2048);
        const burst = new FrameBurst();
        burst.memory = memory;
        burst.count = frames.length;
        frames.forEach(({ bytes, shift, length }, i) => {
          burst.offsets[i] = i * 2048 + shift;
          burst.lengths[i] = length;
          memory.bytes.set(bytes, burst.offsets[i]);
        });
        for (let i = 0; i < frames.length; i++)
          one.model.deliver(memory, burst.offsets[i]!, burst.lengths[i]!);
        all.model.deliverBurst(burst);
        for (const nic of [one, all]) {
          nic.model.flush();
          nic.model.poll(64);
        }
        assertAlike(all, one);
      },
    ),
    { numRuns: RUNS },
  );
});

bursts('usual frames of one burst fill the ring', () => {
  const nic = new TestNic({ mac: MAC }).setUpRx({ count: 64 });
  const bytes = packet(MAC, { payload: new Uint8Array(18) });
  const burst = new FrameBurst();
  burst.memory = frameMemory(bytes.length);
  burst.memory.bytes.set(bytes);
  burst.count = 40;
  burst.offsets.fill(0);
  burst.lengths.fill(bytes.length);
  nic.model.deliverBurst(burst);
  for (let i = 0; i < 40; i++) assert.equal(nic.receive()?.bytes, bytes);
  assert.is(nic.receive(), undefined);
  assert.is(nic.model.counters().GPRC, 40);
});

/** Words of a descriptor for buffer `slot`: mostly plain data, with each kind of mistake. */
const descriptor = fc
  .record({
    length: fc.oneof(
      fc.constant(60),
      fc.integer({ min: 60, max: 200 }),
      fc.constantFrom(0, 10, 20, 59, 1514, 2000),
    ),
    command: fc.constantFrom(0, 0, 0, 0, RS, RS, RS | (1 << 30), 1 << 20),
    options: fc.constantFrom(0, 0, 0, 0, 0, 1 << 8, 1 << 4),
    payLen: fc.constantFrom(0, 0, 0, 0, 0, 1),
    nowhere: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1, 2, 3),
    group: fc.constantFrom(0x02, 0x02, 0x02, 0x01, 0xff),
    eop: fc.constantFrom(EOP, EOP, EOP, EOP, EOP, EOP, 0),
  })
  .map((made) => ({ ...made, command: made.command | DATA | IFCS | made.eop }));

/** In `split` memory the ring lies in two windows, and descriptors are looked at one by one. */
function sender(split: boolean, wthresh: number, headWriteBack: boolean): { nic: TestNic; out: Recorder } {
  const nic = new TestNic({ mac: MAC });
  if (split) {
    nic.host.removeWindow(nic.memory);
    const at = TX_RING + 64;
    const { buffer } = nic.memory.bytes;
    nic.host.addWindow(MEMORY_IOVA, at, 'rw', buffer as ArrayBuffer);
    const rest = {
      iova: MEMORY_IOVA + at,
      sizeBytes: MEMORY_BYTES - at,
      readable: true,
      writable: true,
      bytes: new Uint8Array(buffer, at),
      words: new Int32Array(buffer, at),
    };
    nic.host.windows.push(rest);
    nic.host.windowGeneration++;
  }
  const out = new Recorder();
  connect(nic.model, out);
  nic.write(R.IVAR0, 0x8100);
  nic.write(R.EIMS, 0xffff);
  nic.setUpTx({ count: 64, wthresh });
  if (headWriteBack) nic.write(tx(0, 'TDWBAL'), (MEMORY_IOVA + 0x20000) | 1);
  return { nic, out };
}

bursts('frames that are sent together are those that are sent one by one', () => {
  fc.assert(
    fc.property(
      fc.array(descriptor, { minLength: 1, maxLength: 63, size: 'max' }),
      fc.constantFrom(0, 0, 1),
      fc.boolean(),
      fc.constantFrom(1, 7, 64),
      (descriptors, wthresh, headWriteBack, budget) => {
        const [together, single] = [false, true].map((split) => {
          const { nic, out } = sender(split, wthresh, headWriteBack);
          descriptors.forEach(({ length, command, options, payLen, nowhere, group }, i) => {
            nic.memory.bytes.fill(group, TX_BUFFERS + i * 2048, TX_BUFFERS + i * 2048 + 2000);
            const outside = [0, 0, 0x40, 0x40][nowhere]!;
            const iova = nowhere === 0 ? MEMORY_IOVA + TX_BUFFERS + i * 2048 : nowhere === 1 ? 0 : outside;
            const words = [
              iova,
              nowhere === 3 ? 7 : 0,
              command | length,
              ((length + payLen) << 14) | options,
            ];
            nic.putTx(words, false);
          });
          nic.write(tx(0, 'TDT'), nic.txNext);
          for (let i = 0; i < 64; i++) nic.model.poll(budget);
          return { frames: out.frames, nic };
        });
        assert.equal(together!.frames, single!.frames);
        assertAlike(together!.nic, single!.nic);
      },
    ),
    { numRuns: RUNS },
  );
});

bursts('a pause in the middle of a burst ends it', () => {
  const { nic, out } = sender(false, 0, false);
  nic.write(0x04294, 1 << 3); // MFLCN.RFCE, 8.2.3.22.34
  const pause = frame(Uint8Array.of(0x01, 0x80, 0xc2, 0, 0, 1), 60, 0x8808);
  pause.set([0, 1, 0xff, 0xff], 14);
  nic.write(R.RXCTRL, 1);
  const deliver = out.deliver.bind(out);
  out.deliver = (memory, offset, length) => {
    if (out.frames.length === 4) nic.arrive(pause);
    return deliver(memory, offset, length);
  };
  for (let i = 0; i < 10; i++) {
    const iova = nic.putBuffer(i, frame(BROADCAST));
    nic.putTx([iova, 0, 60 | DATA | EOP | IFCS | RS, 60 << 14], false);
  }
  nic.write(tx(0, 'TDT'), nic.txNext);
  nic.model.poll(64);
  assert.is(out.frames.length, 5);
});

bursts.run();
