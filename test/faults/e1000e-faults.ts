/** Faults planted in e1000e, and in what it shares with other families: see `faults.ts`. */
import type { Fault } from './faults.js';

const DEVICE = ['e1000e', '^device\\.test\\.js$'] as const;
const CONFORMANCE = ['../conformance', '^e1000e\\.test\\.js$'] as const;
const THREADS = ['e1000e', '^threads\\.test\\.js$'] as const;

export const e1000eFaults: readonly Fault[] = [
  {
    name: 'e1000e: legacy receive descriptors, which have the length elsewhere',
    file: 'e1000e/init.js',
    find: 'reg.RFCTL_EXSTEN | ',
    replace: '',
    tests: CONFORMANCE,
  },
  {
    name: 'e1000e: advanced transmit descriptors, which this hardware does not know',
    file: 'intel/tx-queue.js',
    find: 'legacy ? LEGACY_COMMAND : COMMAND',
    replace: 'COMMAND',
    tests: CONFORMANCE,
  },
  {
    name: 'e1000e: another thread goes on with advanced descriptors',
    file: 'intel/threads.js',
    find: '            legacy,\n',
    replace: '',
    tests: THREADS,
  },
  {
    name: 'e1000e: a size of buffers beyond what is left of them',
    file: 'e1000e/receive-buffers.js',
    find: 'Math.floor(roomBytes / KIB)',
    replace: 'Math.ceil(roomBytes / KIB)',
    tests: DEVICE,
  },
  {
    name: 'e1000e: long frames are not switched on',
    file: 'e1000e/receive-buffers.js',
    find: 'sizeBits(sizeBytes) | reg.RCTL_LPE',
    replace: 'sizeBits(sizeBytes)',
    tests: DEVICE,
  },
  {
    name: 'e1000e: long frames into short buffers',
    file: 'e1000e/receive-buffers.js',
    find: 'control: sizeBits(2 * KIB),',
    replace: 'control: sizeBits(2 * KIB) | reg.RCTL_LPE,',
    tests: DEVICE,
  },
  {
    name: 'e1000e: the FCS stays in frames',
    file: 'e1000e/init.js',
    find: 'reg.RCTL_BAM | reg.RCTL_SECRC | buffers',
    replace: 'reg.RCTL_BAM | buffers',
    tests: CONFORMANCE,
  },
  {
    name: 'e1000e: its own address is not valid in the filter',
    file: 'e1000e/init.js',
    find: 'registers.set(reg.rah(0), reg.RAH_AV);',
    replace: '',
    tests: CONFORMANCE,
  },
  {
    name: 'e1000e: bus mastering stays asked off after the reset',
    file: 'e1000e/init.js',
    find: 'registers.clear(reg.CTRL, reg.CTRL_GIO_MASTER_DISABLE);',
    replace: '',
    tests: DEVICE,
  },
  {
    name: 'e1000e: a write-back threshold without report status on each descriptor',
    file: 'e1000e/init.js',
    find: 'reg.TXDCTL_22 | 8 | (1 << 8)',
    replace: 'reg.TXDCTL_22 | 8 | (1 << 8) | (1 << 16)',
    tests: DEVICE,
  },
  {
    name: 'e1000e: the queue in bit 0 of the redirection table, where later families have it',
    file: 'e1000e/init.js',
    find: '1 << reg.RETA_QUEUE_SHIFT',
    replace: '1',
    tests: DEVICE,
  },
  {
    name: 'e1000e: vectors in IVAR that are not valid',
    file: 'e1000e/interrupts.js',
    find: '(reg.IVAR_VALID | q)',
    replace: 'q',
    tests: CONFORMANCE,
  },
  {
    name: 'e1000e: interrupts that do not acknowledge themselves',
    file: 'e1000e/interrupts.js',
    find: 'registers.write(reg.EIAC, causes);',
    replace: '',
    tests: DEVICE,
  },
  {
    name: 'e1000e: MSI is not acknowledged',
    file: 'e1000e/interrupts.js',
    find: 'registers.write(reg.ICR, CAUSES)',
    replace: 'undefined',
    tests: DEVICE,
  },
  {
    name: 'e1000e: the first queue that wakes masks the interrupt of the one that sleeps',
    file: 'intel/interrupts.js',
    find: 'if (this.#sleepers.size === 0)',
    replace: '',
    tests: DEVICE,
  },
  {
    name: 'e1000e: the PHY stays locked',
    file: 'e1000e/link.js',
    find: 'registers.clear(reg.EXTCNF_CTRL, owned);',
    replace: '',
    tests: DEVICE,
  },
  {
    name: 'e1000e: totals are not cleared before their copies are read',
    file: 'e1000e/stats.js',
    find: 'first: [reg.TPT, reg.TOTL, reg.TOTH],',
    replace: '',
    tests: DEVICE,
  },
  {
    name: 'e1000e: short and long frames count twice',
    file: 'e1000e/stats.js',
    find: 'reg.RUC, reg.ROC]',
    replace: 'reg.RUC, reg.ROC, 0x4040]',
    tests: DEVICE,
  },
];
