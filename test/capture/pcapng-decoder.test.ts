/** The block format: sections, interfaces, time units, blocks of all kinds, and files that are cut or damaged. */
import * as assert from 'uvu/assert';
import { type CapturedFrame, CaptureReader } from '../../src/capture/capture-reader.js';
import { NicError } from '../../src/errors.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import {
  block,
  inPieces,
  interfaceBlock,
  option,
  packetBlock,
  sectionHeader,
  someFrame,
  words,
} from './make-capture.js';

const pcapng = suite('pcapng: reading');

const TSRESOL = 9;
const FCSLEN = 13;
const TSOFFSET = 14;
const SECOND_NS = 1_000_000_000n;

const whole = (...parts: readonly Uint8Array[]) => inPieces(Buffer.concat(parts), [1 << 20]);

async function readAll(bytes: Uint8Array): Promise<{ frames: CapturedFrame[]; error: NicError | undefined }> {
  const frames: CapturedFrame[] = [];
  try {
    for await (const frame of await CaptureReader.open(whole(bytes), 'it')) frames.push(frame);
  } catch (error) {
    assert.instance(error, NicError);
    return { frames, error: error as NicError };
  }
  return { frames, error: undefined };
}

for (const littleEndian of [true, false]) {
  pcapng(`${littleEndian ? 'little' : 'big'} endian: interfaces with their own time units`, async () => {
    const nanoseconds = option(TSRESOL, Uint8Array.of(9), littleEndian);
    const later = option(TSOFFSET, words(littleEndian ? [100, 0] : [0, 100], littleEndian), littleEndian);
    const binary = option(TSRESOL, Uint8Array.of(0x80 | 10), littleEndian);
    const picoseconds = option(TSRESOL, Uint8Array.of(12), littleEndian);
    const time = 1_700_000_000n;
    const frames = await readFrames(
      whole(
        sectionHeader(littleEndian),
        interfaceBlock({ littleEndian }),
        interfaceBlock({ littleEndian, options: [nanoseconds] }),
        packetBlock(someFrame(61, 1), time * 1_000_000n + 7n, { littleEndian }),
        packetBlock(someFrame(62, 2), time * SECOND_NS + 123_456_789n, { littleEndian, interface: 1 }),
        interfaceBlock({ littleEndian, options: [nanoseconds, later] }),
        interfaceBlock({ littleEndian, options: [binary] }),
        interfaceBlock({ littleEndian, options: [picoseconds] }),
        packetBlock(someFrame(63, 3), time * SECOND_NS + 1n, {
          littleEndian,
          interface: 2,
          originalBytes: 99,
        }),
        packetBlock(someFrame(64, 4), time * 1024n + 512n, { littleEndian, interface: 3 }),
        packetBlock(someFrame(65, 5), 18_000_000n * 10n ** 12n + 5_001n, { littleEndian, interface: 4 }),
      ),
    );
    assert.equal(frames, [
      { bytes: someFrame(61, 1), originalBytes: 61, timeNs: time * SECOND_NS + 7000n, linkType: 1 },
      { bytes: someFrame(62, 2), originalBytes: 62, timeNs: time * SECOND_NS + 123_456_789n, linkType: 1 },
      { bytes: someFrame(63, 3), originalBytes: 99, timeNs: (time + 100n) * SECOND_NS + 1n, linkType: 1 },
      { bytes: someFrame(64, 4), originalBytes: 64, timeNs: time * SECOND_NS + 500_000_000n, linkType: 1 },
      { bytes: someFrame(65, 5), originalBytes: 65, timeNs: 18_000_000n * SECOND_NS + 5n, linkType: 1 },
    ]);
  });
}

pcapng('every nanosecond is exact', async () => {
  const nanoseconds = option(TSRESOL, Uint8Array.of(9));
  const times = Array.from(
    { length: 2000 },
    (_, i) => 1_700_000_000n * SECOND_NS + BigInt(i) * 499_999n + BigInt(i),
  );
  const parts = times.map((time) => packetBlock(someFrame(14), time));
  const frames = await readFrames(
    whole(sectionHeader(), interfaceBlock({ options: [nanoseconds] }), ...parts),
  );
  assert.equal(
    frames.map(({ timeNs }) => timeNs),
    times,
  );
});

pcapng('sections one after the other, of either byte order, each with its own interfaces', async () => {
  const frames = await readFrames(
    whole(
      sectionHeader(true),
      interfaceBlock(),
      packetBlock(someFrame(60, 1), 1n),
      sectionHeader(false),
      interfaceBlock({ littleEndian: false, linkType: 113 }),
      packetBlock(someFrame(60, 2), 2n, { littleEndian: false }),
    ),
  );
  assert.equal(
    frames.map(({ timeNs, linkType }) => [timeNs, linkType]),
    [
      [1000n, 1],
      [2000n, 113],
    ],
  );
  const { error } = await readAll(
    Buffer.concat([sectionHeader(), interfaceBlock(), sectionHeader(), packetBlock(someFrame(60), 1n)]),
  );
  assert.match(error!.message, 'names interface 0, which was not described');
});

pcapng('simple and obsolete packet blocks', async () => {
  const simple = (original: number, data: Uint8Array): Buffer =>
    block(3, Buffer.concat([words([original], true), data]));
  const obsolete = block(2, Buffer.concat([words([0xffff0000, 0, 5, 60, 70], true), someFrame(60, 3)]));
  const frames = await readFrames(
    whole(
      sectionHeader(),
      interfaceBlock({ snapBytes: 80 }),
      simple(62, someFrame(62, 1)),
      simple(1514, someFrame(80, 2)),
      obsolete,
    ),
  );
  assert.equal(
    frames.map(({ bytes, originalBytes, timeNs }) => [bytes, originalBytes, timeNs]),
    [
      [someFrame(62, 1), 62, 0n],
      [someFrame(80, 2), 1514, 0n],
      [someFrame(60, 3), 70, 5000n],
    ],
  );
});

