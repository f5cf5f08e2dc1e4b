/**
 * What the ixgbe driver writes on its way up, and around changes while it runs, held against the datasheet's sequences
 * (82599 datasheet 4.6.3, 4.6.7, 4.6.8, 4.6.11.3.4, 5.2.5.3.2, 8.2.3.7.1). The model is in strict mode.
 */
import * as assert from 'uvu/assert';
import type { IxgbeModel } from '../../../src/emulator/ixgbe/ixgbe-model.js';
import { PciRegion } from '../../../src/vfio/types.js';
import { IxgbeRig, type RigOptions } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

// 8.2.3
const CTRL = 0x00000;
const CTRL_RST = 1 << 26;
const STATUS = 0x00008;
const STATUS_MASTER_ENABLE = 1 << 19;
const RXCTRL = 0x03000;
const RXEN = 1;
const RXPBSIZE = 0x03c00;
const FCRTH = 0x03260;
const HLREG0 = 0x04240;
const LPBK = 1 << 15;
const TXPBTHRESH = 0x04950;
const FCTRL = 0x05080;
const UPE_MPE = (1 << 9) | (1 << 8);
const SECRXCTRL = 0x08d00;
const RX_DIS = 1 << 1;
const SECRXSTAT = 0x08d04;
const TXPBSIZE = 0x0cc00;
const GCR_EXT = 0x11050;
const BUFFERS_CLEAR = 1 << 30;
/** Device Status in configuration space (9.3.10.6). */
const DEVICE_STATUS = 0xaa;
const TRANSACTIONS_PENDING = 1 << 5;

interface Write {
  readonly offset: number;
  readonly value: number;
}

/** Logs the writes to BAR0 from now on. */
function watch(model: IxgbeModel, onWrite: (write: Write) => void = () => {}): Write[] {
  const writes: Write[] = [];
  const { regionWrite } = model;
  model.regionWrite = (index, offset, from) => {
    regionWrite.call(model, index, offset, from);
    if (index !== PciRegion.BAR0 || from.length !== 4) return;
    const write = { offset, value: new DataView(from.buffer, from.byteOffset).getUint32(0, true) };
    writes.push(write);
    onWrite(write);
  };
  return writes;
}

/** Changes what reads of a region give; undefined lets them be. */
function disguise(model: IxgbeModel, change: (index: number, offset: number) => number | undefined): void {
  const { regionRead } = model;
  model.regionRead = (index, offset, into) => {
    regionRead.call(model, index, offset, into);
    const value = change(index, offset);
    if (value === undefined) return;
    for (let i = 0; i < into.length; i++) into[i] = value >>> (8 * i);
  };
}

function onRig(options: RigOptions, body: (rig: IxgbeRig) => Promise<void> | void) {
  return async () => {
    const rig = await IxgbeRig.open(options);
    try {
      await body(rig);
    } finally {
      await rig.close();
    }
    assert.equal(rig.complaints(), []);
  };
}

const buffers = suite('ixgbe packet buffers');

for (const [deviceId, receiveKib] of [
  [0x10fb, 512],
  [0x10f7, 512],
  [0x1528, 384],
] as const) {
  buffers(
    `${deviceId.toString(16)}: all memory in one buffer each way, with its thresholds`,
    onRig({ deviceId }, ({ a: { model, nic } }) => {
      assert.is(model.peek(RXPBSIZE), receiveKib << 10);
      // 4.6.3.2: RXPBSIZE - 0x6000, FCEN (bit 31) off.
      assert.is(model.peek(FCRTH), receiveKib * 1024 - 0x6000);
      assert.is(model.peek(TXPBSIZE), 160 << 10);
      // 4.6.11.3.4: 0xA0 less the longest frame, which has a tag and the FCS on top, in KiB.
      assert.is(model.peek(TXPBTHRESH), 0xa0 - Math.ceil((nic.maxFrameBytes + 8) / 1024));
      for (let i = 1; i < 8; i++) {
        for (const register of [RXPBSIZE, FCRTH, TXPBSIZE, TXPBTHRESH]) {
          assert.is(model.peek(register + 4 * i), 0, `0x${(register + 4 * i).toString(16)}`);
        }
      }
    }),
  );
}

