/** The classic format: byte orders, resolutions, and what a file looks like that is cut or damaged. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ByteWindow } from '../../src/capture/byte-window.js';
import { type CapturedFrame, CaptureReader } from '../../src/capture/capture-reader.js';
import { PcapDecoder } from '../../src/capture/pcap-decoder.js';
import { NicError } from '../../src/errors.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { inPieces, type PcapOptions, pcapFile, type Record, someFrame, words } from './make-capture.js';

const pcap = suite('pcap: reading');

const whole = (bytes: Uint8Array) => inPieces(bytes, [1 << 20]);

/** Frames up to the fault, and the fault. */
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

const RECORDS: readonly Record[] = [
  { bytes: someFrame(60, 1), seconds: 1_700_000_000, fraction: 123_456 },
  { bytes: someFrame(61, 2), seconds: 1_700_000_001, fraction: 0, originalBytes: 1514 },
  { bytes: someFrame(0), seconds: 0xffffffff, fraction: 999_999 },
];

for (const littleEndian of [true, false]) {
  for (const nanoseconds of [true, false]) {
    const options: PcapOptions = { littleEndian, nanoseconds };
    pcap(`${littleEndian ? 'little' : 'big'} endian, ${nanoseconds ? 'nano' : 'micro'}seconds`, async () => {
      const frames = await readFrames(whole(pcapFile(RECORDS, options)));
      const unit = nanoseconds ? 1n : 1000n;
      assert.equal(
        frames,
        RECORDS.map(({ bytes, seconds, fraction, originalBytes }) => ({
          bytes,
          originalBytes: originalBytes ?? bytes.length,
          timeNs: BigInt(seconds!) * 1_000_000_000n + BigInt(fraction!) * unit,
          linkType: 1,
        })),
      );
    });
  }
}

pcap('the records of a patched libpcap', async () => {
  const expected = await readFrames(whole(pcapFile(RECORDS)));
  for (const littleEndian of [true, false]) {
    const bytes = pcapFile(RECORDS, { patched: true, littleEndian });
    assert.equal(await readFrames(whole(bytes)), expected);
    const { frames, error } = await readAll(bytes.subarray(0, bytes.length - 10));
    assert.is(frames.length, 2);
    assert.match(error!.message, /record 3, from byte 193, has 14 of the 24 bytes of its header/);
  }
});

pcap('however the bytes come in pieces, the frames are the same', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ length: fc.nat(3000), seconds: fc.nat(), fraction: fc.nat(999_999) }), {
        maxLength: 20,
      }),
      fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 20 }),
      async (shapes, sizes) => {
        const records = shapes.map(({ length, ...time }, i) => ({ bytes: someFrame(length, i), ...time }));
        const frames = await readFrames(inPieces(pcapFile(records), sizes));
        assert.equal(
          frames.map(({ bytes }) => bytes),
          records.map(({ bytes }) => bytes),
        );
      },
    ),
    { numRuns: 60 },
  );
});

pcap('a file that is cut at any byte gives its whole frames, then says where it ends', async () => {
  const records = [someFrame(20, 1), someFrame(3, 2), someFrame(31, 3)].map((bytes) => ({ bytes }));
  const file = pcapFile(records);
  const ends = records.map((_, i) => pcapFile(records.slice(0, i + 1)).length);
  for (let length = 0; length <= file.length; length++) {
    const { frames, error } = await readAll(file.subarray(0, length));
    const complete = ends.filter((end) => end <= length);
    assert.equal(
      frames.map(({ bytes }) => bytes),
      records.slice(0, complete.length).map(({ bytes }) => bytes),
      `${length} bytes`,
    );
    if (length === 24 || complete.at(-1) === length) assert.is(error, undefined, `${length} bytes`);
    else if (length === 0) assert.match(error!.message, /^it is empty$/);
    else if (length < 4) assert.match(error!.message, /^it is not a capture$/);
    else if (length < 24) assert.match(error!.message, `it is too short for a pcap file: ${length} bytes`);
    else {
      const begin = complete.at(-1) ?? 24;
      assert.is(error!.code, 'BAD_FILE');
      assert.is(error!.path, 'it');
      assert.match(
        error!.message,
        `it ends inside a record, at byte ${length}: record ${complete.length + 1}, from byte ${begin},`,
      );
    }
  }
});

pcap('a length that no frame has is damage, not an early end', async () => {
  const good = { bytes: someFrame(60) };
  const file = Buffer.concat([
    pcapFile([good]),
    words([0, 0, 262_145, 262_145], true),
    Buffer.alloc(300_000),
  ]);
  const { frames, error } = await readAll(file);
  assert.is(frames.length, 1);
  assert.is(error!.code, 'BAD_FILE');
  assert.match(error!.message, 'it is damaged: record 2, at byte 100, claims to have 262145 bytes');
});

pcap('the longest frame passes', async () => {
  const bytes = someFrame(262_144);
  const [first, second] = await readFrames(whole(pcapFile([{ bytes }, { bytes }])));
  assert.equal(first!.bytes, bytes);
  assert.equal(second!.bytes, bytes);
});

pcap('a length on the wire below the captured one is not believed', async () => {
  const [frame] = await readFrames(whole(pcapFile([{ bytes: someFrame(60), originalBytes: 0 }])));
  assert.is(frame!.originalBytes, 60);
});

pcap('a frame check sequence is taken off where the file says that there is one', async () => {
  // Bit 26, and two words of 16 bits.
  const network = 0x24000001;
  const records = [
    { bytes: someFrame(64) },
    { bytes: someFrame(62), originalBytes: 64 },
    { bytes: someFrame(40), originalBytes: 64 },
    { bytes: someFrame(2) },
  ];
  const frames = await readFrames(whole(pcapFile(records, { network })));
  assert.equal(
    frames.map(({ bytes, originalBytes, linkType }) => [bytes.length, originalBytes, linkType]),
    [
      [60, 60, 1],
      [60, 60, 1],
      [40, 60, 1],
      [0, 0, 1],
    ],
  );
});

pcap('the link type is known from the beginning', async () => {
  const reader = await CaptureReader.open(whole(pcapFile([], { network: 113 })));
  assert.is(reader.linkType, 113);
  assert.is(reader.format, 'pcap');
  await reader.close();
});

pcap('another version is refused, with its number', async () => {
  const { error } = await readAll(pcapFile([], { version: [3, 1] }));
  assert.is(error!.code, 'BAD_OPTION');
  assert.match(error!.message, 'it has version 3.1 of the pcap format, not 2.4');
});

pcap('places in a file beyond 4 GiB are right', () => {
  const offset = 6 * 2 ** 30;
  const window = new ByteWindow(offset);
  const decoder = new PcapDecoder();
  const header = pcapFile([]);
  const put = (bytes: Uint8Array): void => {
    window.space().set(bytes);
    window.end += bytes.length;
  };
  put(header);
  assert.ok(decoder.begin(window));
  put(pcapFile([{ bytes: someFrame(60) }]).subarray(24));
  assert.ok(decoder.next(window));
  put(Buffer.alloc(5));
  assert.not(decoder.next(window));
  assert.match(decoder.unfinished(window)!, `at byte ${offset + 105}: record 2, from byte ${offset + 100},`);
});

pcap.run();
