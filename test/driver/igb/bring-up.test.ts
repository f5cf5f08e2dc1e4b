/** The order and the values of bring-up and shutdown (82576 datasheet 4.5, 4.6). */
import * as assert from 'uvu/assert';
import { CTRL_RST, QUEUE_ENABLE, QUEUE_STRIDE, R, RAH_AV, TCTL_RESET } from '../../support/fake-82576.js';
import { type Bench, bench, find, what, write, written } from '../../support/open-igb.js';
import { suite } from '../../support/suite.js';

const ALL_ONES = 0xffff_ffff;
const RXEN = 1 << 1;
/** Long packets, up to RLPML (8.10.1, 8.10.5). */
const LPE = 1 << 5;
const TCTL_EN = 1 << 1;

async function opened(options: Parameters<Bench['open']>[0] = {}, more = {}) {
  const made = bench(more);
  const nic = await made.open(options);
  return { ...made, nic, events: [...made.vfio.events] };
}

const order = suite('82576 bring-up: order');

order('interrupts are masked before the reset and again after it', async () => {
  const { events, nic } = await opened();
  const reset = find(events, 'CTRL.RST', write(R.CTRL, CTRL_RST));
  for (const [name, offset] of [
    ['EIMC', R.EIMC],
    ['IMC', R.IMC],
  ] as const) {
    assert.ok(find(events, name, write(offset, ALL_ONES)) < reset, `${name} before the reset`);
    const again = find(events, `${name} again`, write(offset, ALL_ONES), reset);
    assert.ok(again < find(events, 'the first ring', write(R.RDBAL)), `${name} after it`);
  }
  assert.equal(written(events, R.EIMS), [], 'nothing is unmasked by opening');
  await nic.close();
});

order('bus mastering starts after the reset, with the memory mapped', async () => {
  const { events, nic } = await opened();
  const on = find(events, 'bus master on', what('bus master on'));
  assert.ok(find(events, 'reset', write(R.CTRL, CTRL_RST)) < on);
  assert.is(events.slice(0, on).filter(what('map')).length, 2, 'buffers and rings');
  await nic.close();
});

for (const queuePairs of [1, 3]) {
  order(
    `bases, lengths and buffer size before ENABLE, RDT only after it: ${queuePairs} queue pairs`,
    async () => {
      const made = bench();
      const { model } = made;
      // The register as it reads at the time of the hand-over.
      const enabledAtTail: boolean[] = [];
      model.onWrite = (offset, value) => {
        for (let q = 0; q < queuePairs; q++) {
          if (offset !== R.RDT + q * QUEUE_STRIDE || value === 0) continue;
          enabledAtTail.push((model.get(R.RXDCTL + q * QUEUE_STRIDE) & QUEUE_ENABLE) !== 0);
        }
      };
      const nic = await made.open({ queuePairs });
      const { events } = made.vfio;
      for (let q = 0; q < queuePairs; q++) {
        const at = (offset: number): number => offset + q * QUEUE_STRIDE;
        const rxOn = find(events, 'RXDCTL.ENABLE', write(at(R.RXDCTL), QUEUE_ENABLE));
        const txOn = find(events, 'TXDCTL.ENABLE', write(at(R.TXDCTL), QUEUE_ENABLE));
        for (const offset of [R.RDBAL, R.RDBAH, R.RDLEN, R.SRRCTL, R.RDH]) {
          assert.ok(find(events, `0x${offset.toString(16)}`, write(at(offset))) < rxOn);
        }
        for (const offset of [R.TDBAL, R.TDBAH, R.TDLEN, R.TDH, R.TDT]) {
          assert.ok(find(events, `0x${offset.toString(16)}`, write(at(offset))) < txOn);
        }
        assert.equal(written(events, at(R.RDT)), [0, 63]);
        assert.ok(rxOn < find(events, 'RDT', write(at(R.RDT), 63)));
        assert.equal(written(events, at(R.TDT)), [0], 'nothing is sent');
      }
      assert.equal(enabledAtTail, new Array(queuePairs).fill(true));
      await nic.close();
    },
  );

  order(`receiver and transmitter go on after all queues: ${queuePairs} queue pairs`, async () => {
    const { events, nic } = await opened({ queuePairs });
    const receiver = find(events, 'RCTL.RXEN', write(R.RCTL, RXEN));
    const transmitter = find(events, 'TCTL.EN', write(R.TCTL, TCTL_EN));
    for (const [i, event] of events.entries()) {
      const isQueue = event.what === 'write' && event.offset! >= 0xc000;
      const isTail = isQueue && event.offset! % QUEUE_STRIDE === 0x18;
      if (isQueue && !isTail) assert.ok(i < receiver && i < transmitter, `0x${event.offset!.toString(16)}`);
    }
    assert.ok(find(events, 'GPIE', write(R.GPIE)) < receiver, 'interrupts are routed before packets come');
    await nic.close();
  });
}

