/**
 * Driver for virtual functions of the Intel 82576: a queue pair of its own on a port that the kernel keeps.
 * Source: Intel 82576EB Gigabit Ethernet Controller Datasheet, revision 2.63.
 *
 * The queue, its descriptors and interrupts are the 82576's. Address, filters, VLANs and the longest frame are in registers that only
 * the physical function has: its driver, Linux's igb, is asked for them by messages (mailbox.ts, physical-function.ts). A reset
 * of the port takes the queue's registers with it (recovery.ts).
 */
import { randomBytes } from 'node:crypto';
import { NicError } from '../../errors.js';
import { booleanOption, integerOption } from '../../options.js';
import type { VfioDevice } from '../../vfio/types.js';
import type { DeviceId, Driver, LinkState, OpenOptions } from '../device.js';
import { IntelDevice, type IntelFamily, intelCapabilities, intelLimits } from '../intel/intel-device.js';
import { extendedInterrupts } from '../intel/interrupts.js';
import { intelThreads } from '../intel/threads.js';
import { multicastGroups, stationAddress } from '../options.js';
import { until } from '../until.js';
import { VirtualFunctionCounters } from './counters.js';
import * as init from './init.js';
import { Mailbox } from './mailbox.js';
import { MAX_GROUPS, PhysicalFunction } from './physical-function.js';
import * as reg from './registers.js';
import { ResetWatch } from './reset-watch.js';

/** Frame damage in a receive descriptor, as in the 82576: see igb.ts. */
const RX_ERROR_MASK = 0x9700_0000 | 0;
const FCS_BYTES = 4;
const RESET_TIMEOUT_MS = 1000;
const MAX_VLAN = 4094;
const SPEEDS_MBPS = [10, 100, 1000, 1000] as const;

const interrupts = extendedInterrupts({
  eiac: reg.EIAC,
  eiam: reg.EIAM,
  eims: reg.EIMS,
  eimc: reg.EIMC,
  ivar: () => reg.VTIVAR,
  ivarRxShift: () => 0,
});

const family: Omit<IntelFamily, 'counters'> = {
  driver: 'igbvf',
  // There are two queue pairs, and Linux's igb spreads nothing over them.
  limits: intelLimits({ maxQueuePairs: 1, maxFrameBytes: 9728 - FCS_BYTES }),
  capabilities: { ...intelCapabilities(true), promiscuous: 'multicast' },
  rxErrorMask: RX_ERROR_MASK,
  // IPE 30, L4E 29 (7.1.5.2).
  metadata: { ipErrorShift: 30, l4ErrorShift: 29 },
  registers: { status: reg.STATUS, rxTail: () => reg.RDT, txTail: () => reg.TDT, txHead: () => reg.TDH },
  interrupts,
};

class IgbVfDevice extends IntelDevice {
  readonly #counters: VirtualFunctionCounters;
  readonly #mailbox: Mailbox;
  readonly #port: PhysicalFunction;
  readonly #watch: ResetWatch;
  #given: Uint8Array = new Uint8Array(6);
  /** The address that the application asked for, or that was made up since nobody gave one. */
  #wanted: Uint8Array | undefined;
  #promiscuous = false;
  #groups: readonly Uint8Array[] | 'all' = [];
  readonly #vlans = new Set<number>();

