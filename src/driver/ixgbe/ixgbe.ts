/**
 * Driver for the Intel 82599 10 GbE controller, its card X520, and X540 (ixgbe family).
 * Source: Intel 82599 10 GbE Controller Datasheet, revision 3.4.
 */
import { TxFlag } from '../../hugepage/packet-metadata.js';
import { ConfigSpace } from '../../pci/config-space.js';
import { PciRegion, type VfioDevice } from '../../vfio/types.js';
import type { DeviceId, Driver, LinkState, OpenOptions } from '../device.js';
import { ClearingCounters } from '../intel/counters.js';
import { IntelDevice, type IntelFamily, intelCapabilities, intelLimits } from '../intel/intel-device.js';
import { extendedInterrupts } from '../intel/interrupts.js';
import { intelThreads } from '../intel/threads.js';
import { changeFilterControl } from './filters.js';
import * as init from './init.js';
import { linkState, type Media, startLink } from './link.js';
import { RATE_LIMITS, setQueueRate } from './rate.js';
import * as reg from './registers.js';
import { counterMap } from './stats.js';

/** Frame damage in a receive descriptor (7.1.6.2): USE 29, OSE 28, PE 27, LE 25, CE 24. Checksum errors are none. */
const RX_ERROR_MASK = 0x3b00_0000;

const family: IntelFamily = {
  driver: 'ixgbe',
  // RSS spreads over 16 queues at most (7.1.2.8). Frames of 15.5 KB, FCS included (1.3, "Jumbo Frames").
  limits: intelLimits({
    maxQueuePairs: 16,
    maxFrameBytes: 15_872 - 4,
    interruptIntervalUs: { min: 1, max: reg.EITR_MAX * reg.EITR_UNIT_US },
  }),
  capabilities: { ...intelCapabilities(true, TxFlag.OWN_FCS), txRate: RATE_LIMITS },
  setRate: setQueueRate,
  rxErrorMask: RX_ERROR_MASK,
  registers: {
    status: reg.STATUS,
    rxTail: reg.rdt,
    txTail: reg.tdt,
    txHead: reg.tdh,
    filters: {
      receiveAddressLow: reg.ral(0),
      receiveAddressHigh: reg.rah(0),
      multicastTable: reg.mta,
      filterControl: reg.FCTRL,
      promiscuousBits: reg.FCTRL_UPE | reg.FCTRL_MPE,
    },
  },
  interrupts: extendedInterrupts({
    mode: {
      offset: reg.GPIE,
      value: (reg.GPIE_MULTIPLE_MSIX | reg.GPIE_OCD | reg.GPIE_EIAME | reg.GPIE_PBA) >>> 0,
    },
    eiac: reg.EIAC,
    eiam: reg.EIAM,
    eims: reg.EIMS,
    eimc: reg.EIMC,
    ivar: reg.ivar,
    ivarRxShift: reg.ivarRxShift,
    throttling: {
      eitr: reg.eitr,
      value: (us) => Math.ceil(us / reg.EITR_UNIT_US) << reg.EITR_SHIFT,
    },
  }),
  counters: (registers) => new ClearingCounters(registers, counterMap),
  // IPE 31, L4E 30 (7.1.6.2).
  metadata: { ipErrorShift: 31, l4ErrorShift: 30 },
};

interface IxgbeId extends DeviceId {
  readonly media: Media;
  /** Memory for received frames: 512 KiB, in an X540 384 KiB. */
  readonly packetBufferKib: number;
}

const IDS: readonly IxgbeId[] = [
  { vendor: 0x8086, device: 0x10fb, name: 'Intel 82599 SFP+ (X520)', media: 'sfp', packetBufferKib: 512 },
  { vendor: 0x8086, device: 0x10f7, name: 'Intel 82599 KX4', media: 'backplane', packetBufferKib: 512 },
  { vendor: 0x8086, device: 0x1528, name: 'Intel X540-AT2', media: 'copper-phy', packetBufferKib: 384 },
];

class IxgbeDevice extends IntelDevice {
  readonly #media: Media;
  readonly #packetBufferKib: number;
  #filterChange: Promise<void> = Promise.resolve();

  constructor(vfio: VfioDevice, id: IxgbeId, options: OpenOptions) {
    super(vfio, id, family, options);
    this.#media = id.media;
    this.#packetBufferKib = id.packetBufferKib;
  }

  protected resetHardware(): Promise<void> {
    // The link reset would make X540's PHY negotiate again, which takes seconds.
    const resetBits = this.#media === 'copper-phy' ? reg.CTRL_RST : reg.CTRL_RST | reg.CTRL_LRST;
    const config = new ConfigSpace(this.vfio.region(PciRegion.CONFIG));
    return init.reset(this.registers, { resetBits, transactionsPending: () => config.transactionsPending() });
  }

  protected readMac(): Uint8Array {
    return init.readMac(this.registers);
  }

  protected setUpReceive(): Promise<void> {
    return init.setUpReceive(this.registers, this.rings, {
      packetBufferKib: this.#packetBufferKib,
      bufferSizeBytes: this.pool.bufferSizeBytes,
      maxFrameBytes: this.maxFrameBytes,
      symmetricRss: this.settings.symmetricRss,
      vlanStrip: this.settings.vlanStrip,
    });
  }

  protected async setUpTransmit(): Promise<void> {
    init.setUpTransmit(this.registers, this.rings, this.maxFrameBytes);
  }

  protected startQueues(): Promise<void> {
    return init.startQueues(this.registers, this.queuePairs);
  }

  protected stopQueues(): Promise<void> {
    return init.stopQueues(this.registers, this.queuePairs);
  }

  protected startLink(): Promise<void> {
    return startLink(this.registers, this.#media);
  }

  /** One change after the other: each has the receiver off for a moment. */
  protected override changeFilterControl(mask: number, on: boolean): Promise<void> {
    const changed = this.#filterChange.then(() => changeFilterControl(this.registers, mask, on));
    this.#filterChange = changed.catch(() => {});
    return changed;
  }

  linkState(): LinkState {
    this.assertPresent();
    return linkState(this.registers);
  }
}

export const ixgbe: Driver = {
  name: 'ixgbe',
  limits: family.limits,
  capabilities: family.capabilities,
  threads: intelThreads,
  ids: IDS,
  open: (vfio, id, options) => {
    const known = IDS.find((entry) => entry.device === id.device)!;
    return new IxgbeDevice(vfio, known, options).start();
  },
};
