/**
 * Driver for the Intel 82576 gigabit controller (igb family).
 * Source: Intel 82576EB Gigabit Ethernet Controller Datasheet, revision 2.63.
 */
import type { VfioDevice } from '../../vfio/types.js';
import type { DeviceId, Driver, LinkState, OpenOptions } from '../device.js';
import { MULTICAST_WORDS, multicastTable } from '../intel/filters.js';
import { IntelDevice, type IntelFamily } from '../intel/intel-device.js';
import * as init from './init.js';
import { linkState, startLink } from './link.js';
import * as reg from './registers.js';
import { readCounters } from './stats.js';

/** Frame damage in a receive descriptor (7.1.5.2): RXE 31, CXE 28, SEQ 26, SE 25, CE 24. Checksum errors are none. */
const RX_ERROR_MASK = 0x9700_0000 | 0;

const family: IntelFamily = {
  driver: 'igb',
  // RSS spreads over 8 queues at most (7.1.1.7).
  maxQueuePairs: 8,
  rxErrorMask: RX_ERROR_MASK,
  rxTail: reg.rdt,
  txTail: reg.tdt,
};

class IgbDevice extends IntelDevice {
  constructor(vfio: VfioDevice, id: DeviceId, options: OpenOptions) {
    super(vfio, id, family, options);
  }

  protected resetHardware(): Promise<void> {
    return init.reset(this.registers);
  }

  protected readMac(): Uint8Array {
    return init.readMac(this.registers);
  }

  protected async setUpReceive(): Promise<void> {
    init.setUpReceive(this.registers, this.rings, this.pool.bufferSizeBytes);
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
    return linkState(this.registers);
  }

  setPromiscuous(on: boolean): void {
    if (on) this.registers.set(reg.RCTL, reg.RCTL_UPE | reg.RCTL_MPE);
    else this.registers.clear(reg.RCTL, reg.RCTL_UPE | reg.RCTL_MPE);
  }

  setMulticast(groups: readonly Uint8Array[] | 'all'): void {
    // UPE and MPE are one switch for setPromiscuous; a full table is the same as MPE and keeps the two apart.
    const table =
      groups === 'all' ? new Uint32Array(MULTICAST_WORDS).fill(0xffff_ffff) : multicastTable(groups);
    for (const [word, bits] of table.entries()) this.registers.write(reg.mta(word), bits);
  }

  protected writeReceiveAddress(low: number, high: number): void {
    this.registers.write(reg.ral(0), low);
    this.registers.write(reg.rah(0), (high | reg.RAH_AV) >>> 0);
  }

  protected routeInterrupts(): void {
    const vectors = this.#vectors();
    // Acknowledged and masked by the hardware when it fires: one interrupt per arming.
    this.registers.write(
      reg.GPIE,
      (reg.GPIE_NSICR | reg.GPIE_MULTIPLE_MSIX | reg.GPIE_EIAME | reg.GPIE_PBA) >>> 0,
    );
    this.registers.write(reg.EIAC, vectors);
    this.registers.write(reg.EIAM, vectors);
    for (let q = 0; q < this.queuePairs; q++) {
      const shift = reg.ivarRxShift(q);
      const others = this.registers.read(reg.ivar(q)) & ~(reg.IVAR_ENTRY_MASK << shift);
      this.registers.write(reg.ivar(q), (others | ((q | reg.IVAR_VALID) << shift)) >>> 0);
    }
  }

  protected unmaskReceiveInterrupts(): void {
    this.registers.write(reg.EIMS, this.#vectors());
  }

  protected maskReceiveInterrupts(): void {
    this.registers.write(reg.EIMC, this.#vectors());
  }

  protected readCounters(): void {
    readCounters(this.registers, this.queuePairs, this.hardware);
  }

  protected assertPresent(): void {
    this.registers.assertPresent(reg.STATUS, 'STATUS');
  }

  #vectors(): number {
    return (1 << this.queuePairs) - 1;
  }
}

export const igb: Driver = {
  name: 'igb',
  ids: [{ vendor: 0x8086, device: 0x10c9, name: 'Intel 82576' }],
  open: (vfio, id, options) => new IgbDevice(vfio, id, options).start(),
};