  constructor(vfio: VfioDevice, id: DeviceId, options: OpenOptions) {
    let made: VirtualFunctionCounters | undefined;
    const counters: IntelFamily['counters'] = (registers) => {
      made = new VirtualFunctionCounters(registers);
      return made;
    };
    super(vfio, id, { ...family, counters }, options);
    this.#counters = made!;
    this.#mailbox = new Mailbox(this.registers, this.address, () => ({
      signal: this.registers.signal,
      closed: this.closed,
    }));
    this.#port = new PhysicalFunction(this.#mailbox, this.address);
    this.#watch = new ResetWatch({
      address: this.address,
      mailbox: this.#mailbox,
      port: this.#port,
      counters: this.#counters,
      closed: this.closed,
      recover: () => this.#recover(),
    });
  }

  protected async resetHardware(): Promise<void> {
    init.reset(this.registers);
    // At the end nobody needs to answer.
    if (!this.closed.aborted) this.#given = await this.#introduce();
  }

  /** Resolves with the address that this function has from now on. */
  async #introduce(): Promise<Uint8Array> {
    const isThere = await until(() => !this.#mailbox.isResetting || undefined, {
      timeoutMs: RESET_TIMEOUT_MS,
      signal: this.registers.signal,
      closed: this.closed,
    });
    if (isThere === undefined) {
      throw new NicError(
        'DEVICE_TIMEOUT',
        `${this.address}: its physical function is being reset (V2PMAILBOX.RSTI for ${RESET_TIMEOUT_MS} ms)`,
        { path: this.address, hint: 'Bring the interface of the physical function up: ip link set NAME up' },
      );
    }
    this.#mailbox.take(reg.V2PMAILBOX_READ_CLEARS);
    const given = await this.#port.introduce();
    this.#wanted ??= given === undefined ? madeUpAddress() : undefined;
    if (this.#wanted === undefined) return given!;
    try {
      await this.#port.setMac(this.#wanted);
      return this.#wanted;
    } catch (error) {
      if (given === undefined || !(error instanceof NicError) || error.code !== 'NO_PERMISSION') throw error;
      // An administrator has set one meanwhile.
      this.#wanted = undefined;
      return given;
    }
  }

  protected readMac(): Uint8Array {
    return this.#given;
  }

  protected async setUpReceive(): Promise<void> {
    await this.#port.setLongestFrame(this.maxFrameBytes + FCS_BYTES);
    init.setUpReceive(this.registers, this.rings, this.pool.bufferSizeBytes);
  }

  protected async setUpTransmit(): Promise<void> {
    init.setUpTransmit(this.registers, this.rings);
  }

  protected startQueues(): Promise<void> {
    return init.startQueues(this.registers);
  }

  protected stopQueues(): Promise<void> {
    return init.stopQueues(this.registers);
  }

  /** The link is the port's. From here on a reset of the port is noticed. */
  protected async startLink(): Promise<void> {
    this.registers.write(reg.EITR0, 0);
    this.#watch.start();
  }

  protected override async shutDown(): Promise<void> {
    await this.#watch.stop();
    await super.shutDown();
  }

  linkState(): LinkState {
    this.assertPresent();
    const status = this.registers.read(reg.STATUS);
    const up = (status & reg.STATUS_LU) !== 0 && !this.#watch.isRecovering;
    return {
      up,
      speedMbps: up ? SPEEDS_MBPS[(status >>> reg.STATUS_SPEED_SHIFT) & 3]! : 0,
      fullDuplex: (status & reg.STATUS_FD) !== 0,
    };
  }

  override async setMac(mac: Uint8Array): Promise<void> {
    this.closed.throwIfAborted();
    const address = stationAddress(mac);
    await this.#port.setMac(address);
    this.#wanted = address;
    this.mac = address;
  }

  /** Multicast only: the hardware has no unicast promiscuous mode for a virtual function. */
  protected override async applyPromiscuous(on: boolean): Promise<void> {
    if (on === this.#promiscuous) return;
    await this.#applyFilters(on, this.#groups);
    this.#promiscuous = on;
  }

  override async setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void> {
    this.closed.throwIfAborted();
    const checked = multicastGroups(groups);
    await this.#applyFilters(this.#promiscuous, checked);
    this.#groups = checked;
  }

  async #applyFilters(promiscuous: boolean, groups: readonly Uint8Array[] | 'all'): Promise<void> {
    // More than a message holds are all: a filter may let further groups through.
    const all = promiscuous || groups === 'all' || groups.length > MAX_GROUPS;
    await this.#port.setAllMulticast(all);
    if (!all) await this.#port.setMulticast(groups as readonly Uint8Array[]);
  }

  async setVlanFilter(id: number, on: boolean): Promise<void> {
    this.closed.throwIfAborted();
    integerOption('id', id, { min: 1, max: MAX_VLAN });
    booleanOption('on', on);
    if (on && !this.settings.rxMetadata) {
      throw new NicError(
        'BAD_OPTION',
        `${this.address} takes VLAN tags out of frames: only metadata tells them`,
        {
          path: this.address,
          hint: 'Open it with rxMetadata: true, and look at pool.metadata.vlanTags.',
        },
      );
    }
    await this.#port.setVlan(id, on);
    if (on) this.#vlans.add(id);
    else this.#vlans.delete(id);
  }

  /**
   * After a reset of the port: everything that its registers had. Rings and buffers stay as they are: the queue goes on at the
   * slots where it was. What was being sent is lost.
   *
   * ASSUMED: head registers take any slot while their queue is off after a reset (8.10.8 says only when they may be written).
   * Confirmed on QEMU's 82576.
   */
  async #recover(): Promise<void> {
    const { registers, rings } = this;
    const [rx] = this.rxQueues;
    const [tx] = this.txQueues;
    init.reset(registers);
    this.mac = await this.#introduce();
    await this.#port.setLongestFrame(this.maxFrameBytes + FCS_BYTES);
    if (this.#promiscuous || this.#groups.length > 0) {
      await this.#applyFilters(this.#promiscuous, this.#groups);
    }
    for (const id of this.#vlans) await this.#port.setVlan(id, true);
    interrupts.route(registers, this.queuePairs);
    registers.write(reg.EITR0, 0);
    init.setUpReceive(registers, rings, this.pool.bufferSizeBytes);
    registers.write(reg.RDH, rx.resumePoint.head);
    init.setUpTransmit(registers, rings);
    const next = tx.abandon();
    registers.write(reg.TDH, next);
    registers.write(reg.TDT, next);
    this.#counters.skip();
    await init.startQueues(registers);
    // A queue that is off forgets its tail; what came on the rings meanwhile is told with it.
    registers.write(reg.RDT, rx.resumePoint.tail);
    registers.write(reg.TDT, tx.nextSlot);
    // Whoever sleeps looks, and arms the interrupt again.
    rx.interrupted();
  }
}

/** Locally administered, and of one station. */
function madeUpAddress(): Uint8Array {
  const mac = new Uint8Array(randomBytes(6));
  mac[0] = (mac[0]! & 0xfc) | 2;
  return mac;
}

export const igbvf: Driver = {
  name: 'igbvf',
  limits: family.limits,
  capabilities: family.capabilities,
  threads: intelThreads,
  ids: [{ vendor: 0x8086, device: 0x10ca, name: 'Intel 82576 virtual function' }],
  open: (vfio, id, options) => new IgbVfDevice(vfio, id, options).start(),
};