order(
  'closing: units and queues off, masked, reset, bus master off, then unmapped, then closed',
  async () => {
    const { vfio, nic } = await opened();
    const from = vfio.events.length;
    await nic.close();
    const step = (name: string, matches: Parameters<typeof find>[2]): number =>
      find(vfio.events, name, matches, from);
    const steps = [
      step('RCTL.RXEN off', write(R.RCTL, RXEN, 0)),
      step('RXDCTL.ENABLE off', write(R.RXDCTL, QUEUE_ENABLE, 0)),
      step('EIMC', write(R.EIMC, ALL_ONES)),
      step('CTRL.RST', write(R.CTRL, CTRL_RST)),
      step('bus master off', what('bus master off')),
      step('unmap', what('unmap')),
      step('close', what('close')),
    ];
    assert.equal(
      steps,
      [...steps].sort((a, b) => a - b),
    );
    const transmitterOff = step('TCTL.EN off', write(R.TCTL, TCTL_EN, 0));
    assert.ok(transmitterOff < step('TXDCTL.ENABLE off', write(R.TXDCTL, QUEUE_ENABLE, 0)));
    assert.ok(step('TXDCTL.ENABLE off', write(R.TXDCTL, QUEUE_ENABLE, 0)) < steps[3]!);
  },
);

order('closing gives everything back, and may be done twice', async () => {
  const { nic, assertReleased, vfio } = await opened();
  await Promise.all([nic.close(), nic.close()]);
  await nic.close();
  assert.is(vfio.events.filter(what('close')).length, 1);
  assertReleased();
});

order.run();

const values = suite('82576 bring-up: values');

values('thresholds survive enabling and waiting; WTHRESH of transmit is 0', async () => {
  const { model, nic, events } = await opened();
  // 8.10.10, 8.12.13: PTHRESH 4:0, HTHRESH 12:8, WTHRESH 20:16.
  assert.is(model.get(R.RXDCTL), 8 | (8 << 8) | (1 << 16) | QUEUE_ENABLE);
  assert.is(model.get(R.TXDCTL), 8 | (1 << 8) | QUEUE_ENABLE);
  for (const value of written(events, R.TXDCTL)) assert.is((value >>> 16) & 0x1f, 0, 'WTHRESH');
  await nic.close();
});

values('rings and buffers are where the mapper was told, and their lengths are right', async () => {
  const { model, nic, vfio, pool } = await opened({ rxRingSize: 128, txRingSize: 64 });
  const [buffers, rings] = [...vfio.mapper.mapped.keys()] as [bigint, bigint];
  const base = (low: number, high: number): bigint =>
    (BigInt(model.get(high)) << 32n) | BigInt(model.get(low));
  const ringBytes = BigInt(vfio.mapper.mapped.get(rings)!);
  const rx = base(R.RDBAL, R.RDBAH);
  const tx = base(R.TDBAL, R.TDBAH);
  assert.is(model.get(R.RDLEN), 128 * 16);
  assert.is(model.get(R.TDLEN), 64 * 16);
  for (const [start, bytes] of [
    [rx, 2048n],
    [tx, 1024n],
  ] as const) {
    assert.is(start % 128n, 0n, 'aligned (8.10.5)');
    assert.ok(start >= rings && start + bytes <= rings + ringBytes);
  }
  assert.ok(rx + 2048n <= tx || tx + 1024n <= rx, 'rings do not overlap');
  assert.is(BigInt(pool.frameIovaLow - pool.headroomBytes) | (BigInt(pool.iovaHigh) << 32n), buffers);
  await nic.close();
});

values('SRRCTL: advanced descriptors of one buffer, size in KiB, drop when empty', async () => {
  const { model, nic } = await opened();
  assert.is(model.get(R.SRRCTL) & 0x7f, 2, 'BSIZEPACKET: 2 KiB');
  assert.is((model.get(R.SRRCTL) >>> 25) & 7, 1, 'DESCTYPE');
  assert.is(model.get(R.SRRCTL) >>> 31, 1, 'Drop_En');
  await nic.close();
});

