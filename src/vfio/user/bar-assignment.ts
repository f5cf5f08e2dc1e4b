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
import { Command, ConfigOffset } from '../../pci/registers.js';
import type { Region } from '../region.js';

const HEADER_TYPE_DEVICE = 0;
/** Bit 7 says that the device has more functions. */
const HEADER_TYPE_MASK = 0x7f;
export const BAR_COUNT = 6;
const BAR_IO = 1 << 0;
const BAR_TYPE_MASK = 3 << 1;
const BAR_TYPE_64_BIT = 2 << 1;
const BAR_FLAGS_MASK = 0xf;
/** 32-bit addresses: a range that PCs give to devices, below the interrupt controllers. */
const LOW_START = 0xc000_0000;
const LOW_END = 0xfe00_0000;
/** 64-bit addresses: above all memory that a PC would have. */
const HIGH_START = 2 ** 40;
const PAGE_BYTES = 4096;

interface MemoryBar {
  /** Of its register in config space. */
  readonly offset: number;
  readonly sizeBytes: number;
  readonly is64Bit: boolean;
  readonly address: number;
}

/**
 * Gives addresses to the memory BARs of a device if none of them has one, and turns memory space on. Leaves a device
 * that has an address in any BAR, or has no memory BAR, as it is.
 * @param config The device's config space.
 * @param barBytes Sizes of the BARs 0 to 5, 0 where there is none.
 * @throws NicError what accesses to `config` throw
 */
export function assignBars(config: Region, barBytes: readonly number[]): void {
  if ((config.read8(ConfigOffset.HEADER_TYPE) & HEADER_TYPE_MASK) !== HEADER_TYPE_DEVICE) return;
  const bars = memoryBars(config, barBytes);
  if (bars.length === 0 || bars.some(({ address }) => address !== 0)) return;
  // a BAR may only move while nothing is decoded
  const command = config.read16(ConfigOffset.COMMAND);
  if ((command & Command.MEMORY_SPACE) !== 0)
    config.write16(ConfigOffset.COMMAND, command & ~Command.MEMORY_SPACE);
  // the largest first, which leaves no gaps
  let nextLow = LOW_START;
  let nextHigh = HIGH_START;
  for (const bar of bars.sort((a, b) => b.sizeBytes - a.sizeBytes)) {
    let address = alignUp(nextLow, bar.sizeBytes);
    if (address + bar.sizeBytes <= LOW_END) {
      nextLow = address + bar.sizeBytes;
    } else if (bar.is64Bit) {
      address = alignUp(nextHigh, bar.sizeBytes);
      nextHigh = address + bar.sizeBytes;
    } else {
      continue; // stays without an address, as with firmware that has no room
    }
    config.write32(bar.offset, address % 2 ** 32);
    if (bar.is64Bit) config.write32(bar.offset + 4, Math.floor(address / 2 ** 32));
  }
  config.write16(ConfigOffset.COMMAND, command | Command.MEMORY_SPACE);
}

function memoryBars(config: Region, barBytes: readonly number[]): MemoryBar[] {
  const bars: MemoryBar[] = [];
  for (let index = 0; index < BAR_COUNT; index++) {
    const offset = ConfigOffset.BAR0 + 4 * index;
    const low = config.read32(offset);
    if ((low & BAR_IO) !== 0) continue;
    const sizeBytes = barBytes[index] ?? 0;
    const is64Bit = (low & BAR_TYPE_MASK) === BAR_TYPE_64_BIT && index + 1 < BAR_COUNT;
    const high = is64Bit ? config.read32(offset + 4) : 0;
    if (is64Bit) index++; // the other half
    if (sizeBytes === 0) continue;
    bars.push({ offset, sizeBytes, is64Bit, address: high * 2 ** 32 + ((low & ~BAR_FLAGS_MASK) >>> 0) });
  }
  return bars;
}

/** Natural alignment, and a page at least: no two BARs share one. Sizes of BARs are powers of two. */
function alignUp(address: number, sizeBytes: number): number {
  const alignment = Math.max(sizeBytes, PAGE_BYTES);
  return Math.ceil(address / alignment) * alignment;
}