buffers.run();

const filters = suite('ixgbe filters that a reset leaves undefined');

filters(
  'are written before the receiver is on',
  onRig({}, ({ a: { model } }) => {
    // 4.6.7, and the sections of the tables.
    const tables: [name: string, offset: number, count: number, stride?: number][] = [
      ['RAH beyond 0', 0xa204 + 8, 127, 8], // 8.2.3.7.9
      ['MTA', 0x5200, 128], // 8.2.3.7.7
      ['MPSAR beyond 0', 0xa600 + 4, 255], // 8.2.3.7.10
      ['VFTA', 0xa000, 128], // 8.2.3.7.11
      ['FTQF', 0xe600, 128], // 8.2.3.7.19
      ['PFVLVF', 0xf100, 64], // 8.2.3.27.15
      ['PFVLVFB', 0xf200, 128], // 8.2.3.27.16
      ['PFUTA', 0xf400, 128], // 8.2.3.27.17
    ];
    for (const [name, offset, count, stride = 4] of tables) {
      for (let i = 0; i < count; i++) assert.is(model.peek(offset + stride * i), 0, `${name}, entry ${i}`);
    }
    assert.is(model.peek(0xa600), 1, 'MPSAR(0)');
    assert.is(model.peek(0xa204) >>> 31, 1, 'RAH(0)');
  }),
);

filters.run();

const control = suite('ixgbe FCTRL while the receiver runs');

/** Registers at each write of FCTRL, and at the end. */
function fctrlWrites(model: IxgbeModel): [rxen: number, halted: number][] {
  const seen: [number, number][] = [];
  watch(model, ({ offset }) => {
    if (offset === FCTRL) seen.push([model.peek(RXCTRL) & RXEN, model.peek(SECRXCTRL) & RX_DIS]);
  });
  return seen;
}

const assertReceiving = (model: IxgbeModel): void => {
  assert.is(model.peek(RXCTRL) & RXEN, RXEN);
  assert.is(model.peek(SECRXCTRL) & RX_DIS, 0);
};

control(
  'changes with the receiver off and the data path halted, which are on again afterwards',
  onRig({}, async ({ a: { model, nic } }) => {
    const seen = fctrlWrites(model);
    await nic.setPromiscuous(true);
    assert.is(model.peek(FCTRL) & UPE_MPE, UPE_MPE);
    assertReceiving(model);
    await nic.setPromiscuous(false);
    assert.is(model.peek(FCTRL) & UPE_MPE, 0);
    assertReceiving(model);
    assert.equal(seen, [
      [0, RX_DIS],
      [0, RX_DIS],
    ]);
  }),
);

control(
  'several changes at a time come one after the other',
  onRig({}, async ({ a: { model, nic } }) => {
    const seen = fctrlWrites(model);
    const changes = [true, false, true, true, false].map((on) => nic.setPromiscuous(on));
    await Promise.all(changes);
    assert.equal(seen, new Array(5).fill([0, RX_DIS]));
    assert.is(model.peek(FCTRL) & UPE_MPE, 0);
    assertReceiving(model);
  }),
);

control(
  'a data path that does not come to rest is an error, and the receiver stays as it was',
  onRig({}, async ({ a: { model, nic } }) => {
    let ready = false;
    disguise(model, (index, offset) =>
      index === PciRegion.BAR0 && offset === SECRXSTAT && !ready ? 0 : undefined,
    );
    const error = await nic.setPromiscuous(true).catch((reason: unknown) => reason);
    assert.is((error as { code?: string }).code, 'DEVICE_TIMEOUT');
    assert.match(String(error), 'SECRXSTAT.SECRX_RDY');
    assertReceiving(model);
    assert.is(model.peek(FCTRL) & UPE_MPE, 0);
    ready = true;
    await nic.setPromiscuous(true);
    assert.is(model.peek(FCTRL) & UPE_MPE, UPE_MPE, 'the next one goes through');
  }),
);

