/**
 * Emulated NICs: for tests of code that uses the drivers, on any Linux machine, without root and without hardware; and
 * what it takes to write a model of one's own.
 *
 * @example
 * import { open } from 'barewire';
 * import { startEmulator } from 'barewire/emulator';
 * await using emulator = await startEmulator({
 *   nics: [{ path: '/tmp/a.sock' }, { path: '/tmp/b.sock' }],
 *   links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
 * });
 * await using a = await open('vfio-user:/tmp/a.sock');
 * await using b = await open('vfio-user:/tmp/b.sock', { promiscuous: true });
 * await a.sendFrame(new Uint8Array(60).fill(0xff)); // what is to be tested goes here
 * for await (const frame of b.frames()) break;
 * const { nics } = await emulator.report(); // what a driver did against the datasheet: nics[0].violations
 */

// What a model is made of
export { ClassCode } from '../pci/registers.js';
export { PciIrq } from '../vfio/types.js';
// The contract of a model, and how frames travel between models
export type { DeviceHost, DmaWindow, ServedDevice, ServedRegion } from '../vfio/user/served-device.js';
export * from './device/capabilities.js';
export type { ConfigDescription, ConfigEvents } from './device/config-space.js';
export { DmaChannel, iovaOf } from './device/dma.js';
export { FrameQueue } from './device/frame-queue.js';
export { identify } from './device/identity.js';
export { NicModel, type NicParts } from './device/nic-model.js';
export { type BarContent, MemoryBar, PciFunction } from './device/pci-function.js';
export { type ReadHook, RegisterFile, type WriteHook } from './device/register-file.js';
export { type Access, block, type RegisterBlock, RegisterTable } from './device/register-table.js';
export { type DmaFault, type Violation, type ViolationOptions, Violations } from './device/violations.js';
// A running emulator
export { EmulatorHost, type EmulatorHostOptions } from './host.js';
export {
  type Connection,
  connect,
  copyBytes,
  deliverBurst,
  FrameBurst,
  type FrameMemory,
  frameMemory,
  isReceiving,
  longestFrameBytes,
  MAX_BURST,
  type Pollable,
  type Port,
  UNLIMITED_ROOM,
} from './link.js';
export type { DeviceModel, ModelFamily, ModelOptions } from './model.js';
export { type EmulatedDevice, emulatedDevices } from './models.js';
export {
  buildEmulator,
  type Emulator,
  type EmulatorDescription,
  type EmulatorOptions,
  type EmulatorReport,
  type EndDescription,
  type LinkDescription,
  type NicDescription,
  reportOf,
} from './topology.js';
export { type RunningEmulator, startEmulator } from './worker.js';
