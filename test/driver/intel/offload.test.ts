/** What receive descriptors tell of a packet, and what the hardware is asked to do to one (82599, 7.1.6.2, 7.2.3.2). */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { TX_BYTES, TX_ERRORS, TX_PACKETS } from '../../../src/driver/intel/tx-queue.js';
import { headerLengths, RxFlag, TxFlag } from '../../../src/hugepage/packet-pool.js';
import { QueueRig, withRig } from '../../support/queue-rig.js';
import type { Offload } from '../../support/ring-device.js';

const receiving = suite('receive metadata');

const metadata = { ipErrorShift: 31, l4ErrorShift: 30 };
const GOOD = 0x3;
// 7.1.6.2: VP 3, L4I 5, IPCS 6; errors IPE 31, L4E 30.
const [VP, L4CS, IPCS, L4E, IPE] = [1 << 3, 1 << 5, 1 << 6, 1 << 30, 1 << 31];

for (const [name, bits, flags] of [
  ['nothing', 0, 0],
  ['a VLAN tag', VP, RxFlag.VLAN],
  ['good checksums', IPCS | L4CS, RxFlag.IP_CHECKED | RxFlag.L4_CHECKED],
  ['a bad IP checksum', IPCS | IPE, RxFlag.IP_CHECKED | RxFlag.IP_BAD],
  ['a bad TCP checksum', IPCS | L4CS | L4E, RxFlag.IP_CHECKED | RxFlag.L4_CHECKED | RxFlag.L4_BAD],
  ['error bits of what was not checked', IPE | L4E, 0],
] as const) {
  receiving(
    `${name}, and the RSS hash`,
    withRig({ metadata, errorMask: 0x3b00_0000 }, (rig) => {
      const { rx, rxDevice, pool, bufs } = rig;
      rxDevice.receive({ frame: rig.frame(60), status: GOOD | bits });
      assert.is(rx.receive(bufs), 1);
      const buffer = bufs[0]!;
      // The device writes RSS type 3, hash 0xfeedbeef and tag 0xa5a5 with every frame.
      assert.is(pool.rxFlags[buffer], flags | RxFlag.RSS_HASH);
      assert.is(pool.rssHashes[buffer], 0xfeed_beef);
      assert.is(pool.vlanTags[buffer], 0xa5a5);
      assert.is(pool.lengths[buffer], 60);
    }),
  );
}

receiving(
  'without the option nothing is written',
  withRig({}, (rig) => {
    rig.pool.rxFlags.fill(0x80);
    rig.rxDevice.receive({ frame: rig.frame(60), status: GOOD | VP });
    assert.is(rig.rx.receive(rig.bufs), 1);
    assert.is(rig.pool.rxFlags[rig.bufs[0]!], 0x80);
  }),
);

receiving.run();

const sending = suite('sendOffloaded');

interface Wish {
  readonly flags: number;
  readonly vlan: number;
  readonly headers: readonly [number, number];
}

const PLAIN: Wish = { flags: 0, vlan: 0, headers: [0, 0] };
const tagged = (vlan: number): Wish => ({ flags: TxFlag.VLAN, vlan, headers: [14, 20] });

/** Takes a buffer for each wish and notes it. */
function prepare(rig: QueueRig, wishes: readonly Wish[]): Uint32Array {
  const bufs = rig.allocate(wishes.length);
  for (const [i, { flags, vlan, headers }] of wishes.entries()) {
    rig.pool.txFlags[bufs[i]!] = flags;
    rig.pool.vlanTags[bufs[i]!] = vlan;
    rig.pool.txHeaders[bufs[i]!] = headerLengths(...headers);
  }
  return bufs;
}

/** What the device has to be asked. */
function expected({ flags, vlan, headers }: Wish): Offload {
  const ip = (flags & TxFlag.IP_CHECKSUM) !== 0;
  const tcp = (flags & TxFlag.TCP_CHECKSUM) !== 0;
  const udp = (flags & TxFlag.UDP_CHECKSUM) !== 0;
  return {
    ...((flags & TxFlag.VLAN) !== 0 ? { vlan } : {}),
    ...(ip ? { ipChecksum: true as const } : {}),
    ...(tcp || udp ? { l4Checksum: tcp ? ('tcp' as const) : ('udp' as const) } : {}),
    ...(ip || tcp || udp ? { macBytes: headers[0], ipBytes: headers[1] } : {}),
  };
}

sending(
  'each flag reaches the hardware',
  withRig({}, (rig) => {
    const wishes: Wish[] = [
      PLAIN,
      tagged(0xabc),
      { flags: TxFlag.IP_CHECKSUM, vlan: 0, headers: [14, 20] },
      { flags: TxFlag.TCP_CHECKSUM, vlan: 0, headers: [14, 40] },
      { flags: TxFlag.UDP_CHECKSUM, vlan: 0, headers: [18, 24] },
      { flags: TxFlag.VLAN | TxFlag.IP_CHECKSUM | TxFlag.TCP_CHECKSUM, vlan: 0xffff, headers: [14, 60] },
      PLAIN,
    ];
    assert.is(rig.tx.sendOffloaded(prepare(rig, wishes)), wishes.length);
    rig.txDevice.transmit();
    assert.equal(
      rig.txDevice.sent.map(({ offload }) => offload),
      wishes.map(expected),
    );
    assert.equal(
      rig.txDevice.tail.writes,
      [wishes.length + 5],
      'one doorbell; a context for each that differs',
    );
    assert.is(rig.tx.counters[TX_PACKETS], wishes.length);
    assert.is(rig.tx.counters[TX_BYTES], 60 * wishes.length);
  }),
);