control('a device that is closed meanwhile does not receive again', async () => {
  const rig = await IxgbeRig.open();
  const { model, nic } = rig.a;
  let ready = false;
  disguise(model, (index, offset) =>
    index === PciRegion.BAR0 && offset === SECRXSTAT && !ready ? 0 : undefined,
  );
  const writes = watch(model, ({ offset, value }) => {
    if (offset === RXCTRL && (value & RXEN) === 0) ready = true;
  });
  const changed = nic.setPromiscuous(true).catch(() => {});
  await rig.close();
  await changed;
  const received = writes.filter(({ offset, value }) => offset === RXCTRL && (value & RXEN) !== 0);
  assert.equal(received, []);
});

control.run();

const masters = suite('ixgbe reset where master disable times out');

/** The names of what 5.2.5.3.2 asks for, in the order of the writes. */
function steps(writes: readonly Write[]): string[] {
  const names: string[] = [];
  let loopback = false;
  let clearing = false;
  for (const { offset, value } of writes) {
    if (offset === CTRL && (value & CTRL_RST) !== 0) names.push('reset');
    if (offset === HLREG0 && ((value & LPBK) !== 0) !== loopback) {
      loopback = !loopback;
      names.push(loopback ? 'loopback on' : 'loopback off');
    }
    if (offset === GCR_EXT && ((value & BUFFERS_CLEAR) !== 0) !== clearing) {
      clearing = !clearing;
      names.push(clearing ? 'flush on' : 'flush off');
    }
  }
  return names;
}

masters('as a rule it does not: one reset, nothing is flushed', async () => {
  let writes: Write[] = [];
  const rig = await IxgbeRig.open();
  writes = watch(rig.a.model);
  await rig.close();
  assert.equal(steps(writes), ['reset']);
});

masters('the data path is flushed in loopback, then two resets follow', async () => {
  const rig = await IxgbeRig.open();
  const { model } = rig.a;
  let pending = 3;
  let flushedWhilePending = false;
  disguise(model, (index, offset) => {
    if (index === PciRegion.BAR0 && offset === STATUS) return STATUS_MASTER_ENABLE;
    if (index !== PciRegion.CONFIG || offset !== DEVICE_STATUS || pending === 0) return undefined;
    pending--;
    return TRANSACTIONS_PENDING;
  });
  const writes = watch(model, ({ offset, value }) => {
    if (offset === GCR_EXT && (value & BUFFERS_CLEAR) !== 0) {
      flushedWhilePending ||= pending > 0;
      assert.is(model.peek(HLREG0) & LPBK, LPBK, 'nothing goes out meanwhile');
      assert.is(model.peek(RXCTRL) & RXEN, 0, 'and nothing comes in');
    }
  });
  await rig.close();
  assert.equal(steps(writes), ['loopback on', 'flush on', 'loopback off', 'flush off', 'reset', 'reset']);
  assert.is(flushedWhilePending, false, 'only when no transaction is pending any more');
});

masters('transactions that stay pending do not keep the reset away', async () => {
  const rig = await IxgbeRig.open();
  disguise(rig.a.model, (index, offset) => {
    if (index === PciRegion.BAR0 && offset === STATUS) return STATUS_MASTER_ENABLE;
    return index === PciRegion.CONFIG && offset === DEVICE_STATUS ? TRANSACTIONS_PENDING : undefined;
  });
  const writes = watch(rig.a.model);
  await rig.close();
  assert.is(steps(writes).at(-1), 'reset');
});

masters.run();
