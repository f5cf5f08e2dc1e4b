/** virtio-net: checksums by the device, and those that it left out (VIRTIO 1.2, 5.1.6.2 and 5.1.6.4); on both kinds of rings. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import { RxFlag, TxFlag } from '../../../src/hugepage/packet-metadata.js';
import { expectError, expectRejection } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { F, VirtioCard } from '../../support/virtio/card.js';
import { openCard, withCard, without } from '../../support/virtio/with-card.js';

/** Addresses of the RFCs for documentation; 26 bytes of data behind the header. */
const IP = [192, 0, 2, 1, 198, 51, 100, 2] as const;
const [TCP, UDP] = [6, 17] as const;
const L2 = 14;
const L3 = 20;
const DATA = 27;

function onesSum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i % 2 === 0 ? bytes[i]! << 8 : bytes[i]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** A frame of TCP or UDP whose checksum field holds the sum of the pseudo header, or the checksum. */
function packet(protocol: typeof TCP | typeof UDP, isComplete: boolean, fill = 0x5a): Uint8Array {
  const headerBytes = protocol === TCP ? 20 : 8;
  const length = headerBytes + DATA;
  const frame = new Uint8Array(L2 + L3 + length).fill(fill, L2 + L3);
  frame.set([0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 9, 8, 0]);
  frame.set([0x45, 0, 0, L3 + length, 0, 0, 0, 0, 64, protocol, 0, 0, ...IP], L2);
  const field = L2 + L3 + (protocol === TCP ? 16 : 6);
  frame.set([0, 0], field);
  const pseudo = onesSum([...IP, 0, protocol, length >>> 8, length & 0xff]);
  frame.set([pseudo >>> 8, pseudo & 0xff], field);
  if (!isComplete) return frame;
  const sum = ~onesSum(frame.subarray(L2 + L3)) & 0xffff || 0xffff;
  frame.set([sum >>> 8, sum & 0xff], field);
  return frame;
}

interface Wish {
  readonly frame: Uint8Array;
  readonly flags: number;
  readonly l2?: number;
  readonly l3?: number;
}

function prepare(nic: NetDevice, wishes: readonly Wish[]): Uint32Array {
  const { pool } = nic;
  const bufs = new Uint32Array(wishes.length);
  assert.is(pool.allocate(bufs, bufs.length), bufs.length);
  for (const [i, { frame, flags, l2 = L2, l3 = L3 }] of wishes.entries()) {
    pool.bytes(bufs[i]!).set(frame);
    pool.lengths[bufs[i]!] = frame.length;
    pool.metadata.txFlags[bufs[i]!] = flags;
    pool.metadata.l2Bytes[bufs[i]!] = l2;
    pool.metadata.l3Bytes[bufs[i]!] = l3;
  }
  return bufs;
}

