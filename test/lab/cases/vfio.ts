/**
 * Both kernel back ends on real VFIO, without a driver: as root, with two igb NICs (82576) whose PCI addresses
 * are in /run/lab/u0 and /run/lab/u1.
 * Registers: Intel 82576 datasheet, sections 8.2 (general), 8.8 (interrupts), 8.12 (transmit).
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, ftruncateSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { mapShared, memfdCreate, munmap } from '../../../src/syscalls/memory.js';
import { Interrupts } from '../../../src/vfio/interrupts.js';
import { realKernel } from '../../../src/vfio/kernel-api.js';
import { VfioProcess } from '../../../src/vfio/open.js';
import { PciIrq, PciRegion, type VfioDevice } from '../../../src/vfio/types.js';
import { throwsNicError } from '../../support/expect-error.js';
import { suite } from '../suite.js';

const CTRL = 0x0000;
const STATUS = 0x0008;
const TCTL = 0x0400;
const GPIE = 0x1514;
const EICS = 0x1520;
const EIMS = 0x1524;
const TDBAL = 0xe000;
const TDBAH = 0xe004;
const TDLEN = 0xe008;
const TDT = 0xe018;
const TXDCTL = 0xe028;
const MIB = 2 ** 20;
const HUGE_2MB = 0x4 | (21 << 26);
/** Outside the guest's memory, so that an access without translation would be noticed. */
const IOVA = 0x1_4000_0000n;

const [first, second] = ['u0', 'u1'].map((name) => readFileSync(`/run/lab/${name}`, 'utf8').trim()) as [
  string,
  string,
];

function bind(address: string, driver: string): void {
  const device = `/sys/bus/pci/devices/${address}`;
  if (existsSync(`${device}/driver`)) writeFileSync(`${device}/driver/unbind`, address);
  writeFileSync(`${device}/driver_override`, driver);
  writeFileSync('/sys/bus/pci/drivers_probe', address);
}

const groupOf = (address: string) => basename(readlinkSync(`/sys/bus/pci/devices/${address}/iommu_group`));
const openDescriptors = () =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    const target = realKernel.readLink(`/proc/self/fd/${fd}`) ?? '';
    return /vfio|iommu|eventfd/.test(target) ? [target] : [];
  });
/** Node's own event loop and koffi have some. */
const descriptorsAtStart = () => openDescriptors().length;

/** Runs a piece of code that has `openVfio` as a user without privileges; returns what it printed. */
function asUser(code: string, memlockBytes: number): string {
  const script = `
    const { openVfio } = await import('${import.meta.dirname}/../../../src/vfio/open.js');
    const { memfdCreate, mapShared } = await import('${import.meta.dirname}/../../../src/syscalls/memory.js');
    try { ${code}; console.log('no error'); }
    catch (error) { console.log(error.code + ' | ' + error.message + ' | ' + error.hint); }`;
  const command = [
    '--reuid=1000',
    '--regid=1000',
    '--clear-groups',
    '--bounding-set=-all',
    '--inh-caps=-all',
  ];
  const node = [process.execPath, '--input-type=module', '-e', script];
  const limit = `--memlock=${memlockBytes}:${memlockBytes}`;
  const { stdout, stderr } = spawnSync('prlimit', [limit, 'setpriv', ...command, ...node], {
    encoding: 'utf8',
    env: process.env,
  });
  return stdout.trim() + stderr.trim();
}

/** Sends one frame by a legacy descriptor at the start of the memory; true when the NIC wrote back DD. */
async function transmits(device: VfioDevice, memory: ArrayBuffer): Promise<boolean> {
  const bar = device.region(PciRegion.BAR0);
  const words = new Uint32Array(memory);
  words.fill(0, 0, 2048);
  new Uint8Array(memory, 4096, 12).fill(0xff);
  words[0] = Number(IOVA & 0xffffffffn) + 4096;
  words[1] = Number(IOVA >> 32n);
  words[2] = 60 | (0x0b << 24);
  bar.write32(CTRL, bar.read32(CTRL) | 0x41);
  bar.write32(TCTL, 0);
  bar.write32(TXDCTL, 0);
  bar.write32(TDBAL, Number(IOVA & 0xffffffffn));
  bar.write32(TDBAH, Number(IOVA >> 32n));
  bar.write32(TDLEN, 4096);
  bar.write32(TXDCTL, 1 << 25);
  bar.write32(TCTL, 0x0103f0fa);
  bar.write32(TDT, 1);
  for (let i = 0; i < 20; i++) {
    await sleep(20);
    if (((words[3] ?? 0) & 1) !== 0) return true;
  }
  return false;
}

