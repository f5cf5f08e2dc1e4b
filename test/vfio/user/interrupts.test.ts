/** DEVICE_SET_IRQS: every data type with every action, and what a vector does with them. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { constants as os } from 'node:os';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { eventfd, setBlocking } from '../../../src/syscalls/descriptors.js';
import { PciIrq } from '../../../src/vfio/types.js';
import { InterruptTable } from '../../../src/vfio/user/interrupts.js';
import {
  IRQ_ACTION_MASK,
  IRQ_ACTION_TRIGGER,
  IRQ_ACTION_UNMASK,
  IRQ_DATA_BOOL,
  IRQ_DATA_EVENTFD,
  IRQ_DATA_NONE,
  NO_BODY,
} from '../../../src/vfio/user/protocol.js';
import { countFds, fixtureSuite, until } from './support/harness.js';

const { EINVAL } = os.errno;
const { INTX, MSI, MSIX, ERR, REQ } = PciIrq;

const test = fixtureSuite('vfio-user interrupts', {
  start: () => ({}),
  enter: () => ({
    // first: what signals counters keeps a file of its own, from the first table on
    table: new InterruptTable([1, 4, 8, 1, 1]),
    before: countFds(),
    // the table takes over what it is given, as it would descriptors from a message
    fds: Array.from({ length: 4 }, () => eventfd()),
  }),
  leave({ table, fds, before }) {
    table.clear();
    for (const fd of fds) {
      try {
        closeSync(fd);
      } catch {
        // the table had it
      }
    }
    assert.is(countFds(), before);
  },
  stop: () => {},
});

function set(
  table: InterruptTable,
  flags: number,
  index: number,
  start: number,
  count: number,
  more: {
    data?: number[];
    fds?: number[];
  } = {},
): void {
  table.set({ flags, index, start, count, data: Uint8Array.from(more.data ?? NO_BODY) }, more.fds ?? []);
}

function connect(table: InterruptTable, index: number, start: number, fds: readonly number[]): void {
  set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, index, start, fds.length, { fds: [...fds] });
}

/** What the eventfd counted since the last call. */
function fired(fd: number | undefined): number {
  const count = new BigUint64Array(1);
  try {
    readSync(fd!, count);
  } catch {
    return 0;
  }
  return Number(count[0]);
}

function refused(action: () => void): void {
  try {
    action();
  } catch (error) {
    assert.instance(error, NicError);
    assert.is((error as NicError).errno, -EINVAL);
    return;
  }
  assert.unreachable('was accepted');
}

test('a connected vector fires, others do not', ({ table, fds }) => {
  connect(table, MSIX, 2, fds.slice(0, 2));
  table.raise(MSIX, 3);
  table.raise(MSIX, 3);
  table.raise(MSIX, 4);
  table.raise(MSI, 3);
  assert.equal(fds.map(fired), [0, 2, 0, 0]);
});

test('vectors that do not exist are nothing to raise', ({ table }) => {
  table.raise(9, 0);
  table.raise(MSIX, 8);
  table.raise(MSIX, -1);
});

test('a range that is set leaves the other vectors alone', ({ table, fds }) => {
  connect(table, MSIX, 0, fds.slice(0, 1));
  connect(table, MSIX, 1, fds.slice(1, 2));
  table.raise(MSIX, 0);
  table.raise(MSIX, 1);
  assert.equal(fds.map(fired), [1, 1, 0, 0]);
});

test('a new eventfd replaces the old one, which is closed', ({ table, fds }) => {
  connect(table, MSIX, 0, fds.slice(0, 1));
  const open = countFds();
  connect(table, MSIX, 0, fds.slice(1, 2));
  assert.is(countFds(), open - 1);
  table.raise(MSIX, 0);
  assert.is(fired(fds[1]), 1);
});

test('no descriptors: the range is disconnected', ({ table, fds }) => {
  connect(table, MSIX, 0, fds);
  const open = countFds();
  set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, MSIX, 1, 2);
  assert.is(countFds(), open - 2);
  table.raise(MSIX, 3);
  table.raise(MSIX, 1);
  assert.is(fired(fds[3]), 1);
});

