/** Properties: no register write, descriptor or frame stops the model, and no access leaves the windows. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { REGISTERS } from '../../src/emulator/ixgbe/registers.js';
import { connect, frameMemory } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import {
  type FakeHost,
  MEMORY_BYTES,
  MEMORY_IOVA,
  R,
  Recorder,
  RX_RING,
  rx,
  TestNic,
  TX_RING,
  tx,
} from './support.js';

const properties = suite('properties');
const GUARD = 0x5ca1ab1e;

/** Windows are views in the middle of larger memory: a write beside them changes a guard word. */
function guarded(nic: TestNic): { check: () => void } {
  const host = nic.host as FakeHost;
  host.removeWindow(nic.memory);
  const whole = new ArrayBuffer(MEMORY_BYTES + 0x2000);
  const words = new Int32Array(whole).fill(GUARD);
  const window = {
    iova: MEMORY_IOVA,
    sizeBytes: MEMORY_BYTES,
    readable: true,
    writable: true,
    bytes: new Uint8Array(whole, 0x1000, MEMORY_BYTES),
    words: new Int32Array(whole, 0x1000, MEMORY_BYTES / 4),
  };
  host.windows.push(window);
  host.windowGeneration++;
  return {
    check: () => {
      for (let i = 0; i < 0x400; i++) assert.is(words[i], GUARD);
      for (let i = words.length - 0x400; i < words.length; i++) assert.is(words[i], GUARD);
    },
  };
}

const offset = fc.oneof(
  fc.integer({ min: 0, max: 0x7ffff }).map((n) => n & ~3),
  fc
    .constantFrom(...REGISTERS)
    .chain((block) => fc.nat(block.count - 1).map((n) => block.offset + n * block.strideBytes)),
);
const value = fc.oneof(
  fc.integer(),
  fc.constantFrom(0, -1, 1, 1 << 25, 8 * 16, MEMORY_IOVA, MEMORY_IOVA + MEMORY_BYTES - 64),
);

properties('any sequence of register accesses', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), offset, value), { maxLength: 60 }),
      fc.uint8Array({ minLength: 60, maxLength: 200 }),
      (accesses, bytes) => {
        const nic = new TestNic().setUpRx().setUpTx();
        connect(nic.model, new Recorder());
        const { check } = guarded(nic);
        for (const [isWrite, at, data] of accesses) {
          if (isWrite) nic.write(at, data);
          else nic.read(at);
        }
        nic.arrive(bytes);
        nic.model.poll(32);
        nic.model.poll(32);
        check();
      },
    ),
    { numRuns: 60 },
  );
});

const near = fc.oneof(
  fc.constantFrom(MEMORY_IOVA, MEMORY_IOVA + MEMORY_BYTES - 40, 0, -1),
  fc.integer({ min: MEMORY_IOVA, max: MEMORY_IOVA + MEMORY_BYTES }),
  fc.integer(),
);
const high = fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer() });
/** Descriptor words with the bits that matter set often. */
const command = fc
  .tuple(
    fc.integer({ min: 0, max: 0xffff }),
    fc.constantFrom(0, 0x20200000, 0x20300000, 0x20100000),
    fc.integer({ min: 0, max: 255 }),
    fc.integer({ min: 0, max: 2000 }),
  )
  .map(([length, type, bits, short]) => ((bits & 1) !== 0 ? length : short) | type | ((bits & 0xdf) << 24));
const descriptor = fc.tuple(near, high, command, fc.integer());

properties('any transmit descriptors', () => {
  fc.assert(
    fc.property(fc.array(descriptor, { minLength: 1, maxLength: 15 }), (descriptors) => {
      const nic = new TestNic().setUpTx({ count: 16 });
      connect(nic.model, new Recorder());
      const { check } = guarded(nic);
      const ring = nic.host.windows[0]!.words;
      descriptors.forEach((words, i) => {
        ring.set(words, TX_RING / 4 + i * 4);
      });
      nic.write(tx(0, 'TDT'), descriptors.length);
      for (let i = 0; i < 4; i++) nic.model.poll(64);
      assert.ok(nic.read(tx(0, 'TDH')) <= descriptors.length);
      check();
    }),
    { numRuns: 100 },
  );
});

