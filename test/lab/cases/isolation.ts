/**
 * The IOMMU stands between device and memory: a device that is told to use memory that is unmapped reaches nothing, and
 * the kernel says so. With the driver's own rings, so the descriptors are those of real use.
 */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import { open } from '../../../src/driver/registry.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { addNamespace, bindDriver, dmarFaults, kernelLog, nicAddress } from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { sleep, waitFor } from '../processes.js';
import { suite } from '../suite.js';
import { isBusMaster, isTestFrame, note, testFrame } from '../wire.js';

const address = nicAddress(0);
const FRAME = testFrame(200, 1);
const PATTERN = 0xa5;

addNamespace('A', 0);
bindDriver(address, 'vfio-pci');
const peer = new PacketSocket('k0', 'A');

/** Takes what has arrived and gives the buffers back; true where the test's frame was among it. */
function receivesFrame(nic: NetDevice): boolean {
  const bufs = new Uint32Array(32);
  const count = nic.rxQueues[0]!.receive(bufs);
  const found = Array.from(bufs.subarray(0, count)).some(
    (buf) => nic.pool.lengths[buf] === FRAME.length && FRAME.equals(nic.pool.bytes(buf).subarray(0, 200)),
  );
  nic.pool.release(bufs, count);
  return found;
}

/** Control of the refused accesses: a frame each way. */
async function assertPasses(nic: NetDevice): Promise<void> {
  peer.send(FRAME);
  await waitFor('a frame from the peer', () => receivesFrame(nic));
  sendFrame(nic);
  const [sent] = await peer.collect(1, isTestFrame);
  assert.ok(sent && FRAME.equals(sent), 'the peer received the frame');
}

function sendFrame(nic: NetDevice): void {
  const bufs = new Uint32Array(1);
  assert.is(nic.pool.allocate(bufs, bufs.length), 1);
  nic.pool.bytes(bufs[0]!).set(FRAME);
  nic.pool.lengths[bufs[0]!] = FRAME.length;
  assert.is(nic.txQueues[0]!.send(bufs, bufs.length), 1);
}

/** Waits for a fault of that kind and device in the kernel's log; returns its line and address. */
async function waitForFault(kind: string, before: string): Promise<{ line: string; iova: bigint }> {
  const pattern = new RegExp(
    `\\[DMA ${kind}.*device \\[${address.slice(5)}\\] fault addr (0x[0-9a-f]+).*reason`,
  );
  const line = await waitFor(`a DMAR fault (${kind})`, () =>
    dmarFaults(kernelLog(before)).find((text) => pattern.test(text)),
  );
  return { line, iova: BigInt(pattern.exec(line)![1]!) };
}

for (const backend of ['group', 'cdev'] as const) {
  const isolation = suite(`isolation, ${backend}`);
  let pool: PacketPool;
  let nic: NetDevice;

  isolation.before(async () => {
    process.env.BAREWIRE_VFIO = backend;
    pool = new PacketPool({ buffers: 2048 });
    nic = await open(address, { pool, promiscuous: true });
    assert.is(nic.vfio!.backend, backend);
    await nic.waitForLink({ timeoutMs: 90_000 });
  });

  isolation.after(async () => {
    await nic.close();
    pool.close();
  });

  isolation('mapped memory is reached, without any fault', async () => {
    const before = kernelLog();
    await assertPasses(nic);
    assert.equal(dmarFaults(kernelLog(before)), []);
  });

  isolation('unmapped memory is neither written nor read, and the kernel logs a DMAR fault', async () => {
    const before = kernelLog();
    const first = (BigInt(pool.iovaHigh) << 32n) | BigInt(pool.frameIovaLow - pool.headroomBytes);
    const last = first + BigInt(pool.memory.length - 1);
    pool.detach(nic.vfio!.mapper);
    pool.memory.fill(PATTERN);

    peer.send(FRAME);
    const write = await waitForFault('Write', before);
    assert.ok(write.iova >= first && write.iova <= last, write.line);
    await sleep(200);
    const expected = Buffer.alloc(pool.memory.length, PATTERN);
    assert.is(expected.compare(pool.memory), 0, 'no byte has changed');

    sendFrame(nic);
    const read = await waitForFault('Read', before);
    assert.ok(read.iova >= first && read.iova <= last, read.line);
    assert.equal(await peer.collect(1, isTestFrame, 500), [], 'the memory did not leave');
    note(`${backend}: ${write.line.trim()}`);
    note(`${backend}: ${read.line.trim()}`);

    pool.attach(nic.vfio!.mapper);
    while (nic.rxQueues[0]!.pending) receivesFrame(nic);
    await assertPasses(nic);
  });

  isolation('bus mastering decides: off, nothing arrives; on, it does', async () => {
    assert.is(isBusMaster(address), true);
    nic.vfio!.disableBusMaster();
    assert.is(isBusMaster(address), false);
    const before = kernelLog();
    peer.send(FRAME);
    await sleep(500);
    assert.is(receivesFrame(nic), false);
    assert.equal(dmarFaults(kernelLog(before)), []);
    nic.vfio!.enableBusMaster();
    assert.is(isBusMaster(address), true);
    await waitFor('frames', () => {
      peer.send(FRAME);
      return receivesFrame(nic);
    });
  });

  isolation('opening and closing under traffic leaves no access behind', async () => {
    const before = kernelLog();
    const flood = setInterval(() => {
      for (let i = 0; i < 20; i++) peer.offer(FRAME);
    }, 1);
    try {
      for (let i = 0; i < 4; i++) {
        await nic.close();
        assert.is(pool.available, pool.capacity, 'every buffer is back');
        await sleep(50);
        nic = await open(address, { pool, promiscuous: true });
        await waitFor('frames', () => receivesFrame(nic));
      }
    } finally {
      clearInterval(flood);
    }
    await nic.close();
    await sleep(100);
    assert.equal(dmarFaults(kernelLog(before)), []);
  });

  isolation.run();
}
