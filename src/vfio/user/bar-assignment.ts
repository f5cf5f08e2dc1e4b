/**
 * What firmware does for a device before its driver starts: gives its memory BARs addresses, and lets it answer there.
 * A served device has had no firmware. Servers that look at their BARs' addresses (QEMU's x-vfio-user-server, whose
 * models answer only where memory space is on) refuse register accesses until somebody did it.
 *
 * The client never uses the addresses; they only have to be plausible, and distinct within the device. Devices that one
 * server keeps in one address space may get the same ones: their clients do not know each other.
 *
 * Specification: PCI Local Bus 3.0, sections 6.2.2 (command register) and 6.2.5.1 (base address registers).
 */
import { ConfigSpace } from '../../pci/config-space.js';
import { Command, ConfigOffset, HeaderType } from '../../pci/registers.js';
import { PAGE_BYTES } from '../../syscalls/memory.js';
import type { Region } from '../region.js';

/** 32-bit addresses: a range that PCs give to devices, below the interrupt controllers. */
const LOW_START = 0xc000_0000;
const LOW_END = 0xfe00_0000;
/** 64-bit addresses: above all memory that a PC would have. */
const HIGH_START = 2 ** 40;

/**
 * Gives addresses to the memory BARs of a device if none of them has one, and turns memory space on. Leaves a device
 * that has an address in any BAR, or has no memory BAR, as it is.
 * @param region The device's config space.
 * @param barBytes Sizes of the BARs 0 to 5, 0 where there is none.
 * @throws NicError `DEVICE_GONE`, `CONFIG_SPACE` where it is faulty; what accesses to it throw
 */
export function assignBars(region: Region, barBytes: readonly number[]): void {
  const config = new ConfigSpace(region);
  if (config.headerType !== HeaderType.DEVICE) return;
  const bars = config.bars(barBytes).filter(({ kind }) => kind !== 'io');
  if (bars.length === 0 || bars.some(({ address }) => address !== 0n)) return;
  // a BAR may only move while nothing is decoded
  const { command } = config;
  if ((command & Command.MEMORY_SPACE) !== 0) config.command = command & ~Command.MEMORY_SPACE;
  // the largest first, which leaves no gaps
  let nextLow = LOW_START;
  let nextHigh = HIGH_START;
  const sizeOf = ({ index }: { readonly index: number }) => barBytes[index] ?? 0;
  for (const bar of bars.sort((a, b) => sizeOf(b) - sizeOf(a))) {
    const sizeBytes = sizeOf(bar);
    const is64Bit = bar.kind === 'mem64';
    let address = alignUp(nextLow, sizeBytes);
    if (address + sizeBytes <= LOW_END) {
      nextLow = address + sizeBytes;
    } else if (is64Bit) {
      address = alignUp(nextHigh, sizeBytes);
      nextHigh = address + sizeBytes;
    } else {
      continue; // stays without an address, as with firmware that has no room
    }
    const offset = ConfigOffset.BAR0 + 4 * bar.index;
    region.write32(offset, address % 2 ** 32);
    if (is64Bit) region.write32(offset + 4, Math.floor(address / 2 ** 32));
  }
  config.command = command | Command.MEMORY_SPACE;
}

/** Natural alignment, and a page at least: no two BARs share one. Sizes of BARs are powers of two. */
function alignUp(address: number, sizeBytes: number): number {
  const alignment = Math.max(sizeBytes, PAGE_BYTES);
  return Math.ceil(address / alignment) * alignment;
}
