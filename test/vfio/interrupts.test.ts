import * as assert from 'uvu/assert';
import { Interrupts } from '../../src/vfio/interrupts.js';
import { VfioProcess } from '../../src/vfio/open.js';
import { PciIrq } from '../../src/vfio/types.js';
import { throwsNicError } from '../support/expect-error.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';
import { FakeKernel } from './support/fake-kernel.js';

const A = '0000:03:00.0';

function machine() {
  const kernel = new FakeKernel();
  const card = kernel.addDevice(A, '7');
  const device = new VfioProcess(kernel, {}).open(A);
  const fd = (vector: number, index: number = PciIrq.MSIX) => card.irqs.get(index)?.[vector] ?? -1;
  return { kernel, card, device, fire: (vector: number, count = 1) => kernel.signal(fd(vector), count), fd };
}

const connect = suite('interrupts: connecting');
connect('all vectors in one request', () => {
  const { kernel, card, device } = machine();
  card.irqRequests.length = 0;
  const interrupts = new Interrupts(device, 3, { kernel });
  assert.is(interrupts.count, 3);
  assert.equal(card.irqRequests, [{ index: PciIrq.MSIX, count: 3 }]);
  interrupts.close();
  interrupts.close();
  assert.is(card.irqs.has(PciIrq.MSIX), false);
  device.close();
  assert.is(kernel.openCount, 0);
  assert.equal(kernel.violations, []);
});
connect('MSI where it is asked for', () => {
  const { kernel, card, device } = machine();
  const interrupts = new Interrupts(device, 1, { kernel, index: PciIrq.MSI });
  assert.is(card.irqs.has(PciIrq.MSI), true);
  interrupts.close();
  device.close();
});
connect('too many: nothing is left open', () => {
  const { kernel, device } = machine();
  const before = kernel.openCount;
  throwsNicError('INTERRUPTS', /has 10 vectors/, () => new Interrupts(device, 11, { kernel }));
  assert.is(kernel.openCount, before);
  device.close();
});
connect('may be closed after its device', () => {
  const { kernel, device } = machine();
  const interrupts = new Interrupts(device, 2, { kernel });
  device.close();
  interrupts.close();
  assert.is(kernel.openCount, 0);
  assert.equal(kernel.violations, []);
});
connect('a vector that is not there, and after close', async () => {
  const { kernel, device } = machine();
  const interrupts = new Interrupts(device, 2, { kernel });
  throwsNicError('INTERRUPTS', /no connected vector 2 \(there are 2\)/, () => interrupts.drain(2));
  interrupts.close();
  throwsNicError('CLOSED', /closed/, () => interrupts.drain(0));
  await interrupts.wait(0).then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, 'CLOSED'),
  );
});
connect.run();

const waiting = suite('interrupts: waiting');
waiting('wakes with the number of interrupts, of its own vector', async () => {
  const { kernel, device, fire } = machine();
  const interrupts = new Interrupts(device, 2, { kernel });
  const wait = interrupts.wait(1);
  fire(0);
  fire(1, 3);
  assert.is(await wait, 3);
  assert.is(interrupts.drain(0), 1);
  assert.is(interrupts.drain(0), 0);
  interrupts.close();
});
waiting('what came before counts, also while nobody waited', async () => {
  const { kernel, device, fire } = machine();
  const interrupts = new Interrupts(device, 1, { kernel });
  fire(0, 2);
  assert.is(await interrupts.wait(0, { timeoutMs: HANG_MS }), 2, 'before the first wait');
  const first = interrupts.wait(0);
  fire(0);
  await first;
  fire(0);
  fire(0);
  assert.is(await interrupts.wait(0, { timeoutMs: HANG_MS }), 2, 'between two waits');
  interrupts.close();
});
waiting('ends with 0 by time, by signal, by close', async () => {
  const { kernel, device } = machine();
  const interrupts = new Interrupts(device, 1, { kernel });
  assert.is(await interrupts.wait(0, { timeoutMs: 1 }), 0);
  const abort = new AbortController();
  const aborted = interrupts.wait(0, { signal: abort.signal });
  abort.abort();
  assert.is(await aborted, 0);
  assert.is(await interrupts.wait(0, { signal: abort.signal }), 0);
  const closed = interrupts.wait(0);
  interrupts.close();
  assert.is(await closed, 0);
});
waiting('one wait a vector', async () => {
  const { kernel, device, fire } = machine();
  const interrupts = new Interrupts(device, 1, { kernel });
  const wait = interrupts.wait(0);
  await interrupts.wait(0).then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, 'INTERRUPTS'),
  );
  fire(0);
  assert.is(await wait, 1);
  interrupts.close();
});
waiting('listeners hear each wake-up until they are removed', () => {
  const { kernel, device, fire } = machine();
  const interrupts = new Interrupts(device, 1, { kernel });
  const heard: number[] = [];
  const listener = (count: number) => heard.push(count);
  const removeFirst = interrupts.onInterrupt(0, listener);
  const removeSecond = interrupts.onInterrupt(0, listener);
  fire(0);
  removeFirst();
  fire(0, 5);
  removeSecond();
  fire(0);
  assert.equal(heard, [1, 1, 5]);
  assert.is(interrupts.drain(0), 1);
  interrupts.close();
});
waiting.run();
