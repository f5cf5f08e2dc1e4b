/** Generated frames against the RFCs, with a checksum of the test's own. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MIN_FRAME_BYTES, SEQUENCE_OFFSET, UdpFrame } from '../../src/packet/udp-frame.js';

const FIELDS = {
  destinationMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  sourceMac: Uint8Array.of(2, 0, 0, 0, 0, 2),
  sourceIp: Uint8Array.of(198, 18, 0, 1),
  destinationIp: Uint8Array.of(198, 19, 0, 1),
  sourcePort: 49_152,
  destinationPort: 9,
};

/** RFC 1071: sum of 16-bit words with the carries added back in, all bits inverted. Correct data gives 0. */
function internetChecksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

/** Checks every field of a frame, as a receiver would. */
function assertGood(frame: Uint8Array, sequence: bigint): void {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const all = [...frame];
  assert.equal(all.slice(0, 12), [...FIELDS.destinationMac, ...FIELDS.sourceMac]);
  assert.is(view.getUint16(12), 0x0800);
  // RFC 791
  assert.is(frame[14], 0x45);
  assert.is(view.getUint16(16), frame.length - 14, 'total length');
  assert.is(view.getUint16(20) & 0x3fff, 0, 'no fragment');
  assert.ok(frame[22]! > 0, 'time to live');
  assert.is(frame[23], 17);
  assert.equal(all.slice(26, 34), [...FIELDS.sourceIp, ...FIELDS.destinationIp]);
  assert.is(internetChecksum(all.slice(14, 34)), 0, 'header checksum');
  // RFC 768
  assert.equal([view.getUint16(34), view.getUint16(36)], [FIELDS.sourcePort, FIELDS.destinationPort]);
  const udpBytes = frame.length - 34;
  assert.is(view.getUint16(38), udpBytes, 'UDP length');
  assert.is.not(view.getUint16(40), 0, 'a checksum of 0 would mean none');
  const pseudoHeader = [...all.slice(26, 34), 0, 17, udpBytes >>> 8, udpBytes & 0xff];
  assert.is(
    internetChecksum([...pseudoHeader, ...all.slice(34)]),
    0,
    `UDP checksum of ${frame.length} bytes`,
  );
  assert.is(Buffer.from(frame.subarray(42, 46)).toString(), 'BWGN');
  assert.is(view.getBigUint64(SEQUENCE_OFFSET), sequence);
}

const frames = suite('UdpFrame');

frames('every size from 60 to 1514 is a good frame', () => {
  for (let sizeBytes = MIN_FRAME_BYTES; sizeBytes <= 1514; sizeBytes++) {
    const frame = new UdpFrame({ ...FIELDS, sizeBytes });
    assert.is(frame.sizeBytes, sizeBytes);
    const memory = new Uint8Array(sizeBytes + 20).fill(0xee);
    frame.fill(memory, 10);
    assertGood(memory.subarray(10, 10 + sizeBytes), 0n);
    frame.setSequence(memory, 10, sizeBytes);
    assertGood(memory.subarray(10, 10 + sizeBytes), BigInt(sizeBytes));
    assert.equal([...memory.subarray(0, 10), ...memory.subarray(10 + sizeBytes)], new Array(20).fill(0xee));
  }
});

for (const sequence of [
  1,
  0xff,
  0x100,
  0xffff,
  0x1_0000,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
  0x1_0000_0000,
  0x1_0000_0001,
  0xffff_ffff_ffff,
  Number.MAX_SAFE_INTEGER,
]) {
  frames(`sequence number ${sequence}`, () => {
    const memory = new Uint8Array(61);
    const frame = new UdpFrame({ ...FIELDS, sizeBytes: 61 });
    frame.fill(memory, 0);
    frame.setSequence(memory, 0, sequence);
    assertGood(memory, BigInt(sequence));
  });
}

frames('a checksum that comes out as 0 is sent as 0xffff', () => {
  const memory = new Uint8Array(60);
  const frame = new UdpFrame({ ...FIELDS, sizeBytes: 60 });
  frame.fill(memory, 0);
  let zeros = 0;
  // All values of one word of the sequence number: one of them makes the sum all ones.
  for (let sequence = 0; sequence <= 0xffff; sequence++) {
    frame.setSequence(memory, 0, sequence);
    if (memory[40] === 0xff && memory[41] === 0xff) {
      zeros++;
      assertGood(memory, BigInt(sequence));
    }
    assert.ok(memory[40] !== 0 || memory[41] !== 0);
  }
  assert.ok(zeros > 0, 'the case came up');
});

frames('any size, number and place', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 60, max: 1514 }),
      fc.maxSafeNat(),
      fc.maxSafeNat(),
      fc.nat(500),
      (sizeBytes, first, second, offset) => {
        const memory = new Uint8Array(2048);
        const frame = new UdpFrame({ ...FIELDS, sizeBytes });
        frame.fill(memory, offset);
        frame.setSequence(memory, offset, first);
        frame.setSequence(memory, offset, second);
        assertGood(memory.subarray(offset, offset + sizeBytes), BigInt(second));
      },
    ),
  );
});

frames.run();
