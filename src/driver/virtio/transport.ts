/**
 * Virtio's PCI transport (VIRTIO 1.2, 4.1): finds the structures that vendor capabilities name in BARs, and reads and
 * writes them by their widths. Knows of queues no more than where their registers are.
 */
import { NicError } from '../../errors.js';
import { ConfigSpace } from '../../pci/config-space.js';
import type { Region } from '../../vfio/region.js';
import { PciRegion, type VfioDevice } from '../../vfio/types.js';
import type { Doorbell } from '../register-file.js';
import { until } from '../until.js';
import * as reg from './registers.js';

/** Longest time between writing 0 to the status and reading 0 there. */
const RESET_TIMEOUT_MS = 1000;
/** How often a configuration may change while it is being read. */
const MOST_GENERATIONS = 100;
const BAR_COUNT = 6;

/** A structure in a BAR. */
interface Structure {
  readonly region: Region;
  readonly offset: number;
  readonly sizeBytes: number;
}

export class Transport {
  readonly address: string;
  readonly #common: Structure;
  readonly #notify: Structure;
  readonly #device: Structure | undefined;
  readonly #multiplier: number;

  /** @throws NicError `UNSUPPORTED_DEVICE` for a legacy-only device; `DEVICE_STATE` for capabilities that make no sense */
  constructor(vfio: VfioDevice) {
    this.address = vfio.address;
    const config = vfio.region(PciRegion.CONFIG);
    const structures = new Map<number, { readonly at: number; readonly structure: Structure }>();
    for (const { id, offset: at } of new ConfigSpace(config).capabilities()) {
      if (id !== reg.CAP_VENDOR_ID || at + reg.CAP_BYTES > config.sizeBytes) continue;
      const type = config.read8(at + reg.CAP_TYPE);
      const bar = config.read8(at + reg.CAP_BAR);
      // The first of a type is the one to be used; one in a BAR that cannot exist is to be passed over (4.1.4.1).
      if (structures.has(type) || bar >= BAR_COUNT || config.read8(at + reg.CAP_LENGTH) < reg.CAP_BYTES)
        continue;
      if (![reg.CAP_COMMON, reg.CAP_NOTIFY, reg.CAP_DEVICE].includes(type)) continue;
      const structure = {
        region: vfio.region(bar),
        offset: config.read32(at + reg.CAP_OFFSET),
        sizeBytes: config.read32(at + reg.CAP_SIZE),
      };
      structures.set(type, { at, structure });
    }
    const common = structures.get(reg.CAP_COMMON);
    const notify = structures.get(reg.CAP_NOTIFY);
    if (common === undefined || notify === undefined) {
      throw new NicError('UNSUPPORTED_DEVICE', `${this.address} has no modern virtio interface`, {
        path: this.address,
        hint: 'It speaks legacy virtio only. Have the hypervisor offer VIRTIO 1.0 (QEMU: disable-legacy=on, disable-modern=off).',
      });
    }
    this.#common = this.#checked('common configuration', common.structure, reg.COMMON_BYTES, 4);
    this.#notify = this.#checked('notification structure', notify.structure, 2, 2);
    const device = structures.get(reg.CAP_DEVICE)?.structure;
    this.#device = device === undefined ? undefined : this.#checked('device configuration', device, 1, 4);
    this.#multiplier = config.read32(notify.at + reg.CAP_NOTIFY_MULTIPLIER);
    // 4.1.4.4.1: an even power of 2, or 0.
    if (this.#multiplier !== 0 && (this.#multiplier % 2 !== 0 || !isPowerOfTwo(this.#multiplier))) {
      throw this.#nonsense(`The notification multiplier is ${this.#multiplier}`);
    }
  }

  /** Bytes of the device's own configuration. */
  get deviceConfigBytes(): number {
    return this.#device?.sizeBytes ?? 0;
  }

  get status(): number {
    return this.#common.region.read8(this.#common.offset + reg.DEVICE_STATUS);
  }

  addStatus(bits: number): void {
    this.write8(reg.DEVICE_STATUS, this.status | bits);
  }

  read16(offset: number): number {
    return this.#common.region.read16(this.#common.offset + offset);
  }

  write8(offset: number, value: number): void {
    this.#common.region.write8(this.#common.offset + offset, value);
  }

  write16(offset: number, value: number): void {
    this.#common.region.write16(this.#common.offset + offset, value);
  }

  /** A 64-bit address, as two words: 4.1.3.1 lets a driver do so. */
  writeAddress(offset: number, low: number, high: number): void {
    this.#common.region.write32(this.#common.offset + offset, low >>> 0);
    this.#common.region.write32(this.#common.offset + offset + 4, high >>> 0);
  }

  /**
   * Resets the device, and waits until it has: it does no DMA then (2.4, 4.1.4.3.2).
   * @throws NicError `DEVICE_TIMEOUT`, `DEVICE_GONE`; the reason of the signal
   */
  async reset(signal?: AbortSignal): Promise<void> {
    this.write8(reg.DEVICE_STATUS, 0);
    let last = 0;
    const look = (): true | undefined => {
      last = this.status;
      if (last === reg.STATUS_GONE) throw this.gone();
      return last === 0 ? true : undefined;
    };
    if ((await until(look, { timeoutMs: RESET_TIMEOUT_MS, signal })) === true) return;
    throw new NicError(
      'DEVICE_TIMEOUT',
      `${this.address}: device_status did not become 0 within ${RESET_TIMEOUT_MS} ms of a reset (last value ${last})`,
      { path: this.address, hint: 'Unplug the device from the virtual machine and plug it in again.' },
    );
  }

