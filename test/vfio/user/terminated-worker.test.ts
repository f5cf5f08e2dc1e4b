/** worker.terminate() with an open device: the process goes on, and the device is free again. */
import * as assert from 'uvu/assert';
import { DIST, runScript } from '../../support/child.js';
import { suite } from '../../support/suite.js';
import { startHost } from './support/harness.js';

const test = suite('terminated workers');
const WORKERS = 12;

test('a device open and interrupting when its thread is terminated', async () => {
  const host = await startHost();
  try {
    // each worker opens the device, which is only possible when the one before has let it go
    const { status, signal, stderr } = runScript(`
      import { Worker } from 'node:worker_threads';
      import { once } from 'node:events';
      const code = \`
        import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
        import { parentPort } from 'node:worker_threads';
        import { connectVfioUser } from '${DIST}/src/vfio/user/client.js';
        import { Interrupts } from '${DIST}/src/vfio/interrupts.js';
        import { Op, Register } from '${DIST}/test/vfio/user/support/test-device.js';
        let device;
        while (device === undefined) {
          try { device = await connectVfioUser('${host.path}'); } catch { await delay(5); }
        }
        const bar = device.region(0);
        const interrupts = new Interrupts(device, 4);
        let count = 0;
        for (let vector = 0; vector < 4; vector++) {
          interrupts.onInterrupt(vector, () => { if (++count === 20) parentPort.postMessage('open'); });
        }
        bar.write32(Register.LENGTH, 2);
        for (let i = 0; ; i++) {
          bar.write32(Register.VALUE, i % 4);
          bar.write32(Register.OP, Op.RAISE);
          await nextTurn();
        }\`;
      for (let i = 0; i < ${WORKERS}; i++) {
        const worker = new Worker(code, { eval: true });
        worker.on('error', (error) => { console.error(error); process.exit(1); });
        await once(worker, 'message');
        await worker.terminate();
      }`);
    assert.equal([status, signal], [0, null], stderr.slice(0, 2000));
  } finally {
    await host.stop();
  }
});
test.run();