properties('any receive descriptors, ring addresses and frames', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(near, high, fc.integer(), fc.integer()), { minLength: 8, maxLength: 8 }),
      near,
      fc.array(fc.uint8Array({ minLength: 0, maxLength: 1600 }), { maxLength: 12 }),
      fc.boolean(),
      (descriptors, ringIova, frames, moved) => {
        const nic = new TestNic().setUpRx({ stripVlan: true }).promiscuous();
        const { check } = guarded(nic);
        descriptors.forEach((words, i) => {
          nic.host.windows[0]!.words.set(words, RX_RING / 4 + i * 4);
        });
        if (moved) {
          nic.write(rx(0, 'RXDCTL'), 0);
          nic.write(rx(0, 'RDBAL'), ringIova);
          nic.write(rx(0, 'RXDCTL'), 1 << 25);
        }
        for (const bytes of frames) nic.arrive(bytes);
        nic.model.poll(64);
        check();
      },
    ),
    { numRuns: 80 },
  );
});

properties('whatever is sent arrives as it was, in order', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.integer({ min: 60, max: 1514 }),
          fc.integer({ min: 0, max: 7 }),
          fc.integer({ min: 1, max: 5 }),
        ),
        { minLength: 1, maxLength: 30 },
      ),
      (sends) => {
        const a = new TestNic().setUpTx({ count: 128 });
        const b = new TestNic().setUpRx({ count: 64 }).promiscuous();
        connect(a.model, b.model);
        sends.forEach(([length, shift, pieces], n) => {
          const bytes = new Uint8Array(length).map((_, i) => i * 31 + n);
          bytes[0] = 2;
          bytes[12] = 0x88;
          const iova = a.putBuffer(n % 50, bytes, shift);
          const step = Math.ceil(length / pieces);
          for (let at = 0; at < length; at += step) {
            const piece = Math.min(step, length - at);
            const last = at + piece === length;
            a.putTx([iova + at, 0, piece | 0x22300000 | (last ? 1 << 24 : 0), length << 14], last);
          }
          a.model.poll(4);
          assert.equal(b.receive()?.bytes, bytes);
        });
        assert.equal(a.violations, []);
      },
    ),
    { numRuns: 40 },
  );
});

properties('any frame that arrives is parsed within its bounds', () => {
  const frameBytes = fc
    .tuple(
      fc.uint8Array({ minLength: 60, maxLength: 120 }),
      fc.constantFrom(0x0800, 0x86dd, 0x8100),
      fc.integer({ min: 0, max: 255 }),
    )
    .map(([bytes, etherType, first]) => {
      bytes[0] = 2;
      bytes[12] = etherType >>> 8;
      bytes[13] = etherType;
      bytes[14] = first;
      return bytes;
    });
  fc.assert(
    fc.property(frameBytes, (bytes) => {
      const nic = new TestNic().setUpRx().promiscuous();
      nic.write(R.HLREG0, nic.read(R.HLREG0) & ~(1 << 27)); // RXLNGTHERREN off: length fields are random
      nic.write(0x05818, 0x00ff0001); // MRQC: RSS with all fields
      // the frame ends where memory ends: a read beyond gives undefined, and the copy would be wrong
      const memory = frameMemory(bytes.length);
      memory.bytes.set(bytes);
      nic.model.deliver(
        { bytes: memory.bytes.subarray(0, bytes.length), words: memory.words },
        0,
        bytes.length,
      );
      assert.equal(nic.receive()?.bytes, bytes);
    }),
    { numRuns: 100 },
  );
});

properties.run();
