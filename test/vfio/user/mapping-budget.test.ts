/** The process's mappings, shared among servers and devices: each has its part, and takes nothing from the others. */
import { closeSync, ftruncateSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, memfdCreate } from '../../../src/syscalls/memory.js';
import { MappingBudget } from '../../../src/vfio/user/mapping-budget.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { DIST, runScript } from '../../support/child.js';
import { suite } from '../../support/suite.js';
import { fixtureSuite, RawClient, startHost } from './support/harness.js';

const { ENOSPC } = constants.errno;
const MIB = 2 ** 20;

const budget = suite('mapping budget');

budget('one holder has all of it, of two each half', () => {
  const mappings = new MappingBudget(10, 1000);
  const a = mappings.join();
  assert.is(a.maxMappings, 10);
  const b = mappings.join();
  assert.equal([a.maxMappings, b.maxMappings], [5, 5]);
  for (let i = 0; i < 5; i++) assert.ok(a.take(4096));
  assert.not(a.take(4096));
  for (let i = 0; i < 5; i++) assert.ok(b.take(4096));
  a.give(4096);
  assert.ok(a.take(4096));
  b.leave();
  b.leave();
  assert.is(a.maxMappings, 10);
});

budget('what is left counts, too: others may hold more than their part', () => {
  const mappings = new MappingBudget(10, 1000);
  const a = mappings.join();
  for (let i = 0; i < 9; i++) assert.ok(a.take(4096));
  const b = mappings.join();
  assert.ok(b.take(4096));
  assert.not(b.take(4096));
  a.give(4096);
  assert.ok(b.take(4096));
});

budget('address space is counted in MiB that have begun', () => {
  const mappings = new MappingBudget(100, 8);
  const a = mappings.join();
  assert.not(a.take(8 * MIB + 1));
  assert.ok(a.take(4 * MIB + 1));
  assert.not(a.take(4 * MIB));
  assert.ok(a.take(3 * MIB));
  a.give(4 * MIB + 1);
  assert.ok(a.take(5 * MIB));
});

budget('all threads of a process share it', async () => {
  const { status, stderr } = runScript(`
    import { Worker } from 'node:worker_threads';
    import { processMappings } from '${DIST}/src/vfio/user/mapping-budget.js';
    const share = processMappings.join();
    const before = share.maxMappings;
    const worker = new Worker(
      "import('${DIST}/src/vfio/user/mapping-budget.js').then((budget) => budget.processMappings.join())",
      { eval: true });
    worker.on('exit', () => process.exit(share.maxMappings === Math.floor(before / 2) ? 0 : 1));`);
  assert.is(status, 0, stderr);
});
budget.run();

const server = fixtureSuite('vfio-user server: a client that maps without end', {
  start: async () => ({ host: await startHost() }),
  enter: ({ host }) => ({ client: RawClient.negotiated(host.path) }),
  leave: ({ client }) => client.close(),
  stop: ({ host }) => host.stop(),
});

function map(client: RawClient, fd: number, index: number, sizeBytes = 4096n): number {
  // every other one can be written: the kernel does not join them
  const flags = index % 2 === 0 ? 1 : 3;
  const body = protocol.encodeDmaMap({ flags, offset: 0n, iova: BigInt(index) * 2n * sizeBytes, sizeBytes });
  return client.errnoOf(protocol.Command.DMA_MAP, body, [fd]);
}

server(
  'is refused long before the kernel has no more mappings, and told so in advance',
  ({ client, host }) => {
    const allowed = Number.parseInt(readFileSync('/proc/sys/vm/max_map_count', 'utf8'), 10);
    const fd = memfdCreate('budget', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ftruncateSync(fd, 4096);
    let count = 0;
    while (map(client, fd, count) === 0) count++;
    assert.is(map(client, fd, count), ENOSPC);
    const mappings = readFileSync(`/proc/${host.pid}/maps`, 'utf8').split('\n').length;
    assert.ok(count > 100 && mappings < allowed * 0.75, `${count} maps, ${mappings} mappings of ${allowed}`);
    const all = protocol.encodeDmaUnmap({ flags: protocol.DMA_UNMAP_ALL, iova: 0n, sizeBytes: 0n });
    assert.is(client.errnoOf(protocol.Command.DMA_UNMAP, all), 0);
    assert.is(map(client, fd, 0), 0, 'what was given back can be taken again');
    closeSync(fd);
  },
);
server.run();

const space = fixtureSuite('vfio-user server: a client that maps more memory than there is', {
  start: async () => ({ host: await startHost() }),
  enter: ({ host }) => ({ client: RawClient.negotiated(host.path) }),
  leave: ({ client }) => client.close(),
  stop: ({ host }) => host.stop(),
});

space('is refused before the address space is used up', ({ client }) => {
  const fd = memfdCreate('budget', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(fd, 2 ** 40);
  let count = 0;
  while (count < 200 && map(client, fd, count, 2n ** 40n) === 0) count++;
  assert.ok(count >= 8 && count <= 64, `${count} TiB of 128`);
  closeSync(fd);
});
space.run();

const ports = fixtureSuite('vfio-user servers of one process', {
  start: () => ({ folder: mkdtempSync(join(tmpdir(), 'barewire-')) }),
  enter: () => ({}),
  leave: () => {},
  stop: ({ folder }) => rmSync(folder, { recursive: true }),
});

ports('a client that has taken its part takes nothing from the other port’s', async ({ folder }) => {
  const paths = [join(folder, 'a'), join(folder, 'b')];
  const worker = new Worker(
    `const { workerData, parentPort } = require('node:worker_threads');
    (async () => {
      const { VfioUserServer } = await import('${DIST}/src/vfio/user/server.js');
      const { TestDevice } = await import('${DIST}/test/vfio/user/support/test-device.js');
      const servers = workerData.map((path) => VfioUserServer.listen(path, new TestDevice()));
      parentPort.once('message', () => servers.forEach((server) => server.close()));
      parentPort.postMessage('ready');
    })();`,
    { eval: true, workerData: paths, trackUnmanagedFds: false },
  );
  await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  const fd = memfdCreate('budget', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(fd, 4096);
  const [greedy, modest] = paths.map((path) => RawClient.negotiated(path));
  let count = 0;
  while (map(greedy!, fd, count) === 0) count++;
  for (let i = 0; i < 100; i++) assert.is(map(modest!, fd, i), 0);
  greedy!.close();
  modest!.close();
  closeSync(fd);
  const exit = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage('close');
  await exit;
});
ports.run();
