/**
 * What a test does to the guest around the driver it tests: NICs and their kernel drivers, network namespaces, VFIO
 * nodes, the kernel's log. Runs in the guest, as root.
 */
import {
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { run, waitFor } from './processes.js';
import { peerMac } from './qemu.js';

/** PCI address of device under test i, whatever driver it has now. */
export function nicAddress(index: number): string {
  return readFileSync(`/run/lab/u${index}`, 'utf8').trim();
}

/** PCI addresses of all devices under test, by index. */
export function nicAddresses(): string[] {
  const count = readdirSync('/run/lab').filter((name) => /^u\d+$/.test(name)).length;
  return Array.from({ length: count }, (_, index) => nicAddress(index));
}

/** Kernel interface of a PCI function, such as `eth0`; undefined while no kernel network driver has it. */
export function interfaceOf(address: string): string | undefined {
  return readdirSync('/sys/class/net').find((name) => {
    const device = join('/sys/class/net', name, 'device');
    // A virtio interface's device is a child of the function.
    return existsSync(device) && realpathSync(device).split('/').includes(address);
  });
}

/** Name of the interface with that MAC address in this namespace; undefined if there is none. */
export function interfaceByMac(mac: string): string | undefined {
  return readdirSync('/sys/class/net').find(
    (name) => readFileSync(`/sys/class/net/${name}/address`, 'utf8').trim() === mac,
  );
}

/** Name of the driver that has the PCI function, if any. */
export function driverOf(address: string): string | undefined {
  const link = `/sys/bus/pci/devices/${address}/driver`;
  return existsSync(link) ? basename(readlinkSync(link)) : undefined;
}

/** Gives a PCI function to the driver of that name (`vfio-pci`, `igb`), or to none. */
export function bindDriver(address: string, driver: string | undefined): void {
  const device = `/sys/bus/pci/devices/${address}`;
  if (existsSync(`${device}/driver`)) writeFileSync(`${device}/driver/unbind`, address);
  writeFileSync(`${device}/driver_override`, `${driver ?? ''}\n`);
  if (!driver) return;
  writeFileSync('/sys/bus/pci/drivers_probe', address);
  if (driverOf(address) !== driver)
    throw new Error(`${address} has driver ${driverOf(address)}, not ${driver}`);
}

/** Number of the function's IOMMU group. */
export function iommuGroup(address: string): number {
  return Number(basename(readlinkSync(`/sys/bus/pci/devices/${address}/iommu_group`)));
}

/** Path of the function's VFIO character device, such as `/dev/vfio/devices/vfio0`. */
export function vfioCdev(address: string): string {
  const [name] = readdirSync(`/sys/bus/pci/devices/${address}/vfio-dev`);
  return `/dev/vfio/devices/${name}`;
}

/** Gives a user the nodes it needs to open the function: group, cdev and /dev/iommu. */
export function chownVfio(address: string, uid = 1000): void {
  for (const path of [
    `/dev/vfio/${iommuGroup(address)}`,
    vfioCdev(address),
    '/dev/vfio/vfio',
    '/dev/iommu',
  ]) {
    if (existsSync(path)) chownSync(path, uid, uid);
  }
}

/** Number of free 2 MiB hugepages. */
export function freeHugepages(): number {
  return Number(readFileSync('/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', 'utf8'));
}

/**
 * Moves peer i into a new network namespace, as interface `k<i>`, and brings it up.
 *
 * @param address with its prefix length, such as `10.0.0.1/24`
 * @returns the interface's name in the namespace
 */
export function addNamespace(netns: string, index: number, address?: string): string {
  const current = interfaceByMac(peerMac(index));
  if (!current) throw new Error(`no interface with MAC address ${peerMac(index)}`);
  return moveToNamespace(netns, current, `k${index}`, address);
}

/** Moves an interface into a new network namespace, under a new name, and brings it up. Returns the new name. */
export function moveToNamespace(netns: string, current: string, name: string, address?: string): string {
  run('ip', ['netns', 'add', netns]);
  run('ip', ['link', 'set', current, 'netns', netns, 'name', name]);
  const commands = [`link set lo up`, `link set ${name} up`];
  if (address) commands.push(`address add ${address} dev ${name} nodad`);
  run('ip', ['-n', netns, '-batch', '-'], { input: `${commands.join('\n')}\n` });
  return name;
}

/** Deletes a namespace of {@link addNamespace}; its physical interface comes back to this one. */
export function removeNamespace(netns: string): void {
  run('ip', ['netns', 'delete', netns]);
}

/** Waits until the interface is up and has a carrier. */
export async function waitForCarrier(name: string, netns?: string, timeoutMs = 90_000): Promise<void> {
  const ask = () => run('ip', [...(netns ? ['-n', netns] : []), 'link', 'show', name]).includes('LOWER_UP');
  await waitFor(`the carrier of ${name}`, ask, timeoutMs);
}

/** The kernel's log since boot, or what was added after an earlier reading of it. */
export function kernelLog(after = ''): string {
  const log = run('dmesg', []);
  return log.startsWith(after) ? log.slice(after.length) : log;
}

/** The lines of the kernel's log that are warnings or worse, from the first line on that matches. */
export function kernelWarningsSince(pattern: RegExp): string[] {
  const lines = kernelLog().split('\n');
  const seconds = (line: string) => Number(line.match(/^\[ *(\d+\.\d+)\]/)?.[1] ?? 0);
  const first = lines.find((line) => pattern.test(line));
  if (!first) throw new Error(`nothing in the kernel's log matches ${pattern}`);
  const warnings = run('dmesg', ['--level', 'emerg,alert,crit,err,warn']).split('\n');
  return warnings.filter((line) => seconds(line) >= seconds(first));
}

/** The lines of a log in which the Intel IOMMU reports a refused access. */
export function dmarFaults(log: string): string[] {
  return log.split('\n').filter((line) => /DMAR: \[.*fault/.test(line));
}