  /** @throws NicError `DEVICE_GONE`; `DEVICE_STATE` where the device says that it cannot go on */
  assertWorks(): void {
    const { status } = this;
    if (status === reg.STATUS_GONE) throw this.gone();
    if ((status & reg.STATUS_NEEDS_RESET) === 0) return;
    throw new NicError('DEVICE_STATE', `${this.address} asks for a reset (DEVICE_NEEDS_RESET)`, {
      path: this.address,
      hint: 'The device met an error that it cannot recover from. Close it and open it again.',
    });
  }

  gone(): NicError {
    return new NicError('DEVICE_GONE', `${this.address} does not answer: device_status reads all ones`, {
      path: this.address,
      hint: 'The device was removed, powered down, or its memory decoding is off.',
    });
  }

  /** The feature bits that the device offers (2.2). */
  offeredFeatures(): Set<number> {
    const { region, offset } = this.#common;
    const offered = new Set<number>();
    for (const word of [0, 1]) {
      region.write32(offset + reg.DEVICE_FEATURE_SELECT, word);
      const bits = region.read32(offset + reg.DEVICE_FEATURE);
      for (let bit = 0; bit < 32; bit++) if (((bits >>> bit) & 1) === 1) offered.add(word * 32 + bit);
    }
    return offered;
  }

  /** Accepts these, and sees that the device can live with the choice (3.1.1). @throws NicError `DEVICE_STATE` */
  acceptFeatures(features: ReadonlySet<number>): void {
    const { region, offset } = this.#common;
    for (const word of [0, 1]) {
      let bits = 0;
      for (let bit = 0; bit < 32; bit++) if (features.has(word * 32 + bit)) bits |= 1 << bit;
      region.write32(offset + reg.DRIVER_FEATURE_SELECT, word);
      region.write32(offset + reg.DRIVER_FEATURE, bits >>> 0);
    }
    this.addStatus(reg.STATUS_FEATURES_OK);
    if ((this.status & reg.STATUS_FEATURES_OK) !== 0) return;
    throw new NicError(
      'DEVICE_STATE',
      `${this.address} does not accept the features ${[...features].join(', ')}`,
      {
        path: this.address,
        hint: 'The device offered each of them. Look at the log of the hypervisor.',
      },
    );
  }

  /** How many elements a queue can have: 0 where there is no such queue. */
  queueSize(queue: number): number {
    this.write16(reg.QUEUE_SELECT, queue);
    return this.read16(reg.QUEUE_SIZE);
  }

  /**
   * Reads fields of the device's configuration that belong together: again where it changed meanwhile (2.5.1).
   * @throws NicError `DEVICE_STATE` where it never stands still
   */
  readConfig<T>(read: (config: ConfigReader) => T): T {
    const { region, offset, sizeBytes } = this.#device ?? this.#common;
    const generation = (): number => this.#common.region.read8(this.#common.offset + reg.CONFIG_GENERATION);
    const reader: ConfigReader = {
      has: (field, bytes) => this.#device !== undefined && field + bytes <= sizeBytes,
      read8: (field) => region.read8(offset + field),
      read16: (field) => region.read16(offset + field),
      read32: (field) => region.read32(offset + field),
    };
    for (let attempt = 0; attempt < MOST_GENERATIONS; attempt++) {
      const before = generation();
      const found = read(reader);
      if (generation() === before) return found;
    }
    throw this.#nonsense('Its configuration changes without an end');
  }

  /**
   * Where a queue is notified (4.1.5.2): its index goes there, 16 bits wide; with NOTIFICATION_DATA 32, with its position above
   * it. Select the queue before.
   */
  doorbell(queue: number, withData: boolean): Doorbell {
    const offset = this.read16(reg.QUEUE_NOTIFY_OFF) * this.#multiplier;
    const { region, sizeBytes } = this.#notify;
    const bytes = withData ? 4 : 2;
    const at = this.#notify.offset + offset;
    if (offset + bytes > sizeBytes || at % bytes !== 0)
      throw this.#nonsense(`Queue ${queue} is notified outside its structure, at ${offset}`);
    const words = region.window(at - (at % 4), 4);
    if (words === undefined) return new SlowNotifier(region, at, withData);
    if (withData) return words;
    return new Uint16Array(words.buffer, words.byteOffset + (at % 4), 1);
  }

  #checked(name: string, structure: Structure, leastBytes: number, alignment: number): Structure {
    const { region, offset, sizeBytes } = structure;
    if (sizeBytes >= leastBytes && offset % alignment === 0 && offset + sizeBytes <= region.sizeBytes)
      return structure;
    throw this.#nonsense(
      `The ${name} is said to be ${sizeBytes} bytes at 0x${offset.toString(16)} of ${region.name}`,
    );
  }

  #nonsense(what: string): NicError {
    return new NicError('DEVICE_STATE', `${this.address}: ${what}`, {
      path: this.address,
      hint: 'This is no device after VIRTIO 1.2, section 4.1. Tell whoever made it.',
    });
  }
}

/** Fields of the device's configuration, by their offset and width. */
export interface ConfigReader {
  /** True where the device has these bytes. */
  has(offset: number, bytes: number): boolean;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
}

class SlowNotifier implements Doorbell {
  [index: number]: number;
  readonly #region: Region;
  readonly #offset: number;
  readonly #withData: boolean;

  constructor(region: Region, offset: number, withData: boolean) {
    this.#region = region;
    this.#offset = offset;
    this.#withData = withData;
  }

  set 0(value: number) {
    if (this.#withData) this.#region.write32(this.#offset, value >>> 0);
    else this.#region.write16(this.#offset, value);
  }
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
