/**
 * Driver for the Intel 82576 gigabit controller (igb family).
 * Source: Intel 82576EB Gigabit Ethernet Controller Datasheet, revision 2.63.
 */
import { TxFlag } from '../../hugepage/packet-metadata.js';
import type { VfioDevice } from '../../vfio/types.js';
import type { DeviceId, Driver, LinkState, OpenOptions } from '../device.js';
import { ClearingCounters } from '../intel/counters.js';
import { gigabitFilters, linkState, readMac } from '../intel/gigabit.js';
import { IntelDevice, type IntelFamily, intelCapabilities, intelLimits } from '../intel/intel-device.js';
import { extendedInterrupts } from '../intel/interrupts.js';
import { intelThreads } from '../intel/threads.js';
import * as init from './init.js';
import { startLink } from './link.js';
import * as reg from './registers.js';
import { counterMap } from './stats.js';

/** Frame damage in a receive descriptor (7.1.5.2): RXE 31, CXE 28, SEQ 26, SE 25, CE 24. Checksum errors are none. */
const RX_ERROR_MASK = 0x9700_0000 | 0;

const family: IntelFamily = {
  driver: 'igb',
  // RSS spreads over 8 queues at most (7.1.1.7). Jumbo frames of 9.5 KB, FCS included (1.5, "Jumbo Frames").
  limits: intelLimits({
    maxQueuePairs: 8,
    maxFrameBytes: 9728 - 4,
    interruptIntervalUs: { min: 1, max: reg.EITR_MAX },
  }),
  capabilities: intelCapabilities(false, TxFlag.OWN_FCS),
  rxErrorMask: RX_ERROR_MASK,
  registers: {
    status: reg.STATUS,
    rxTail: reg.rdt,
    txTail: reg.tdt,
    txHead: reg.tdh,
    filters: gigabitFilters,
  },
  interrupts: extendedInterrupts({
    mode: {
      offset: reg.GPIE,
      value: (reg.GPIE_NSICR | reg.GPIE_MULTIPLE_MSIX | reg.GPIE_EIAME | reg.GPIE_PBA) >>> 0,
    },
    eiac: reg.EIAC,
    eiam: reg.EIAM,
    eims: reg.EIMS,
    eimc: reg.EIMC,
    ivar: reg.ivar,
    ivarRxShift: reg.ivarRxShift,
    throttling: { eitr: reg.eitr, value: (us) => us << reg.EITR_SHIFT },
  }),
  counters: (registers, queuePairs) => new ClearingCounters(registers, counterMap(queuePairs)),
};

class IgbDevice extends IntelDevice {
  constructor(vfio: VfioDevice, id: DeviceId, options: OpenOptions) {
    super(vfio, id, family, options);
  }

  protected resetHardware(): Promise<void> {
    return init.reset(this.registers);
  }

  protected readMac(): Uint8Array {
    return readMac(this.registers);
  }

  protected async setUpReceive(): Promise<void> {
    init.setUpReceive(this.registers, this.rings, {
      bufferSizeBytes: this.pool.bufferSizeBytes,
      maxFrameBytes: this.maxFrameBytes,
      symmetricRss: this.settings.symmetricRss,
    });
  }

  protected async setUpTransmit(): Promise<void> {
    init.setUpTransmit(this.registers, this.rings);
  }

  protected startQueues(): Promise<void> {
    return init.startQueues(this.registers, this.queuePairs);
  }

  protected stopQueues(): Promise<void> {
    return init.stopQueues(this.registers, this.queuePairs);
  }

  protected startLink(): Promise<void> {
    return startLink(this.registers);
  }

  linkState(): LinkState {
    this.assertPresent();
    return linkState(this.registers);
  }
}

export const igb: Driver = {
  name: 'igb',
  limits: family.limits,
  capabilities: family.capabilities,
  threads: intelThreads,
  ids: [{ vendor: 0x8086, device: 0x10c9, name: 'Intel 82576' }],
  open: (vfio, id, options) => new IgbDevice(vfio, id, options).start(),
};