for (const backend of ['group', 'cdev'] as const) {
  const real = suite(`real kernel: ${backend}`);
  const vfio = new VfioProcess(realKernel, { BAREWIRE_VFIO: backend });
  const opened: VfioDevice[] = [];
  const open = (address: string, by = vfio) => {
    const device = by.open(address);
    opened.push(device);
    return device;
  };
  // A device that stays open would make the next driver change wait for ever.
  real.after.each(() => {
    for (const device of opened.splice(0)) device.close();
  });
  let before = 0;
  real.before(() => {
    for (const address of [first, second]) bind(address, 'vfio-pci');
  });
  real('opens two devices, reads registers and config space, resets', () => {
    // The first watch of an event counter makes koffi and libuv open what they keep.
    vfio.open(first).close();
    before = descriptorsAtStart();
    const a = open(first);
    const b = open(second);
    assert.is(a.backend, backend);
    assert.is(a.mapper, b.mapper);
    console.log(a.mapper.iovaRanges);
    assert.is(a.region(PciRegion.CONFIG).read32(0), 0x10c98086);
    assert.is(a.canReset, true);
    a.reset();
    const bar = a.region(PciRegion.BAR0);
    assert.is(bar.sizeBytes, 0x20000);
    assert.ok(bar.window(0, 0x20000), 'BAR0 is mapped');
    assert.is.not(bar.read32(STATUS), 0xffffffff);
    assert.is(a.region(PciRegion.BAR3).sizeBytes, 0x4000);
    throwsNicError('ALREADY_OPEN', /is open/, () => vfio.open(first));
    a.close();
    assert.is.not(b.region(PciRegion.BAR0).read32(STATUS), 0xffffffff, 'the other one goes on');
    b.close();
  });
  real('the slow path reads what the mapping reads', () => {
    const slow = open(
      first,
      new VfioProcess({ ...realKernel, ioctl: withoutMapping }, { BAREWIRE_VFIO: backend }),
    );
    const bar = slow.region(PciRegion.BAR0);
    assert.is(bar.window(0, 4), undefined);
    assert.is.not(bar.read32(STATUS), 0xffffffff);
    bar.write32(TDBAL, 0x12345680);
    assert.is(bar.read32(TDBAL), 0x12345680);
    slow.close();
  });
  real('DMA through the IOMMU, and none after unmapping', async () => {
    const fd = memfdCreate('lab', HUGE_2MB);
    ftruncateSync(fd, 2 * MIB);
    const memory = mapShared(fd, 2 * MIB);
    const device = open(first);
    device.reset();
    device.mapper.map({ address: memory.address, fd, sizeBytes: 2 * MIB }, IOVA);
    assert.is(await transmits(device, memory.buffer), false, 'no bus mastering yet');
    device.reset();
    device.enableBusMaster();
    assert.is(await transmits(device, memory.buffer), true);
    throwsNicError('DMA_MAP', /EEXIST|EADDRINUSE/, () =>
      device.mapper.map({ address: memory.address, fd, sizeBytes: 2 * MIB }, IOVA),
    );
    const outside = throwsNicError('DMA_MAP', /./, () =>
      device.mapper.map({ address: memory.address, fd, sizeBytes: 2 * MIB }, 0xfee0_0000n),
    );
    console.log(`${outside.message} | ${outside.hint}`);
    device.mapper.unmap(IOVA, 2 * MIB);
    device.reset();
    device.enableBusMaster();
    assert.is(await transmits(device, memory.buffer), false, 'unmapped');
    device.close();
    munmap(memory);
    realKernel.close(fd);
  });
  real('MSI-X: each vector wakes its own counter', async () => {
    const device = open(first);
    const info = device.irqInfo(PciIrq.MSIX);
    console.log(info, device.irqInfo(PciIrq.ERR), device.irqInfo(PciIrq.REQ));
    assert.ok(info.count >= 3 && info.eventfd);
    // A message signalled interrupt is a write to memory: it needs bus mastering.
    device.enableBusMaster();
    const interrupts = new Interrupts(device, 3);
    const bar = device.region(PciRegion.BAR0);
    bar.write32(GPIE, 0x80000011);
    bar.write32(EIMS, 7);
    const wait = interrupts.wait(2, { timeoutMs: 5000 });
    bar.write32(EICS, 1 << 2);
    assert.ok((await wait) >= 1);
    assert.is(interrupts.drain(0), 0);
    bar.write32(EICS, 1 << 0);
    assert.ok((await interrupts.wait(0, { timeoutMs: 5000 })) >= 1);
    interrupts.close();
    const again = new Interrupts(device, info.count);
    bar.write32(EIMS, 7);
    bar.write32(EICS, 1 << 1);
    assert.ok((await again.wait(1, { timeoutMs: 5000 })) >= 1);
    again.close();
  });
  real('unbinding the driver asks for the device back', async () => {
    const device = open(second);
    const gone = new Promise<Error>((resolve) => device.onGone(resolve));
    const keepAlive = setTimeout(() => {}, 20_000);
    const unbind = spawn('bash', ['-c', `echo ${second} > /sys/bus/pci/drivers/vfio-pci/unbind`]);
    const ended = new Promise((resolve) => unbind.once('exit', resolve));
    assert.match((await gone).message, /the kernel asks for it back/);
    device.close();
    assert.is(await ended, 0);
    clearTimeout(keepAlive);
    throwsNicError('NOT_BOUND', /not bound to any driver/, () => vfio.open(second));
    bind(second, 'vfio-pci');
  });
  real('another process has it', () => {
    const device = open(first);
    const other = spawnSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `const { openVfio } = await import('${import.meta.dirname}/../../../src/vfio/open.js');
        try { await openVfio('${first}'); } catch (error) { console.log(error.code + ' | ' + error.message); }`,
      ],
      { encoding: 'utf8', env: { ...process.env, BAREWIRE_VFIO: backend } },
    );
    console.log(other.stdout.trim(), other.stderr);
    assert.match(other.stdout, /^GROUP_BUSY \| [^,]* in use by node \(pid \d+\):/);
    device.close();
  });
  real('without privileges: permission, then the limit of locked memory', () => {
    process.env.BAREWIRE_VFIO = backend;
    const denied = asUser(`await openVfio('${first}')`, MIB);
    console.log(denied);
    assert.match(denied, /^NO_PERMISSION/);
    const nodes = [`/dev/vfio/${groupOf(first)}`, '/dev/vfio/vfio', '/dev/iommu'];
    const cdev = readdirSync(`/sys/bus/pci/devices/${first}/vfio-dev`)[0];
    execFileSync('chown', ['1000', ...nodes, `/dev/vfio/devices/${cdev}`]);
    const map = `
      const fd = memfdCreate('x', 0); (await import('node:fs')).ftruncateSync(fd, ${4 * MIB});
      const memory = mapShared(fd, ${4 * MIB});
      (await openVfio('${first}')).mapper.map({ address: memory.address, fd, sizeBytes: ${4 * MIB} }, 0x200000n)`;
    const locked = asUser(map, MIB);
    console.log(locked);
    assert.match(locked, /^MEMLOCK_LIMIT \| .*may lock 1 MiB, and 4 MiB are needed/);
    assert.is(asUser(map, 64 * MIB), 'no error');
    execFileSync('chown', ['0', ...nodes, `/dev/vfio/devices/${cdev}`]);
    delete process.env.BAREWIRE_VFIO;
  });
  real('leaks no descriptor', () => {
    assert.is(openDescriptors().length, before, openDescriptors().join(', '));
  });
  real.run();
}

/** The real ioctl, but VFIO_DEVICE_GET_REGION_INFO says that nothing may be mapped. */
function withoutMapping(fd: number, request: number, argument: Uint8Array | number | string): number {
  const result = realKernel.ioctl(fd, request, argument);
  if (request === 0x3b6c && argument instanceof Uint8Array) argument[4] = (argument[4] ?? 0) & ~0xc;
  return result;
}