test('count 0: all vectors of the index are disconnected', ({ table, fds }) => {
  connect(table, MSIX, 0, fds.slice(0, 2));
  connect(table, MSI, 0, fds.slice(2, 4));
  const open = countFds();
  set(table, IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, MSIX, 0, 0);
  assert.is(countFds(), open - 2);
  table.raise(MSI, 0);
  assert.is(fired(fds[2]), 1);
});

test('TRIGGER with NONE and BOOL fires the vectors', ({ table, fds }) => {
  connect(table, MSIX, 0, fds);
  set(table, IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, MSIX, 1, 2);
  assert.equal(fds.map(fired), [0, 1, 1, 0]);
  set(table, IRQ_DATA_BOOL | IRQ_ACTION_TRIGGER, MSIX, 0, 4, { data: [1, 0, 0, 1] });
  assert.equal(fds.map(fired), [1, 0, 0, 1]);
});

test('a masked vector holds one interrupt until it is unmasked', ({ table, fds }) => {
  connect(table, MSIX, 0, fds);
  set(table, IRQ_DATA_NONE | IRQ_ACTION_MASK, MSIX, 0, 2);
  for (let i = 0; i < 3; i++) table.raise(MSIX, 0);
  table.raise(MSIX, 2);
  assert.equal(fds.map(fired), [0, 0, 1, 0]);
  set(table, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, MSIX, 0, 2);
  assert.equal(fds.map(fired), [1, 0, 0, 0]);
  table.raise(MSIX, 0);
  assert.equal(fds.map(fired), [1, 0, 0, 0]);
});

test('MASK and UNMASK with BOOL act on the vectors that are set', ({ table, fds }) => {
  connect(table, MSI, 0, fds);
  set(table, IRQ_DATA_BOOL | IRQ_ACTION_MASK, MSI, 0, 4, { data: [1, 0, 1, 0] });
  for (let vector = 0; vector < 4; vector++) table.raise(MSI, vector);
  assert.equal(fds.map(fired), [0, 1, 0, 1]);
  set(table, IRQ_DATA_BOOL | IRQ_ACTION_UNMASK, MSI, 0, 4, { data: [0, 0, 1, 0] });
  assert.equal(fds.map(fired), [0, 0, 1, 0]);
});

test('disconnecting forgets masks and what is pending', ({ table, fds }) => {
  connect(table, MSIX, 0, fds.slice(0, 1));
  set(table, IRQ_DATA_NONE | IRQ_ACTION_MASK, MSIX, 0, 1);
  table.raise(MSIX, 0);
  set(table, IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, MSIX, 0, 0);
  connect(table, MSIX, 0, fds.slice(1, 2));
  set(table, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, MSIX, 0, 1);
  assert.is(fired(fds[1]), 0);
  table.raise(MSIX, 0);
  assert.is(fired(fds[1]), 1);
});

test('INTx masks itself when it fires, and fires again at unmask if raised meanwhile', ({ table, fds }) => {
  connect(table, INTX, 0, fds.slice(0, 1));
  table.raise(INTX, 0);
  assert.is(fired(fds[0]), 1);
  set(table, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, INTX, 0, 1);
  assert.is(fired(fds[0]), 0);
  table.raise(INTX, 0);
  table.raise(INTX, 0);
  assert.is(fired(fds[0]), 1);
  set(table, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, INTX, 0, 1);
  assert.is(fired(fds[0]), 1);
  table.raise(INTX, 0);
  assert.is(fired(fds[0]), 0);
});

test('UNMASK and MASK with an eventfd: the client’s signal on it acts', async ({ table, fds }) => {
  const [interrupt, maskEvent, unmaskEvent] = fds as [number, number, number];
  connect(table, INTX, 0, [interrupt]);
  set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_MASK, INTX, 0, 1, { fds: [maskEvent] });
  set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_UNMASK, INTX, 0, 1, { fds: [unmaskEvent] });
  table.raise(INTX, 0);
  table.raise(INTX, 0);
  assert.is(fired(interrupt), 1);
  const one = new BigUint64Array([1n]);
  writeSync(unmaskEvent, one);
  await until(() => fired(interrupt) === 1, 'the interrupt that was pending');
  writeSync(unmaskEvent, one);
  await until(() => fired(unmaskEvent) === 0, 'the signal to be taken');
  writeSync(maskEvent, one);
  await until(() => {
    table.raise(INTX, 0);
    const count = fired(interrupt);
    set(table, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, INTX, 0, 1);
    return count === 0;
  }, 'the mask');
  const open = countFds();
  set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_UNMASK, INTX, 0, 1);
  assert.is(countFds(), open - 1, 'no descriptor: not watched any more');
});