sending(
  'one context serves packets that want the same',
  withRig({}, (rig) => {
    rig.tx.sendOffloaded(prepare(rig, new Array<Wish>(10).fill(tagged(5))));
    assert.equal(rig.txDevice.tail.writes, [11]);
    rig.tx.sendOffloaded(prepare(rig, [tagged(5)]));
    assert.equal(rig.txDevice.tail.writes, [11, 12]);
    rig.txDevice.transmit();
    assert.is(rig.txDevice.sent.length, 11);
  }),
);

sending(
  'nothing sent, no doorbell; bad lengths and indices as with send',
  withRig({}, (rig) => {
    const { tx, txDevice, pool } = rig;
    assert.is(tx.sendOffloaded(new Uint32Array(0)), 0);
    const bufs = prepare(rig, [PLAIN, PLAIN]);
    pool.lengths[bufs[0]!] = 16;
    pool.lengths[bufs[1]!] = 2049;
    const before = pool.available;
    assert.is(tx.sendOffloaded(bufs), 2);
    assert.is(tx.sendOffloaded(Uint32Array.of(512, 0xffff_ffff)), 2);
    assert.equal(txDevice.tail.writes, []);
    assert.is(tx.counters[TX_ERRORS], 4);
    assert.is(pool.available, before + 2);
  }),
);

sending(
  'after close nothing is taken',
  withRig({}, (rig) => {
    const bufs = prepare(rig, [tagged(1)]);
    rig.tx.close();
    assert.is(rig.tx.sendOffloaded(bufs), 0);
    assert.equal(rig.txDevice.tail.writes, []);
  }),
);

for (const before of [30, 31, 62, 63]) {
  sending(
    `a context in slot ${before}: groups are still reported and reclaimed`,
    withRig({ txSize: 64 }, (rig) => {
      const { tx, txDevice } = rig;
      const sent: number[] = [];
      const send = (wishes: readonly Wish[]): void => {
        const bufs = prepare(rig, wishes);
        assert.is(tx.sendOffloaded(bufs), wishes.length);
        sent.push(...bufs);
        txDevice.transmit();
        tx.reclaim();
        rig.checkOwnership([], sent);
      };
      for (let i = 0; i < before; i++) send([PLAIN]);
      for (let vlan = 1; vlan < 100; vlan++) send([tagged(vlan)]);
      assert.is(txDevice.sent.length, before + 99);
    }),
  );
}

sending(
  'after contexts went before, plain packets in the same slots have their whole addresses',
  withRig({ txSize: 64, buffers: 400 }, (rig) => {
    const { tx, txDevice } = rig;
    const sent: number[] = [];
    const push = (bufs: Uint32Array, taken: number): void => {
      assert.is(taken, bufs.length);
      sent.push(...bufs);
      txDevice.transmit();
    };
    for (let lap = 0; lap < 3; lap++) {
      const offloaded = prepare(
        rig,
        Array.from({ length: 20 }, (_, i) => tagged(i)),
      );
      push(offloaded, tx.sendOffloaded(offloaded));
      for (let i = 0; i < 16; i++) {
        const plain = prepare(rig, new Array<Wish>(10).fill(PLAIN));
        push(plain, tx.send(plain));
      }
    }
    assert.equal(
      txDevice.sent.map(({ buffer }) => buffer),
      sent,
    );
  }),
);

sending('any mix of send and sendOffloaded keeps order, wishes and buffers', () => {
  const wish = fc.record({
    flags: fc.constantFrom(0, 1, 2, 4, 8, 3, 7, 11),
    vlan: fc.constantFrom(0, 7, 0xffff),
    headers: fc.constantFrom([14, 20] as const, [18, 40] as const),
  });
  const batch = fc.record({
    wishes: fc.array(wish, { minLength: 1, maxLength: 40 }),
    plain: fc.boolean(),
    transmit: fc.nat(80),
  });
  fc.assert(
    fc.property(fc.array(batch, { maxLength: 25 }), (batches) => {
      const rig = new QueueRig({ txSize: 64, buffers: 400 });
      const { tx, txDevice, pool } = rig;
      const sent: number[] = [];
      const wanted: Offload[] = [];
      try {
        for (const { wishes, plain, transmit } of batches) {
          const bufs = prepare(rig, wishes);
          const taken = plain ? tx.send(bufs) : tx.sendOffloaded(bufs);
          sent.push(...bufs.subarray(0, taken));
          for (const one of wishes.slice(0, taken)) wanted.push(plain ? {} : expected(one));
          pool.release(bufs, taken);
          txDevice.transmit(transmit);
          rig.checkOwnership([], sent);
        }
        txDevice.transmit();
        assert.equal(
          txDevice.sent.map(({ buffer }) => buffer),
          sent,
        );
        assert.equal(
          txDevice.sent.map(({ offload }) => offload),
          wanted,
        );
        tx.close();
        rig.rx.close();
        assert.is(pool.available, pool.capacity);
        assert.is(new Set(rig.free()).size, pool.capacity);
      } finally {
        rig.close();
      }
    }),
    { numRuns: 60 },
  );
});

sending(
  'a full ring has room again after the device has sent',
  withRig({ txSize: 64, buffers: 300 }, (rig) => {
    const { tx, txDevice } = rig;
    const bufs = prepare(
      rig,
      Array.from({ length: 60 }, (_, i) => tagged(i)),
    );
    const taken = tx.sendOffloaded(bufs);
    assert.is(taken, 31, 'two slots each');
    assert.is(tx.sendOffloaded(bufs.subarray(taken)), 0);
    txDevice.transmit();
    assert.ok(tx.sendOffloaded(bufs.subarray(taken)) > 0);
  }),
);

sending.run();
