/** Sizes, offsets and bits against the numbers in the datasheets, and the RSS key and table. */
import * as assert from 'uvu/assert';
import * as igb from '../../../src/driver/igb/registers.js';
import * as descriptor from '../../../src/driver/intel/descriptors.js';
import { RingMemory } from '../../../src/driver/intel/rings.js';
import { RSS_FIELDS, redirectionTable, rssKeyWords } from '../../../src/driver/intel/rss.js';
import * as ixgbe from '../../../src/driver/ixgbe/registers.js';
import type { RegisterFile } from '../../../src/driver/register-file.js';
import { RSS_KEY, SYMMETRIC_RSS_KEY } from '../../../src/driver/rss-key.js';
import { FakeMapper } from '../../support/fake-mapper.js';
import { suite } from '../../support/suite.js';

const layout = suite('advanced descriptors');

layout('16 bytes, four words', () => {
  assert.is(descriptor.DESCRIPTOR_BYTES, 16);
  assert.is(4 << descriptor.DESCRIPTOR_WORD_SHIFT, 16);
});

layout('bits (82599 datasheet 7.1.6.2, 7.2.3.2.3, 7.2.3.2.4)', () => {
  const { ...bits } = descriptor;
  const expected: Partial<Record<keyof typeof bits, number>> = {
    RX_STATUS_WORD: 2,
    RX_LENGTH_WORD: 3,
    RX_DD: 0x1,
    RX_EOP: 0x2,
    RX_VP: 0x8,
    RX_L4CS: 0x20,
    RX_IPCS: 0x40,
    RX_RSS_TYPE_MASK: 0xf,
    TX_COMMAND_WORD: 2,
    TX_STATUS_WORD: 3,
    TX_DTYP_DATA: 0x0030_0000,
    TX_DTYP_CONTEXT: 0x0020_0000,
    TX_EOP: 0x0100_0000,
    TX_IFCS: 0x0200_0000,
    TX_RS: 0x0800_0000,
    TX_DEXT: 0x2000_0000,
    TX_VLE: 0x4000_0000,
    TX_DD: 0x1,
    TX_CC: 0x80,
    TX_IXSM: 0x100,
    TX_TXSM: 0x200,
    TX_TUCMD_IPV4: 0x400,
    TX_TUCMD_TCP: 0x800,
    TX_PAYLEN_SHIFT: 14,
    TX_MIN_FRAME_BYTES: 17,
  };
  for (const [name, value] of Object.entries(expected)) {
    assert.is(bits[name as keyof typeof bits], value, name);
  }
});

layout('rings: receive first, on pages of their own, all ones before they are set up', () => {
  const rings = new RingMemory({ queuePairs: 3, rxRingSize: 64, txRingSize: 512, pageSize: '4K' });
  const all = [...rings.rx, ...rings.tx];
  const ends = all.map(({ offset, sizeBytes }) => offset + sizeBytes);
  for (const [i, ring] of all.entries()) {
    assert.is(ring.offset % 4096, 0);
    assert.is(ring.sizeBytes, (i < 3 ? 64 : 512) * 16);
    assert.is(ring.words.byteLength, ring.sizeBytes);
    assert.ok(i === 0 || ring.offset >= ends[i - 1]!);
    assert.ok(ring.words.every((word) => word === -1));
  }
  assert.ok(ends.at(-1)! <= rings.region.sizeBytes);
  const mapper = new FakeMapper();
  rings.region.mapInto(mapper);
  const [base] = mapper.mapped.keys();
  for (const ring of all) {
    const written = new Map<number, number>();
    const registers = { write: (offset: number, value: number) => written.set(offset, value) };
    rings.assign(registers as unknown as RegisterFile, 0x1000, ring);
    // 82599, 8.2.3.8.1 to 8.2.3.8.5: base address low and high, length in bytes, head, tail.
    const [low, high, ...rest] = [0x1000, 0x1004, 0x1008, 0x1010, 0x1018].map(
      (offset) => written.get(offset)!,
    );
    assert.is((BigInt(high!) << 32n) | BigInt(low!), base! + BigInt(ring.offset));
    assert.equal(rest, [ring.sizeBytes, 0, 0]);
    assert.is(written.size, 5);
  }
  rings.region.close();
});

layout.run();

const rss = suite('receive side scaling');

rss('the key of Microsoft’s verification suite, as bytes and as register words', () => {
  assert.is(
    Buffer.from(RSS_KEY).toString('hex'),
    '6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa',
  );
  assert.is(rssKeyWords(false).length, 10);
  assert.is(rssKeyWords(false)[0], 0xda56_5a6d);
  assert.is(rssKeyWords(true)[0], 0x5a6d_5a6d);
});

/** The Toeplitz hash, bit by bit. */
function toeplitz(key: Uint8Array, bytes: readonly number[]): number {
  let result = 0;
  let window = BigInt(`0x${Buffer.from(key).toString('hex')}`);
  const width = BigInt(key.length * 8);
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      if (((byte >>> bit) & 1) === 1) result ^= Number((window >> (width - 32n)) & 0xffff_ffffn);
      window = (window << 1n) & ((1n << width) - 1n);
    }
  }
  return result >>> 0;
}