test('an eventfd that is full, and waits for room, does not stop the server', ({ table, fds }) => {
  connect(table, MSIX, 0, fds.slice(0, 1));
  setBlocking(fds[0]!, true);
  writeSync(fds[0]!, new BigUint64Array([0xfffffffffffffffen]));
  table.raise(MSIX, 0);
  table.raise(MSIX, 0);
  assert.is(fired(fds[0]), Number(0xffffffffffffffffn));
  table.raise(MSIX, 0);
  assert.is(fired(fds[0]), 1);
});

test('refused: what is not exactly one data type and one action', ({ table }) => {
  for (const flags of [
    0,
    IRQ_DATA_NONE,
    IRQ_ACTION_TRIGGER,
    IRQ_DATA_NONE | IRQ_DATA_BOOL | IRQ_ACTION_TRIGGER,
    IRQ_DATA_NONE | IRQ_ACTION_MASK | IRQ_ACTION_UNMASK,
    IRQ_DATA_NONE | IRQ_ACTION_TRIGGER | 0x40,
    0x80000000 + (IRQ_DATA_NONE | IRQ_ACTION_TRIGGER),
  ]) {
    refused(() => set(table, flags, MSIX, 0, 1));
  }
});

test('refused: indices and vectors that do not exist', ({ table }) => {
  const flags = IRQ_DATA_NONE | IRQ_ACTION_TRIGGER;
  refused(() => set(table, flags, 5, 0, 1));
  refused(() => set(table, flags, 0xffffffff, 0, 0));
  refused(() => set(table, flags, MSIX, 8, 1));
  refused(() => set(table, flags, MSIX, 0, 9));
  refused(() => set(table, flags, MSIX, 0xffffffff, 0xffffffff));
});

test('refused: count 0 with anything but NONE and TRIGGER', ({ table }) => {
  refused(() => set(table, IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, MSIX, 1, 0));
  refused(() => set(table, IRQ_DATA_NONE | IRQ_ACTION_MASK, MSIX, 0, 0));
  refused(() => set(table, IRQ_DATA_BOOL | IRQ_ACTION_TRIGGER, MSIX, 0, 0));
  refused(() => set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, MSIX, 0, 0));
});

test('refused: masks for ERR and REQ', ({ table, fds }) => {
  refused(() => set(table, IRQ_DATA_NONE | IRQ_ACTION_MASK, ERR, 0, 1));
  refused(() => set(table, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, REQ, 0, 1));
  connect(table, REQ, 0, fds.slice(0, 1));
  table.raise(REQ, 0);
  table.raise(REQ, 0);
  assert.is(fired(fds[0]), 2);
});

test('refused: data or descriptors of the wrong number', ({ table, fds }) => {
  refused(() => set(table, IRQ_DATA_BOOL | IRQ_ACTION_TRIGGER, MSIX, 0, 2, { data: [1] }));
  refused(() => set(table, IRQ_DATA_BOOL | IRQ_ACTION_TRIGGER, MSIX, 0, 2, { data: [1, 1, 1] }));
  refused(() => set(table, IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, MSIX, 0, 2, { data: [1] }));
  refused(() => set(table, IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, MSIX, 0, 1, { fds }));
  refused(() => set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, MSIX, 0, 3, { fds }));
  refused(() => set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, MSIX, 0, 5, { fds }));
  assert.is(fds.length, 4, 'what is refused stays the caller’s');
});

test('refused: a descriptor that is no eventfd, which could block the server', ({ table, fds }) => {
  const file = openSync('/dev/full', 'w');
  refused(() => set(table, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, MSIX, 0, 2, { fds: [fds[0]!, file] }));
  table.raise(MSIX, 0);
  assert.is(fired(fds[0]), 0, 'nothing of it was done');
  closeSync(file);
});

test.run();
