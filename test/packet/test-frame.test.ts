/** Test frames against the RFCs and the field table of test-frame.ts, with checksums of the test's own. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import {
  describeFrame,
  Ipv4View,
  ipv4ChecksumState,
  Layer,
  l4ChecksumState,
  PacketView,
  parse,
} from '../../src/packet/index.js';
import { TestFrame, TestFrameChecker, type TestFrameOptions } from '../../src/packet/test-frame.js';
import { suite } from '../support/suite.js';

const FIELDS = {
  destinationMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  sourceMac: Uint8Array.of(2, 0, 0, 0, 0, 9),
  sourceIp: '198.18.0.1',
  destinationIp: '198.19.0.1',
  sourcePort: 57_344,
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

interface Expected {
  readonly sequence: number;
  readonly flow?: number;
  readonly timeNs?: number;
}

/** Checks every byte of a frame with IPv4 and no tag, as a receiver that knows nothing of our code would. */
function assertGood(frame: Uint8Array, { sequence, flow = 0, timeNs = -1 }: Expected): void {
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
  assert.equal(all.slice(26, 34), [198, 18, 0, 1, 198, 19, 0, 1]);
  assert.is(internetChecksum(all.slice(14, 34)), 0, 'header checksum');
  // RFC 768
  assert.equal([view.getUint16(34), view.getUint16(36)], [FIELDS.sourcePort + flow, FIELDS.destinationPort]);
  const udpBytes = frame.length - 34;
  assert.is(view.getUint16(38), udpBytes, 'UDP length');
  assert.is.not(view.getUint16(40), 0, 'a checksum of 0 would mean none');
  const pseudoHeader = [...all.slice(26, 34), 0, 17, udpBytes >>> 8, udpBytes & 0xff];
  assert.is(
    internetChecksum([...pseudoHeader, ...all.slice(34)]),
    0,
    `UDP checksum of ${frame.length} bytes`,
  );
  // the field table
  assert.is(Buffer.from(frame.subarray(42, 44)).toString(), 'BW');
  assert.is(frame[44], timeNs < 0 ? 0x10 : 0x11, 'version and flags');
  assert.is(
    all.slice(46, 60).reduce((xor, byte) => xor ^ byte, frame[44]!),
    frame[45],
    'check byte',
  );
  assert.is(view.getBigUint64(46), BigInt(sequence));
  assert.is(view.getUint16(54), flow);
  assert.is(view.getUint32(56), timeNs < 0 ? 0 : Number(BigInt(timeNs) % 2n ** 32n));
  for (let i = 60; i < frame.length; i++) assert.is(frame[i], (7 * (i - 60) + 3) % 256, `pattern at ${i}`);
}

/** The frame in memory of its own, made by `fill` and `stamp`. */
function frameOf(options: Partial<TestFrameOptions>, stamp: Expected = { sequence: 0 }): Uint8Array {
  const frame = new TestFrame({ sizeBytes: 60, ...FIELDS, ...options });
  const memory = new Uint8Array(frame.sizeBytes);
  frame.fill(memory, 0);
  frame.stamp(memory, 0, stamp.sequence, stamp.flow, stamp.timeNs);
  return memory;
}

const frames = suite('TestFrame');

frames('every size from 60 to 1514 is a good frame', () => {
  for (let sizeBytes = 60; sizeBytes <= 1514; sizeBytes++) {
    const frame = new TestFrame({ ...FIELDS, sizeBytes });
    assert.is(frame.sizeBytes, sizeBytes);
    const memory = new Uint8Array(sizeBytes + 20).fill(0xee);
    frame.fill(memory, 10);
    assertGood(memory.subarray(10, 10 + sizeBytes), { sequence: 0 });
    frame.stamp(memory, 10, sizeBytes);
    assertGood(memory.subarray(10, 10 + sizeBytes), { sequence: sizeBytes });
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
    assertGood(frameOf({ sizeBytes: 61 }, { sequence }), { sequence });
  });
}