values('the MAC address is the EEPROM’s, and valid in the filter', async () => {
  const { model, nic } = await opened();
  assert.is(nic.macAddress, '02:11:22:33:44:f5');
  assert.equal([...nic.mac], model.mac);
  assert.is(model.get(R.RAH0), (RAH_AV | 0xf544) >>> 0);
  assert.is(model.get(R.RAL0), 0x3322_1102);
  await nic.close();
});

values('RLPML: the longest frame that a buffer holds, FCS included; or what the MTU asks for', async () => {
  const { model, nic } = await opened();
  assert.is(model.get(R.RLPML), 2048 - 64 + 4);
  assert.is(nic.maxFrameBytes, 1984);
  await nic.close();
  const small = await opened({ mtu: 1500 });
  assert.is(small.model.get(R.RLPML), 1500 + 22 + 4);
  await small.nic.close();
});

values('RCTL: broadcast accepted, FCS stripped, promiscuous as asked', async () => {
  for (const promiscuous of [false, true]) {
    const { model, nic } = await opened({ promiscuous });
    assert.is(model.get(R.RCTL) >>> 0, (1 << 26) | (1 << 15) | LPE | RXEN | (promiscuous ? 0x18 : 0));
    await nic.setPromiscuous(!promiscuous);
    assert.is(model.get(R.RCTL) & 0x18, promiscuous ? 0 : 0x18);
    assert.ok((model.get(R.RCTL) & RXEN) !== 0);
    await nic.close();
  }
});

values('TCTL: pads short frames; collision threshold 15, nothing else changed', async () => {
  const { model, nic } = await opened();
  assert.is(model.get(R.TCTL), (TCTL_RESET & ~0xff0) | (15 << 4) | 0x8 | TCTL_EN);
  await nic.close();
});

values('the multicast table is cleared', async () => {
  const { events, nic } = await opened();
  for (let word = 0; word < 128; word++) assert.equal(written(events, R.MTA + 4 * word), [0]);
  await nic.close();
});

values('one queue needs no RSS', async () => {
  const { events, nic } = await opened();
  assert.equal(written(events, R.MRQC), []);
  await nic.close();
});

values('RSS over 3 queues: table, key, fields', async () => {
  const { model, nic } = await opened({ queuePairs: 3 });
  const entries = Array.from(
    { length: 128 },
    (_, i) => (model.get(R.RETA + (i & ~3)) >>> (8 * (i % 4))) & 0xff,
  );
  assert.equal(
    entries,
    entries.map((_, i) => i % 3),
  );
  // Key of Microsoft's RSS verification suite, as bytes 0 and on of RSSRK.
  assert.is(model.get(R.RSSRK), 0xda56_5a6d);
  assert.is(model.get(R.RSSRK + 36), 0xfa01_acbe);
  // 8.10.18: MRQE 010b; TCP and UDP over IPv4 and IPv6, IPv4, IPv6.
  assert.is(model.get(R.MRQC), 0x00f3_0002);
  assert.is((model.get(R.RXCSUM) >>> 13) & 1, 1, 'PCSD: the hash in the descriptor');
  await nic.close();
});

values('MSI-X: each receive queue has its vector, masked when it fires', async () => {
  const { model, nic, vfio } = await opened({ queuePairs: 3 });
  assert.is(vfio.eventfds.length, 3);
  for (let q = 0; q < 3; q++) assert.is(model.get(R.IVAR + 4 * q) & 0xff, 0x80 | q);
  assert.is(model.get(R.EIAC), 7);
  assert.is(model.get(R.EIAM), 7);
  // 8.8.14: NSICR, Multiple_MSIX, EIAME, PBA_support.
  assert.is(model.get(R.GPIE), 0xc000_0011);
  await nic.close();
});

values('interrupts held back: each vector has the interval in microseconds', async () => {
  const { model, nic } = await opened({ queuePairs: 2, interruptIntervalUs: 125 });
  // 8.8: EITR n at 0x1680 + 4 n, the interval in bits 14:2.
  assert.equal(
    [0, 1, 2].map((vector) => model.get(0x1680 + 4 * vector)),
    [500, 500, 0],
  );
  await nic.close();
});

values.run();