for (const [rings, features] of [
  ['split', without(F.RING_PACKED)],
  ['packed', without()],
  ['split, plain notifications', without(F.RING_PACKED, F.EVENT_IDX, F.NOTIFICATION_DATA)],
] as const) {
  const sending = suite(`virtio: sendOffloaded, ${rings}`);

  sending('the device computes what it is asked to, around the ring and among plain packets', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const [queue] = nic.txQueues;
      assert.is(nic.capabilities.txOffloads, TxFlag.TCP_CHECKSUM | TxFlag.UDP_CHECKSUM);
      const wanted: Uint8Array[] = [];
      const left: Uint8Array[] = [];
      for (let round = 0; round < 20; round++) {
        const fill = 40 + round;
        const wishes: Wish[] = [
          { frame: packet(TCP, false, fill), flags: TxFlag.TCP_CHECKSUM },
          { frame: packet(UDP, false, fill), flags: TxFlag.UDP_CHECKSUM },
          { frame: packet(TCP, true, fill), flags: 0 },
        ];
        const bufs = prepare(nic, wishes);
        assert.is(queue.sendOffloaded!(bufs, bufs.length), 3);
        wanted.push(...([TCP, UDP, TCP] as const).map((protocol) => packet(protocol, true, fill)));
        // `send` asks for nothing, whatever is left in a buffer.
        const plain = prepare(nic, [{ frame: packet(UDP, true, fill), flags: TxFlag.UDP_CHECKSUM }]);
        assert.is(queue.send(plain, 1), 1);
        wanted.push(packet(UDP, true, fill));
        left.push(...card.transmit());
      }
      assert.equal(left, wanted);
      const { txPackets, txBytes, txErrors } = nic.stats();
      assert.equal([txPackets, txErrors], [80, 0]);
      assert.is(
        txBytes,
        wanted.reduce((sum, { length }) => sum + length, 0),
      );
    });
  });

  sending('a full ring takes what fits', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const [queue] = nic.txQueues;
      const wishes = Array.from({ length: 20 }, (_, i) => ({
        frame: packet(UDP, false, i),
        flags: TxFlag.UDP_CHECKSUM,
      }));
      const bufs = prepare(nic, wishes);
      assert.is(queue.sendOffloaded!(bufs, 20), 16);
      assert.is(queue.sendOffloaded!(bufs, 4, 16), 0);
      const first = card.transmit();
      assert.is(queue.sendOffloaded!(bufs, 4, 16), 4);
      assert.equal(
        [...first, ...card.transmit()],
        wishes.map((_, i) => packet(UDP, true, i)),
      );
    });
  });

  sending('what the device cannot be asked is dropped and counted', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const [queue] = nic.txQueues;
      const frame = packet(TCP, true);
      const bad: Wish[] = [
        { frame, flags: TxFlag.IP_CHECKSUM },
        { frame, flags: TxFlag.VLAN },
        { frame, flags: TxFlag.SEGMENT | TxFlag.TCP_CHECKSUM },
        { frame, flags: TxFlag.TCP_CHECKSUM | TxFlag.UDP_CHECKSUM },
        { frame, flags: TxFlag.TCP_CHECKSUM, l3: frame.length - L2 - 17 },
        { frame, flags: TxFlag.UDP_CHECKSUM, l2: 255, l3: 60_000 },
        { frame: frame.subarray(0, 13), flags: 0 },
      ];
      const { available } = nic.pool;
      const bufs = prepare(nic, bad);
      assert.is(queue.sendOffloaded!(bufs, bufs.length), bad.length);
      assert.is(queue.sendOffloaded!(Uint32Array.of(nic.pool.capacity, 0xffff_ffff), 2), 2);
      assert.equal(card.transmit(), []);
      assert.is(nic.stats().txErrors, bad.length + 2);
      assert.is(nic.pool.available, available);
      const last = prepare(nic, [{ frame, flags: TxFlag.TCP_CHECKSUM, l3: frame.length - L2 - 18 }]);
      assert.is(queue.sendOffloaded!(last, 1), 1, 'a field that is just in the packet');
      assert.is(card.transmit().length, 1);
    });
  });

  sending('a device without CSUM has none', async () => {
    await withCard({ features: features.filter((bit) => bit !== F.CSUM) }, {}, (_card, nic) => {
      assert.is(nic.capabilities.txOffloads, 0);
      assert.is(nic.txQueues[0].sendOffloaded, undefined);
    });
  });

  sending('a closed device says so', async () => {
    const nic = await openCard(new VirtioCard({ features }), { pageSize: '4K' });
    const send = nic.txQueues[0].sendOffloaded!;
    await nic.close();
    expectError('CLOSED', () => send(new Uint32Array(1), 1));
  });

  sending.run();

  const receiving = suite(`virtio: rxMetadata, ${rings}`);
  const header = (flags: number, start = 0, offset = 0): number[] => {
    const bytes = [flags, 0, 0, 0, 0, 0, start & 0xff, start >>> 8, offset & 0xff, offset >>> 8];
    return bytes;
  };
  /** What a queue hands over, and the flags beside it. */
  const take = (nic: NetDevice): [Uint8Array, number][] => {
    const bufs = new Uint32Array(16);
    const count = nic.rxQueues[0].receive(bufs);
    const { pool } = nic;
    const got = Array.from(bufs.subarray(0, count), (buffer): [Uint8Array, number] => [
      pool.bytes(buffer).slice(0, pool.lengths[buffer]),
      pool.metadata.rxFlags[buffer]!,
    ]);
    pool.release(bufs, count);
    return got;
  };
  const metadata = { rxMetadata: true };

  receiving('is the only reason to accept frames without a checksum', async () => {
    await withCard({ features }, {}, (card) => assert.not(card.accepted.has(F.GUEST_CSUM)));
    await withCard({ features }, metadata, (card, nic) => {
      assert.ok(card.accepted.has(F.GUEST_CSUM));
      assert.is(nic.capabilities.rxMetadata, true);
    });
    const card = new VirtioCard({ features: features.filter((bit) => bit !== F.GUEST_CSUM) });
    const error = await expectRejection('BAD_OPTION', openCard(card, metadata), /does not offer rxMetadata/);
    assert.ok(error.hint);
  });

  receiving('a checksum that was left out is completed; one that was checked is told', async () => {
    await withCard({ features }, metadata, (card, nic) => {
      const [queue] = card.queues;
      const frames = [packet(TCP, false), packet(UDP, false), packet(TCP, true), packet(UDP, true)] as const;
      queue!.receive(frames[0], header(1, L2 + L3, 16));
      queue!.receive(frames[1], header(1, L2 + L3, 6));
      queue!.receive(frames[2], header(2));
      queue!.receive(frames[3], header(0));
      assert.equal(take(nic), [
        [packet(TCP, true), RxFlag.L4_CHECKED],
        [packet(UDP, true), RxFlag.L4_CHECKED],
        [packet(TCP, true), RxFlag.L4_CHECKED],
        [packet(UDP, true), 0],
      ]);
    });
  });

  receiving('a UDP checksum of 0 is sent as all ones (RFC 768)', async () => {
    await withCard({ features }, metadata, (card, nic) => {
      const frame = packet(UDP, false, 0);
      // The data makes the sum come out at all ones.
      const rest = ~onesSum(frame.subarray(L2 + L3)) & 0xffff;
      frame.set([rest >>> 8, rest & 0xff], L2 + L3 + 8);
      card.queues[0]!.receive(frame, header(1, L2 + L3, 6));
      const [[got]] = take(nic) as [[Uint8Array, number]];
      assert.equal([...got.subarray(L2 + L3 + 6, L2 + L3 + 8)], [0xff, 0xff]);
    });
  });

  receiving('whatever a header says, no byte outside the frame is touched, and counters add up', async () => {
    await withCard({ features }, { ...metadata, rxRingSize: 16 }, (card, nic) => {
      const { pool } = nic;
      let [good, bad] = [0, 0];
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 255 }),
          fc.oneof(fc.nat(100), fc.nat(0xffff)),
          fc.oneof(fc.nat(100), fc.nat(0xffff)),
          (flags, start, offset) => {
            const frame = packet(TCP, true);
            const before = pool.memory.slice();
            card.queues[0]!.receive(frame, header(flags, start, offset));
            const isBad = (flags & 1) === 1 && start + offset + 2 > frame.length;
            const bufs = new Uint32Array(4);
            const count = nic.rxQueues[0].receive(bufs);
            assert.is(count, isBad ? 0 : 1);
            isBad ? bad++ : good++;
            if (count === 1) {
              const at = (bufs[0]! << pool.bufferShift) + pool.headroomBytes;
              const behind = pool.memory.subarray(at + frame.length);
              assert.ok(
                Buffer.compare(behind, before.subarray(at + frame.length)) === 0,
                'nothing behind it',
              );
            }
            pool.release(bufs, count);
            const { rxPackets, rxDamaged, rxBytes } = nic.stats();
            assert.equal([rxPackets, rxDamaged, rxBytes], [good, bad, good * frame.length]);
          },
        ),
        { numRuns: 60 },
      );
    });
  });

  receiving('without the option headers mean nothing', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const frame = packet(TCP, false);
      card.queues[0]!.receive(frame, header(1, L2 + L3, 16));
      assert.equal(take(nic)[0]![0], frame);
    });
  });

  receiving.run();
}