frames('a checksum that comes out as 0 is sent as 0xffff', () => {
  let zeros = 0;
  for (const sizeBytes of [61, 62, 63, 64]) {
    const memory = new Uint8Array(sizeBytes);
    const frame = new TestFrame({ ...FIELDS, sizeBytes });
    frame.fill(memory, 0);
    // One number in some ten thousand makes the sum all ones.
    for (let sequence = 0; sequence < 150_000; sequence++) {
      frame.stamp(memory, 0, sequence);
      if (memory[40] === 0xff && memory[41] === 0xff) {
        zeros++;
        assertGood(memory, { sequence });
      }
      assert.ok(memory[40] !== 0 || memory[41] !== 0);
    }
  }
  assert.ok(zeros > 0, 'the case came up');
});

frames('any size, number, flow, time and place, after any frame before', () => {
  const stamp = fc.record({
    sequence: fc.oneof(fc.maxSafeNat(), fc.nat(0xffff_ffff)),
    flow: fc.nat(99),
    timeNs: fc.maxSafeNat(),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 60, max: 1514 }),
      stamp,
      stamp,
      fc.boolean(),
      fc.nat(500),
      (sizeBytes, first, second, timeStamps, offset) => {
        const memory = new Uint8Array(2048);
        const frame = new TestFrame({ ...FIELDS, sizeBytes, flows: 100, timeStamps });
        frame.fill(memory, offset);
        for (const { sequence, flow, timeNs } of [first, second, first]) {
          frame.stamp(memory, offset, sequence, flow, timeNs);
          const expected = { sequence, flow, ...(timeStamps ? { timeNs } : {}) };
          assertGood(memory.subarray(offset, offset + sizeBytes), expected);
        }
      },
    ),
  );
});

frames('small numbers after large ones, in buffers that are used in turn', () => {
  const frame = new TestFrame({ ...FIELDS, sizeBytes: 60 });
  const memory = new Uint8Array(120);
  frame.fill(memory, 0);
  frame.stamp(memory, 0, 2 ** 40 + 5);
  frame.fill(memory, 60);
  for (const [at, sequence] of [
    [0, 7],
    [60, 2 ** 33],
    [0, 8],
    [60, 9],
  ] as const) {
    frame.stamp(memory, at, sequence);
    assertGood(memory.subarray(at, at + 60), { sequence });
  }
});

frames('flows by address: IPv4 and IPv6, with a carry', () => {
  for (const [sourceIp, destinationIp, sizeBytes] of [
    ['10.0.255.255', '10.1.0.1', 60],
    ['255.255.255.255', '10.1.0.1', 61],
    ['2001:db8::ffff:ffff', '2001:db8::1', 80],
  ] as const) {
    const frame = new TestFrame({
      ...FIELDS,
      sourceIp,
      destinationIp,
      sizeBytes,
      flows: 300,
      flowsBy: 'address',
    });
    const memory = new Uint8Array(sizeBytes);
    frame.fill(memory, 0);
    const view = new PacketView();
    const sources = new Set<string>();
    for (let flow = 0; flow < 300; flow++) {
      frame.stamp(memory, 0, flow * 1000, flow);
      assert.ok(parse(memory, 0, sizeBytes, view));
      assert.is(l4ChecksumState(view), 'good');
      assert.is(ipv4ChecksumState(view), view.has(Layer.IPV4) ? 'good' : 'absent');
      assert.is(view.sourcePort, FIELDS.sourcePort);
      sources.add(describeFrame(memory, sizeBytes));
    }
    assert.is(sources.size, 300);
  }
  const one = frameOf({ sourceIp: '10.0.0.7', flows: 2, flowsBy: 'address' }, { sequence: 0, flow: 1 });
  assert.is(new Ipv4View().at(one, 14).source, '10.0.0.8');
});

