/** Frames that wait in memory of a fixed size: whatever their lengths, they come out as they went in. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { FrameQueue } from '../../../src/emulator/device/frame-queue.js';
import { frameMemory } from '../../../src/emulator/link.js';
import { suite } from '../../support/suite.js';

function push(queue: FrameQueue, bytes: Uint8Array): boolean {
  const memory = frameMemory(bytes.length);
  memory.bytes.set(bytes);
  return queue.push(memory, 0, bytes.length);
}

function pop(queue: FrameQueue): Uint8Array {
  const { memory, frontOffset, frontLength } = queue;
  const bytes = memory.bytes.slice(frontOffset, frontOffset + frontLength);
  queue.pop();
  return bytes;
}

const queues = suite('frame queue');

queues('a frame that ends where the memory ends: the next one begins at its start', () => {
  const queue = new FrameQueue();
  queue.reset(256);
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 4; i++) assert.ok(push(queue, new Uint8Array(64).fill(i)));
    assert.not(push(queue, new Uint8Array(4)), 'full');
    assert.is(queue.usedBytes, 256);
    assert.equal(pop(queue), new Uint8Array(64));
    assert.ok(push(queue, new Uint8Array(64).fill(4)));
    for (let i = 1; i <= 4; i++) assert.equal(pop(queue), new Uint8Array(64).fill(i));
    assert.is(queue.usedBytes, 0);
  }
});

queues('any lengths, in any order of coming and going', () => {
  const step = fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constant(-1));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 64, max: 400 }), (steps, sizeBytes) => {
      const queue = new FrameQueue();
      queue.reset(sizeBytes);
      const expected: Uint8Array[] = [];
      steps.forEach((length, n) => {
        if (length >= 0) {
          const bytes = new Uint8Array(length).fill(n);
          if (push(queue, bytes)) expected.push(bytes);
          else assert.ok(expected.length > 0 || ((length + 3) & ~3) > (sizeBytes & ~3));
        } else if (expected.length > 0) {
          assert.equal(pop(queue), expected.shift());
        }
        assert.is(queue.count, expected.length);
      });
      while (expected.length > 0) assert.equal(pop(queue), expected.shift());
    }),
  );
});

queues.run();
