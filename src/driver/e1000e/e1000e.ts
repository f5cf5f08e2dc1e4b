/**
 * Driver for the Intel 82574 gigabit controller (e1000e family): what QEMU gives to guests that know nothing better.
 * Source: Intel 82574 GbE Controller Family Datasheet, revision 3.4.
 *
 * Receive descriptors are "extended" (7.1.5): what the hardware writes back lies where advanced descriptors of later families
 * have it (status and errors in word 2, length in word 3), so the queues of those serve here too. Transmit descriptors are
 * legacy ones (7.2.3).
 */
import type { VfioDevice } from '../../vfio/types.js';
import type { DeviceId, Driver, LinkState, OpenOptions } from '../device.js';
import { ClearingCounters } from '../intel/counters.js';
import { gigabitFilters, linkState, readMac } from '../intel/gigabit.js';
import { IntelDevice, type IntelFamily, intelCapabilities, intelLimits } from '../intel/intel-device.js';
import { intelThreads } from '../intel/threads.js';
import * as init from './init.js';
import { INTERVAL_US, queueInterrupts, sharedInterrupt } from './interrupts.js';
import { startLink } from './link.js';
import { checkedReceiveBuffers, withBuffersFor } from './receive-buffers.js';
import * as reg from './registers.js';
import { counterMap } from './stats.js';

/** Frame damage in a receive descriptor (7.1.4): RXE 31, CXE 28, SEQ 26, SE 25, CE 24. Checksum errors are none. */
const RX_ERROR_MASK = 0x9700_0000 | 0;

// Two receive queues with RSS (7.1.11). Frames of 9234 bytes, FCS included, as Linux has it for this device.
const limits = intelLimits({
  maxQueuePairs: 2,
  maxFrameBytes: 9234 - 4,
  interruptIntervalUs: INTERVAL_US,
});

const family: IntelFamily = {
  driver: 'e1000e',
  limits,
  capabilities: { ...intelCapabilities(false), txOffloads: 0 },
  rxErrorMask: RX_ERROR_MASK,
  legacyTransmit: true,
  longestFrame: (address, pool, wantedBytes) =>
    checkedReceiveBuffers(address, pool, limits, wantedBytes).maxFrameBytes,
  registers: {
    status: reg.STATUS,
    rxTail: reg.rdt,
    txTail: reg.tdt,
    txHead: reg.tdh,
    filters: gigabitFilters,
  },
  interrupts: queueInterrupts,
  sharedInterrupt,
  counters: (registers) => new ClearingCounters(registers, counterMap),
};

class E1000eDevice extends IntelDevice {
  readonly #wantedBytes: number | undefined;

  constructor(vfio: VfioDevice, id: DeviceId, options: OpenOptions) {
    super(vfio, id, family, withBuffersFor(options, limits));
    this.#wantedBytes = options.mtu === undefined ? undefined : this.maxFrameBytes;
  }

  protected async resetHardware(): Promise<void> {
    await init.reset(this.registers);
    init.applyErrata(this.registers);
  }

  protected readMac(): Uint8Array {
    return readMac(this.registers);
  }

  protected async setUpReceive(): Promise<void> {
    const { control } = checkedReceiveBuffers(this.address, this.pool, limits, this.#wantedBytes);
    init.setUpReceive(this.registers, this.rings, control, this.settings.symmetricRss);
  }

  protected async setUpTransmit(): Promise<void> {
    init.setUpTransmit(this.registers, this.rings);
  }

  protected async startQueues(): Promise<void> {
    init.startQueues(this.registers);
  }

  protected async stopQueues(): Promise<void> {
    init.stopQueues(this.registers);
  }

  protected startLink(): Promise<void> {
    return startLink(this.registers);
  }

  linkState(): LinkState {
    this.assertPresent();
    return linkState(this.registers);
  }
}

export const e1000e: Driver = {
  name: 'e1000e',
  limits,
  capabilities: family.capabilities,
  threads: intelThreads,
  ids: [{ vendor: 0x8086, device: 0x10d3, name: 'Intel 82574L' }],
  open: (vfio, id, options) => new E1000eDevice(vfio, id, options).start(),
};