frames('with VLAN tags and IPv6', () => {
  for (const [options, sizeBytes, payloadOffset] of [
    [{ vlan: 7 }, 64, 46],
    [{ vlan: [100, 7] }, 68, 50],
    [{ sourceIp: '2001:db8::1', destinationIp: '2001:db8::2' }, 80, 62],
    [{ sourceIp: '2001:db8::1', destinationIp: '2001:db8::2', vlan: 7 }, 84, 66],
  ] as const) {
    for (const size of [sizeBytes, sizeBytes + 501]) {
      const memory = frameOf({ ...options, sizeBytes: size, flows: 9 }, { sequence: 2 ** 35, flow: 8 });
      const view = new PacketView();
      assert.ok(parse(memory, 0, size, view));
      assert.equal([l4ChecksumState(view), view.payloadOffset], ['good', payloadOffset]);
      assert.is(view.sourcePort, FIELDS.sourcePort + 8);
      const checker = new TestFrameChecker();
      assert.is(checker.check(memory, undefined, 0, size, payloadOffset), 'good');
      assert.equal([checker.sequence, checker.flow], [2 ** 35, 8]);
    }
    assert.throws(() => frameOf({ ...options, sizeBytes: sizeBytes - 1 }), /sizeBytes/);
  }
});

frames('the defaults are the addresses for benchmarks and the discard port', () => {
  const frame = new TestFrame({ sizeBytes: 60 });
  const memory = new Uint8Array(60);
  frame.fill(memory, 0);
  assert.is(describeFrame(memory, 60), 'IP 198.18.0.1.57344 > 198.19.0.1.9: UDP, length 18');
});

for (const [what, options, message] of [
  ['59 bytes', { sizeBytes: 59 }, /sizeBytes is 59/],
  ['a size that is text', { sizeBytes: '60' as never }, /sizeBytes is "60" \(a string\)/],
  ['more than IP carries', { sizeBytes: 70_000 }, /sizeBytes is 70000/],
  ['no flow', { flows: 0 }, /flows is 0/],
  ['more flows than ports are left', { flows: 8193 }, /8193 flows from source port 57344/],
  ['a way to spread that is none', { flowsBy: 'colour' as never }, /flowsBy is "colour"/],
] as const) {
  frames(`refuses ${what}`, () => {
    assert.throws(
      () => frameOf(options),
      (error: unknown) =>
        error instanceof NicError && error.code === 'BAD_OPTION' && message.test(error.message),
    );
  });
}

frames('the most flows that ports are left for', () => {
  assertGood(frameOf({ flows: 8192 }, { sequence: 5, flow: 8191 }), { sequence: 5, flow: 8191 });
});

frames.run();

const checks = suite('TestFrameChecker');

/** Memory with the frame at a place, and something else around it. */
function placed(frame: Uint8Array, offset: number): { bytes: Uint8Array; words: Int32Array } {
  const buffer = new ArrayBuffer((offset + frame.length + 16) & ~3);
  const bytes = new Uint8Array(buffer).fill(0x5a);
  bytes.set(frame, offset);
  return { bytes, words: new Int32Array(buffer) };
}

checks('reads what was stamped, with words and without, wherever the frame lies', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 60, max: 1514 }),
      fc.maxSafeNat(),
      fc.nat(65_535),
      fc.option(fc.maxSafeNat(), { nil: undefined }),
      fc.nat(7),
      (sizeBytes, sequence, flow, timeNs, offset) => {
        const options = {
          sizeBytes,
          flows: 65_536,
          flowsBy: 'address' as const,
          timeStamps: timeNs !== undefined,
        };
        const frame = frameOf(options, { sequence, flow, timeNs: timeNs ?? 0 });
        const { bytes, words } = placed(frame, offset);
        for (const given of [words, undefined]) {
          const checker = new TestFrameChecker();
          assert.is(checker.check(bytes, given, offset, sizeBytes), 'good');
          assert.equal([checker.sequence, checker.flow], [sequence, flow]);
          assert.is(checker.timeNs, timeNs === undefined ? -1 : Number(BigInt(timeNs) % 2n ** 32n));
        }
      },
    ),
  );
});

/** What a frame is whose byte at `place` is another: UDP's length, magic and version, fields, pattern. */
function verdictOf(place: number, change: number): string {
  if (place === 38 || place === 39) return 'bad-payload';
  if (place < 42) return 'good';
  if (place === 42 || place === 43 || (place === 44 && change >= 0x10)) return 'foreign';
  return place < 60 ? 'bad-fields' : 'bad-payload';
}

