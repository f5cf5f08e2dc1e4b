/** What receive descriptors tell of a packet, and what the hardware is asked to do to one (82599, 7.1.6.2, 7.2.3.2). */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { TX_OFFLOADS } from '../../../src/driver/intel/tx-queue.js';
import { RxFlag, TxFlag } from '../../../src/hugepage/packet-metadata.js';
import { CLOSED } from '../../support/closed.js';
import { QueueRig, withRig } from '../../support/queue-rig.js';
import type { Offload } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

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
      assert.is(pool.metadata.rxFlags[buffer], flags | RxFlag.HASH);
      assert.is(pool.metadata.hashes[buffer], 0xfeed_beef);
      assert.is(pool.metadata.vlanTags[buffer], 0xa5a5);
      assert.is(pool.lengths[buffer], 60);
    }),
  );
}

receiving(
  'without the option nothing is written',
  withRig({}, (rig) => {
    rig.pool.metadata.rxFlags.fill(0x80);
    rig.rxDevice.receive({ frame: rig.frame(60), status: GOOD | VP });
    assert.is(rig.rx.receive(rig.bufs), 1);
    assert.is(rig.pool.metadata.rxFlags[rig.bufs[0]!], 0x80);
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
    rig.pool.metadata.txFlags[bufs[i]!] = flags;
    rig.pool.metadata.vlanTags[bufs[i]!] = vlan;
    rig.pool.metadata.l2Bytes[bufs[i]!] = headers[0];
    rig.pool.metadata.l3Bytes[bufs[i]!] = headers[1];
  }
  return bufs;
}

/** Sends a packet for each wish; returns how many were taken. */
function sendAll(rig: QueueRig, wishes: readonly Wish[]): number {
  return rig.tx.sendOffloaded!(prepare(rig, wishes), wishes.length);
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
    assert.is(sendAll(rig, wishes), wishes.length);
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
    assert.is(rig.tx.counters[LAYOUT.PACKETS], wishes.length);
    assert.is(rig.tx.counters[LAYOUT.BYTES], 60 * wishes.length);
  }),
);

sending(
  'one context serves packets that want the same',
  withRig({}, (rig) => {
    sendAll(rig, new Array<Wish>(10).fill(tagged(5)));
    assert.equal(rig.txDevice.tail.writes, [11]);
    sendAll(rig, [tagged(5)]);
    assert.equal(rig.txDevice.tail.writes, [11, 12]);
    rig.txDevice.transmit();
    assert.is(rig.txDevice.sent.length, 11);
  }),
);

sending(
  'nothing sent, no doorbell; bad lengths and indices as with send',
  withRig({}, (rig) => {
    const { tx, txDevice, pool } = rig;
    assert.is(tx.sendOffloaded!(new Uint32Array(0), 0), 0);
    const bufs = prepare(rig, [PLAIN, PLAIN]);
    pool.lengths[bufs[0]!] = 16;
    pool.lengths[bufs[1]!] = 2049;
    const before = pool.available;
    assert.is(tx.sendOffloaded!(bufs, bufs.length), 2);
    assert.is(tx.sendOffloaded!(Uint32Array.of(512, 0xffff_ffff), 2), 2);
    assert.equal(txDevice.tail.writes, []);
    assert.is(tx.counters[LAYOUT.ERRORS], 4);
    assert.is(pool.available, before + 2);
  }),
);

sending(
  'after close it says so',
  withRig({}, (rig) => {
    const bufs = prepare(rig, [tagged(1)]);
    rig.tx.close(CLOSED);
    assert.throws(
      () => rig.tx.sendOffloaded!(bufs, bufs.length),
      (error: unknown) => error === CLOSED,
    );
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
        assert.is(tx.sendOffloaded!(bufs, bufs.length), wishes.length);
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
      push(offloaded, tx.sendOffloaded!(offloaded, offloaded.length));
      for (let i = 0; i < 16; i++) {
        const plain = prepare(rig, new Array<Wish>(10).fill(PLAIN));
        push(plain, tx.send(plain, plain.length));
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
          const taken = plain ? tx.send(bufs, bufs.length) : tx.sendOffloaded!(bufs, bufs.length);
          sent.push(...bufs.subarray(0, taken));
          for (const one of wishes.slice(0, taken)) wanted.push(plain ? {} : expected(one));
          pool.release(bufs, bufs.length - taken, taken);
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
        tx.close(CLOSED);
        rig.rx.close(CLOSED);
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
    const taken = tx.sendOffloaded!(bufs, bufs.length);
    assert.is(taken, 31, 'two slots each');
    assert.is(tx.sendOffloaded!(bufs, bufs.length - taken, taken), 0);
    txDevice.transmit();
    assert.ok(tx.sendOffloaded!(bufs, bufs.length - taken, taken) > 0);
  }),
);

const OWN_FCS: Wish = { flags: TxFlag.OWN_FCS, vlan: 0, headers: [0, 0] };

sending(
  'a frame with an FCS of its own gets no other, in any slot of a group',
  withRig({ txSize: 64, offloads: TX_OFFLOADS | TxFlag.OWN_FCS }, (rig) => {
    const { tx, txDevice } = rig;
    let sent = 0;
    for (let i = 0; i < 100; i++) {
      const bufs = prepare(rig, [OWN_FCS, PLAIN]);
      rig.pool.lengths[bufs[0]!] = 64 + i;
      assert.is(tx.sendOffloaded!(bufs, bufs.length), 2);
      txDevice.transmit();
      tx.reclaim();
      const [own, plain] = txDevice.sent.slice(-2);
      assert.equal([own!.offload, own!.bytes.length], [{ ownFcs: true }, 64 + i]);
      assert.equal(plain!.offload, {});
      sent += 60 + i + 60;
    }
    assert.is(tx.counters[LAYOUT.PACKETS], 200);
    assert.is(tx.counters[LAYOUT.BYTES], sent, 'without FCS');
  }),
);

for (const [name, wish, length, offloads] of [
  ['too short to be a whole frame', OWN_FCS, 63, TX_OFFLOADS | TxFlag.OWN_FCS],
  [
    'with a tag to be put in',
    { ...OWN_FCS, flags: TxFlag.OWN_FCS | TxFlag.VLAN },
    64,
    TX_OFFLOADS | TxFlag.OWN_FCS,
  ],
  ['on hardware that makes every FCS', OWN_FCS, 64, TX_OFFLOADS],
] as const) {
  sending(
    `an FCS of its own ${name}: dropped and counted`,
    withRig({ offloads }, (rig) => {
      const bufs = prepare(rig, [wish]);
      rig.pool.lengths[bufs[0]!] = length;
      assert.is(rig.tx.sendOffloaded!(bufs, 1), 1);
      assert.is(rig.tx.counters[LAYOUT.ERRORS], 1);
      assert.equal(rig.txDevice.tail.writes, []);
    }),
  );
}

sending.run();