rss('the symmetric key gives both directions of a flow one hash, and spreads flows', () => {
  const here = [198, 18, 0, 1];
  const there = [198, 19, 0, 1];
  const hashOf = (...parts: number[][]): number => toeplitz(SYMMETRIC_RSS_KEY, parts.flat());
  const entries = new Set<number>();
  for (let flow = 0; flow < 64; flow++) {
    const port = [0xe0, flow];
    const hash = hashOf(here, there, port, [0, 9]);
    assert.is(hashOf(there, here, [0, 9], port), hash);
    entries.add(hash & 1);
    assert.is.not(
      toeplitz(RSS_KEY, [there, here, [0, 9], port].flat()),
      toeplitz(RSS_KEY, [here, there, port, [0, 9]].flat()),
    );
  }
  assert.is(entries.size, 2);
});

rss('the key gives the published hashes', () => {
  // Microsoft, "Verifying the RSS Hash Calculation": source, destination, ports; with TCP, with IPv4 only.
  const hash = (...bytes: number[]): number => toeplitz(RSS_KEY, bytes);
  const addresses = [66, 9, 149, 187, 161, 142, 100, 80];
  assert.is(hash(...addresses), 0x323e_8fc2);
  assert.is(hash(...addresses, 2794 >>> 8, 2794 & 0xff, 1766 >>> 8, 1766 & 0xff), 0x51cc_c178);
});

for (const queues of [1, 2, 3, 8, 16]) {
  rss(`the table spreads over ${queues} queue(s)`, () => {
    const entries = [...new Uint8Array(redirectionTable(queues).buffer)];
    assert.is(entries.length, 128);
    for (let q = 0; q < queues; q++) {
      const share = entries.filter((entry) => entry === q).length;
      assert.ok(share >= Math.floor(128 / queues) && share <= Math.ceil(128 / queues), `queue ${q}`);
    }
  });
}

rss('fields: TCP and UDP over IPv4 and IPv6, and IPv4, IPv6 alone', () => {
  assert.is(RSS_FIELDS, 0x00f3_0000);
});

rss.run();

const offsets = suite('register offsets');

offsets('82576 (datasheet 8.1.3), queue registers by queue', () => {
  assert.equal(
    [igb.CTRL, igb.STATUS, igb.EECD, igb.MDIC, igb.RCTL, igb.TCTL, igb.GPIE, igb.EIMS, igb.EIMC, igb.EICR],
    [0x0, 0x8, 0x10, 0x20, 0x100, 0x400, 0x1514, 0x1524, 0x1528, 0x1580],
  );
  assert.equal(
    [igb.ICR, igb.IMC, igb.EIAC, igb.EIAM, igb.SWSM, igb.SW_FW_SYNC],
    [0x1500, 0x150c, 0x152c, 0x1530, 0x5b50, 0x5b5c],
  );
  assert.equal([igb.rdbal(1), igb.rdt(3), igb.rxdctl(15), igb.srrctl(2)], [0xc040, 0xc0d8, 0xc3e8, 0xc08c]);
  assert.equal([igb.tdbal(1), igb.tdt(3), igb.txdctl(15)], [0xe040, 0xe0d8, 0xe3e8]);
  assert.equal(
    [igb.ivar(0), igb.ivar(7), igb.ivar(8), igb.ivarRxShift(7), igb.ivarRxShift(8)],
    [0x1700, 0x171c, 0x1700, 0, 16],
  );
  assert.equal(
    [igb.ral(0), igb.rah(0), igb.mta(127), igb.MRQC, igb.RETA, igb.RSSRK],
    [0x5400, 0x5404, 0x53fc, 0x5818, 0x5c00, 0x5c80],
  );
  assert.equal(
    [igb.GPRC, igb.GPTC, igb.GORCL, igb.GORCH, igb.GOTCL, igb.GOTCH, igb.MPC],
    [0x4074, 0x4080, 0x4088, 0x408c, 0x4090, 0x4094, 0x4010],
  );
});

offsets('82599 (datasheet 8.2.2), queue registers by queue', () => {
  assert.equal(
    [ixgbe.CTRL, ixgbe.STATUS, ixgbe.CTRL_EXT, ixgbe.EEC, ixgbe.EIMC, ixgbe.EIMS, ixgbe.EICR, ixgbe.GPIE],
    [0x0, 0x8, 0x18, 0x1_0010, 0x888, 0x880, 0x800, 0x898],
  );
  assert.equal(
    [ixgbe.rdbal(1), ixgbe.rdt(3), ixgbe.rxdctl(15), ixgbe.srrctl(2)],
    [0x1040, 0x10d8, 0x13e8, 0x1094],
  );
  assert.equal([ixgbe.tdbal(1), ixgbe.tdt(3), ixgbe.txdctl(15)], [0x6040, 0x60d8, 0x63e8]);
  assert.equal(
    [ixgbe.ral(0), ixgbe.rah(0), ixgbe.RXCTRL, ixgbe.FCTRL, ixgbe.HLREG0, ixgbe.DMATXCTL],
    [0xa200, 0xa204, 0x3000, 0x5080, 0x4240, 0x4a80],
  );
  assert.equal(
    [ixgbe.GPRC, ixgbe.GPTC, ixgbe.GORCL, ixgbe.GORCH, ixgbe.GOTCL, ixgbe.GOTCH],
    [0x4074, 0x4080, 0x4088, 0x408c, 0x4090, 0x4094],
  );
});

offsets.run();