checks(
  'sees any byte of the payload that is wrong, wherever the frame lies, and nothing before or behind it',
  () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 60, max: 1514 }).chain((sizeBytes) =>
          fc.record({
            sizeBytes: fc.constant(sizeBytes),
            place: fc.oneof(fc.integer({ min: 0, max: 59 }), fc.nat(sizeBytes - 1)),
            offset: fc.nat(7),
            change: fc.integer({ min: 1, max: 255 }),
            withWords: fc.boolean(),
          }),
        ),
        ({ sizeBytes, place, offset, change, withWords }) => {
          const { bytes, words } = placed(frameOf({ sizeBytes }, { sequence: 0x1234_5678_9a }), offset);
          const checker = new TestFrameChecker();
          const given = withWords ? words : undefined;
          assert.is(checker.check(bytes, given, offset, sizeBytes), 'good');
          bytes[offset + place]! ^= change;
          assert.is(checker.check(bytes, given, offset, sizeBytes), verdictOf(place, change));
        },
      ),
      { numRuns: 1000 },
    );
  },
);

checks('takes no field for whole that no sender writes', () => {
  const checker = new TestFrameChecker();
  /** Writes bytes into the fields and mends the check byte, so that nothing but them is wrong. */
  const verdict = (at: number, ...values: number[]): string => {
    const frame = frameOf({});
    frame.set(values, at);
    frame[45] = [...frame.slice(46, 60)].reduce((xor, byte) => xor ^ byte, frame[44]!);
    return checker.check(frame, undefined, 0, 60);
  };
  assert.is(verdict(46, 0, 0x1f, 0xff, 0xff), 'good', '2^53 - 2^32');
  assert.is(verdict(46, 0, 0x20), 'bad-fields', '2^53');
  assert.is(verdict(46, 0x80), 'bad-fields', '2^63');
  assert.is(verdict(44, 0x12), 'bad-fields', 'a flag that is not defined');
  assert.is(verdict(59, 1), 'bad-fields', 'a time stamp without its flag');
  assert.is(verdict(44, 0x20), 'foreign', 'another version');
});

checks('a frame that is cut, or too short, or of somebody else', () => {
  const frame = frameOf({ sizeBytes: 100 }, { sequence: 7 });
  const { bytes, words } = placed(frame, 0);
  const checker = new TestFrameChecker();
  for (let length = 0; length < 60; length++) assert.is(checker.check(bytes, words, 0, length), 'foreign');
  for (let length = 60; length < 100; length++) {
    assert.is(checker.check(bytes, words, 0, length), 'bad-payload');
    assert.is(checker.sequence, 7);
  }
  bytes.set([(7 * 40 + 3) & 0xff], 100); // as the pattern would go on
  assert.is(checker.check(bytes, words, 0, 101), 'bad-payload');
  assert.is(
    checker.check(bytes, words, 0, bytes.length + 1),
    'foreign',
    'it would end outside of the memory',
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(9), (random, offset) => {
      fc.pre(random[42] !== 0x42 || random[43] !== 0x57);
      const memory = placed(random, offset);
      assert.is(checker.check(memory.bytes, memory.words, offset, random.length), 'foreign');
    }),
  );
});

checks('tells how long a frame was under way, also over the end of 32 bits', () => {
  const checker = new TestFrameChecker();
  for (const [sentNs, nowNs, age] of [
    [1000, 6000, 5000],
    [2 ** 32 - 10, 2 ** 32 + 90, 100],
    [123 * 2 ** 32 + 7, 123 * 2 ** 32 + 4_000_000_007, 4_000_000_000],
  ] as const) {
    const frame = frameOf({ timeStamps: true }, { sequence: 1, timeNs: sentNs });
    assert.is(checker.check(frame, undefined, 0, 60), 'good');
    assert.is(checker.ageNs(nowNs), age);
  }
});

checks.run();
