/**
 * Small, wrong changes to the driver, each of the kind that has been made in some driver. `faults.test.ts` plants them one
 * by one and wants the model's tests to fail.
 */

export interface Fault {
  readonly name: string;
  /** Compiled file below `dist/src/driver`. */
  readonly file: string;
  /** Text that occurs exactly once in it, and what takes its place. */
  readonly find: string;
  readonly replace: string;
}

export const faults: readonly Fault[] = [
  // These two end in a hang, so they come first: others run meanwhile.
  {
    name: 'status word of a refilled descriptor is not cleared',
    file: 'intel/rx-queue.js',
    find: 'ring[word + STATUS] = 0;',
    replace: '',
  },
  {
    name: 'reclaim trusts a report of the lap before',
    file: 'intel/tx-queue.js',
    find: 'while (((end - clean) & mask) >= GROUP)',
    replace: 'while (clean !== end)',
  },
  {
    name: 'receiver is never enabled',
    file: 'ixgbe/init.js',
    find: 'registers.set(reg.RXCTRL, reg.RXCTRL_RXEN);',
    replace: '',
  },
  {
    name: 'transmitter is never enabled',
    file: 'ixgbe/init.js',
    find: 'registers.set(reg.DMATXCTL, reg.DMATXCTL_TE);',
    replace: '',
  },
  {
    name: 'receive tail is handed out before the queue is enabled',
    file: 'intel/intel-device.js',
    find: 'await this.startQueues();',
    replace: 'for (const queue of this.rxQueues) queue.start(); await this.startQueues();',
  },
  {
    name: 'receive tail is one too far: an empty ring to the hardware',
    file: 'intel/rx-queue.js',
    find: 'this.#tail[0] = (slot - 1) & mask;',
    replace: 'this.#tail[0] = slot;',
  },
  {
    name: 'transmit tail is one short',
    file: 'intel/tx-queue.js',
    find: 'this.#tail[0] = slot;',
    replace: 'this.#tail[0] = (slot - 1) & mask;',
  },
  {
    name: 'high word of the transmit address is skipped',
    file: 'intel/tx-queue.js',
    find: 'ring[word + 1] = iovaHigh;',
    replace: '',
  },
  {
    name: 'high word of the receive address is not written again',
    file: 'intel/rx-queue.js',
    find: 'ring[word + 1] = iovaHigh;',
    replace: '',
  },
  {
    name: 'report status is never asked for',
    file: 'intel/tx-queue.js',
    find: 'COMMAND | length | ((((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT)',
    replace: 'COMMAND | length',
  },
  {
    name: 'write-back threshold without report status on each descriptor',
    file: 'ixgbe/init.js',
    find: 'const TX_THRESHOLDS = 36 | (8 << 8);',
    replace: 'const TX_THRESHOLDS = 36 | (8 << 8) | (4 << 16);',
  },
  {
    name: 'the reset is forgotten',
    file: 'ixgbe/init.js',
    find: 'registers.set(reg.CTRL, resetBits);',
    replace: '',
  },
  {
    name: 'a reserved bit of FCTRL is set',
    file: 'ixgbe/init.js',
    find: 'registers.write(reg.FCTRL, reg.FCTRL_BAM);',
    replace: 'registers.write(reg.FCTRL, reg.FCTRL_BAM | (1 << 30));',
  },
  {
    name: 'ring length in descriptors instead of bytes',
    file: 'ixgbe/init.js',
    find: 'registers.write(reg.tdlen(q), ring.sizeBytes);',
    replace: 'registers.write(reg.tdlen(q), ring.sizeBytes / 16);',
  },
  {
    name: 'receive address without Address Valid after setMac',
    file: 'intel/intel-device.js',
    find: '(high | ADDRESS_VALID) >>> 0',
    replace: 'high',
  },
  {
    name: 'transmit length field counts the FCS',
    file: 'intel/tx-queue.js',
    find: 'ring[word + STATUS] = length << PAYLEN_SHIFT;',
    replace: 'ring[word + STATUS] = (length + 4) << PAYLEN_SHIFT;',
  },
  {
    name: 'interrupts are masked with EIMS = 0',
    file: 'intel/intel-device.js',
    find: 'disarm: () => this.registers.write(eimc, this.#vectors())',
    replace: 'disarm: () => this.registers.write(eims, 0)',
  },
  {
    name: 'octet counters: the low half only',
    file: 'intel/counters.js',
    find: 'return low + ',
    replace: 'return low; // ',
  },
  {
    name: 'the device keeps bus mastering after close',
    file: 'intel/intel-device.js',
    find: "await attempt('bus master off', () => this.vfio.disableBusMaster());",
    replace: '',
  },
];