pcapng('other blocks are passed over, however long', async () => {
  const frames = await readFrames(
    inPieces(
      Buffer.concat([
        sectionHeader(),
        block(5, Buffer.alloc(0)),
        interfaceBlock({ options: [option(2, Buffer.from('eth0')), option(0, Buffer.alloc(0))] }),
        block(0x0bad, Buffer.alloc(2_000_000)),
        packetBlock(someFrame(61), 1n, { options: [option(1, Buffer.alloc(700, 0x61))] }),
        block(4, Buffer.alloc(40)),
        packetBlock(someFrame(62), 2n),
      ]),
      [5, 70_000],
    ),
  );
  assert.equal(
    frames.map(({ bytes }) => bytes.length),
    [61, 62],
  );
});

pcapng('a frame check sequence is taken off where the interface has one, in bits or bytes', async () => {
  for (const length of [32, 4]) {
    const fcs = option(FCSLEN, Uint8Array.of(length));
    const [frame] = await readFrames(
      whole(sectionHeader(), interfaceBlock({ options: [fcs] }), packetBlock(someFrame(64), 0n)),
    );
    assert.equal(frame!.bytes, someFrame(64).slice(0, 60));
    assert.is(frame!.originalBytes, 60);
  }
});

pcapng('a file that is cut at any byte gives its whole frames, then says where it ends', async () => {
  const parts = [
    sectionHeader(),
    interfaceBlock({ options: [option(TSRESOL, Uint8Array.of(9))] }),
    packetBlock(someFrame(21, 1), 1n),
    block(77, Buffer.alloc(9)),
    packetBlock(someFrame(30, 2), 2n, { options: [option(1, Buffer.from('!'))] }),
  ];
  const file = Buffer.concat(parts);
  const borders = parts.map((_, i) => Buffer.concat(parts.slice(0, i + 1)).length);
  // Header of 28 bytes, then the data.
  const dataEnds = [borders[1]! + 28 + 21, borders[3]! + 28 + 30];
  for (let length = 28; length <= file.length; length++) {
    const { frames, error } = await readAll(file.subarray(0, length));
    assert.is(frames.length, dataEnds.filter((end) => end <= length).length, `${length} bytes`);
    if (borders.includes(length)) assert.is(error, undefined, `${length} bytes`);
    else {
      const from = borders.filter((border) => border <= length).at(-1);
      assert.match(
        error!.message,
        `it ends inside a block, at byte ${length}: the block begins at byte ${from}`,
      );
    }
  }
});

const damaged: readonly (readonly [string, readonly Buffer[], string])[] = [
  [
    'a trailer that differs',
    [Buffer.concat([block(7, Buffer.alloc(8)).subarray(0, 16), words([24], true)])],
    'has 20 bytes, or 24 after its end',
  ],
  ['a length that is no multiple of 4', [words([7, 21, 0, 0, 0], true)], 'has a length of 21'],
  ['a length below 12', [words([7, 8, 0, 0, 0], true)], 'has a length of 8'],
  [
    'an interface that was not described',
    [packetBlock(someFrame(60), 0n, { interface: 1 })],
    'names interface 1, which was not described',
  ],
  [
    'a frame longer than its block',
    [block(6, words([0, 0, 0, 100, 100, 1, 2, 3], true))],
    'of 44 bytes claims a frame of 100 bytes',
  ],
  [
    'a frame longer than frames are',
    [Buffer.concat([words([6, 400_032, 0, 0, 0, 300_000, 300_000], true), Buffer.alloc(400_004)])],
    'of 400032 bytes claims a frame of 300000 bytes',
  ],
  [
    'an interface described at length',
    [block(1, Buffer.alloc(70_000))],
    'describes an interface in 70012 bytes',
  ],
  ['another version', [sectionHeader(true, 2)], 'has version 2 of the pcapng format, not 1'],
  ['a section of no byte order', [block(0x0a0d0d0a, Buffer.alloc(16))], 'has no byte order magic'],
];

for (const [what, parts, says] of damaged) {
  pcapng(`${what}: what precedes it is read, and it is named`, async () => {
    const before = [sectionHeader(), interfaceBlock(), packetBlock(someFrame(60), 0n)];
    const { frames, error } = await readAll(
      Buffer.concat([...before, ...parts, packetBlock(someFrame(60), 0n)]),
    );
    assert.is(frames.length, 1);
    assert.is(error!.code, 'BAD_FILE');
    const offset = Buffer.concat(before).length;
    assert.is(error!.message, `it is damaged: the block at byte ${offset} ${says}`);
  });
}

pcapng('a header that is wrong is an error of opening', async () => {
  for (const [bytes, says] of [
    [sectionHeader(true, 2), 'has version 2'],
    [sectionHeader().subarray(0, 20), 'too short for a pcapng file'],
  ] as const) {
    try {
      await CaptureReader.open(whole(bytes), 'it');
      assert.unreachable('it was taken');
    } catch (error) {
      assert.is((error as NicError).code, 'BAD_OPTION');
      assert.match((error as NicError).message, says);
    }
  }
});

pcapng('a simple packet without an interface', async () => {
  const { error } = await readAll(Buffer.concat([sectionHeader(), block(3, words([4, 0], true))]));
  assert.match(error!.message, 'is of an interface that was not described');
});

pcapng.run();
