import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parsePcap } from './pcap.js';

const pcap = suite('pcap files');

/** A capture file: header (magic, 2.4, zone, accuracy, snap length, Ethernet) and records, as 32-bit words and bytes. */
function file(words: readonly (number | string)[], littleEndian: boolean): Uint8Array {
  return Buffer.concat(
    words.map((word) => {
      if (typeof word === 'string') return Buffer.from(word, 'hex');
      const bytes = Buffer.alloc(4);
      if (littleEndian) bytes.writeUInt32LE(word);
      else bytes.writeUInt32BE(word);
      return bytes;
    }),
  );
}

const HEADER = [0x00040002, 0, 0, 65535, 1];

for (const littleEndian of [true, false]) {
  pcap(`are read in ${littleEndian ? 'little' : 'big'} endian order`, () => {
    const words = [0xa1b2c3d4, ...HEADER, 7, 5, 3, 60, 'aabbcc', 8, 0, 1, 1, 'dd'];
    assert.equal(
      parsePcap(file(words, littleEndian)).map((frame) => ({ ...frame, bytes: [...frame.bytes] })),
      [
        { timeNs: 7_000_005_000n, originalLength: 60, bytes: [0xaa, 0xbb, 0xcc] },
        { timeNs: 8_000_000_000n, originalLength: 1, bytes: [0xdd] },
      ],
    );
  });
}

pcap('with nanoseconds are read as such', () => {
  const [frame] = parsePcap(file([0xa1b23c4d, ...HEADER, 7, 5, 1, 1, 'aa'], true));
  assert.is(frame!.timeNs, 7_000_000_005n);
});

pcap('lose a record that is cut off', () => {
  assert.equal(parsePcap(file([0xa1b2c3d4, ...HEADER, 7, 5, 3, 60, 'aabb'], true)), []);
  assert.equal(parsePcap(file([0xa1b2c3d4, ...HEADER, 7, 5], true)), []);
});

pcap('of another kind are refused', () => {
  assert.throws(() => parsePcap(file([0x0a0d0d0a, ...HEADER], true)), /not a pcap file/);
  assert.throws(() => parsePcap(new Uint8Array(4)), /not a pcap file/);
});

pcap.run();
