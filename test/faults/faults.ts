/**
 * Small, wrong changes to the driver, each of the kind that has been made in some driver. `faults.test.ts` plants them one
 * by one and wants the model's tests to fail.
 */
import { e1000eFaults } from './e1000e-faults.js';
import { igbvfFaults } from './igbvf-faults.js';
import { virtioFaults } from './virtio-faults.js';

export interface Fault {
  readonly name: string;
  /** Compiled file below `dist/src/driver`. */
  readonly file: string;
  /** Text that occurs exactly once in it, and what takes its place. */
  readonly find: string;
  readonly replace: string;
  /** Folder below `dist/test/driver` whose tests have to notice, and a pattern of files. Default: all of `ixgbe`. */
  readonly tests?: readonly [folder: string, pattern: string];
}

const BRING_UP = ['ixgbe', '^bring-up\\.test\\.js$'] as const;
const COUNTING = ['.', '^counting\\.test\\.js$'] as const;
const BY_NAME = ['.', '^register-counters\\.test\\.js$'] as const;
const HOOK_TESTS = ['intel', '^hooked-loop\\.test\\.js$'] as const;
const XDP_QUEUES = ['xdp', '^queues\\.test\\.js$'] as const;
const XDP_PROGRAM = ['xdp', '^redirect-program\\.test\\.js$'] as const;
const PIPE_TESTS = ['intel', '^pipe\\.test\\.js$'] as const;

export const faults: readonly Fault[] = [
  // These two end in a hang, so they come first: others run meanwhile.
  {
    name: 'status word of a refilled descriptor is not cleared',
    file: 'intel/rx-loop.js',
    find: 'words[word + RX_STATUS] = 0;',
    replace: '',
  },
  {
    name: 'reclaim trusts a report of a group that is not in use',
    file: 'intel/tx-loop.js',
    find: 'while (((end - clean) & mask) >= GROUP)',
    replace: 'while (clean !== end)',
    tests: ['intel', '^tx-queue\\.test\\.js$'],
  },
  {
    name: 'receiver is never enabled',
    file: 'ixgbe/filters.js',
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
    file: 'intel/rx-loop.js',
    find: 'tail[0] = (slot - 1) & mask;',
    replace: 'tail[0] = slot;',
  },
  {
    name: 'transmit tail is one short',
    file: 'intel/tx-loop.js',
    find: 'tail[0] = slot;',
    replace: 'tail[0] = (slot - 1) & mask;',
  },
  {
    name: 'high word of the transmit address is skipped',
    file: 'intel/tx-queue.js',
    find: 'ring[(slot << DESCRIPTOR_WORD_SHIFT) + 1] = rings.iovaHigh;',
    replace: '',
  },
  {
    name: 'high word of the receive address is not written again',
    file: 'intel/rx-loop.js',
    find: 'words[word + 1] = iovaHigh;',
    replace: '',
  },
  {
    name: 'report status is never asked for',
    file: 'intel/tx-queue.js',
    find: '? command | TX_RS : command',
    replace: '? command : command',
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
    file: 'intel/rings.js',
    find: 'registers.write(base + LENGTH, ring.sizeBytes);',
    replace: 'registers.write(base + LENGTH, ring.sizeBytes / 16);',
  },
  {
    name: 'receive address without Address Valid after setMac',
    file: 'intel/intel-device.js',
    find: '(high | ADDRESS_VALID) >>> 0',
    replace: 'high',
  },
  {
    name: 'transmit length field counts the FCS',
    file: 'intel/tx-loop.js',
    find: 'words[word + TX_STATUS] = length << PAYLEN_SHIFT;',
    replace: 'words[word + TX_STATUS] = (length + 4) << PAYLEN_SHIFT;',
  },
  {
    name: 'interrupts are masked with EIMS = 0',
    file: 'intel/interrupts.js',
    find: 'disarm: (registers, queue) => registers.write(reg.eimc, 1 << queue)',
    replace: 'disarm: (registers, queue) => registers.write(reg.eims, 0)',
  },
  {
    name: 'octet counters: the low half only',
    file: 'intel/counters.js',
    find: 'return low + ',
    replace: 'return low; // ',
  },
  {
    name: 'counters by name: only what was read last',
    file: 'intel/counters.js',
    find: '(this.#counted.get(offset) ?? 0) + value',
    replace: 'value',
    tests: BY_NAME,
  },
  {
    name: 'counters by name: those of the sums are as old as the last stats()',
    file: 'intel/counters.js',
    find: 'this.#readSums();\n        this.#readOthers();\n        const counted',
    replace: 'this.#readOthers();\n        const counted',
    tests: BY_NAME,
  },
  {
    name: 'the device keeps bus mastering after close',
    file: 'shut-down.js',
    find: "await attempt('bus master off', () => vfio.disableBusMaster());",
    replace: '',
  },
  {
    name: 'pipe: slots go back to the receive ring one too far',
    file: 'intel/pipe-loop.js',
    find: 'rxTail[0] = (clean - 1) & mask;',
    replace: 'rxTail[0] = clean;',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: slots go back before their packets have left',
    file: 'intel/pipe-loop.js',
    find: 'if ((txRing[word + TX_STATUS] & DD) === 0)\n                break;',
    replace: '',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: the address that the report overwrote stays away',
    file: 'intel/pipe-loop.js',
    find: 'txRing[word] = addresses[clean + GROUP_MASK];',
    replace: '',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: the receive address is not written again',
    file: 'intel/pipe-loop.js',
    find: 'rxRing[word] = address;',
    replace: '',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: the status of a moved slot is not cleared',
    file: 'intel/pipe-loop.js',
    find: 'rxRing[word + RX_STATUS] = 0;\n            txRing[word + TX_COMMAND] = commands[slot] | length',
    replace: 'txRing[word + TX_COMMAND] = commands[slot] | length',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: a full ring is not seen',
    file: 'intel/pipe-loop.js',
    find: 'const room = (clean - first - 1) & mask;',
    replace: 'const room = mask;',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: a dropped packet is sent',
    file: 'intel/pipe-loop.js',
    find: 'good ? commands[slot] | wanted : NULL | report',
    replace: 'commands[slot] | (wanted || 60)',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: a dropped packet at the end of a group reports nothing',
    file: 'intel/pipe-loop.js',
    find: 'good ? commands[slot] | wanted : NULL | report',
    replace: 'good ? commands[slot] | wanted : NULL',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: a packet that a hook throws at is lost',
    file: 'intel/pipe-loop.js',
    find: 'if (moved > 0)\n                commit(',
    replace: 'if (moved >= 0)\n                commit(1 + ',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: a damaged frame is sent',
    file: 'intel/pipe.js',
    find: 'isLast ? TX_NULL | TX_RS : TX_NULL',
    replace: '60 | this.#tx.commands[slot]',
    tests: PIPE_TESTS,
  },
  {
    name: 'pipe: closing gives back what is being transmitted',
    file: 'intel/rx-queue.js',
    find: 'kept?.has(slot) !== true',
    replace: 'true',
    tests: PIPE_TESTS,
  },
  {
    name: 'forwarder: packets are taken without room to send them',
    file: 'intel/forward-loop.js',
    find: 'txMask - used < batch || ',
    replace: '',
    tests: ['../forward', '^forwarder\\.test\\.js$'],
  },
  {
    name: 'forwarder: buffers are taken from an empty pool',
    file: 'intel/forward-loop.js',
    find: ' || freeCount < batch',
    replace: '',
    tests: ['../forward', '^forwarder\\.test\\.js$'],
  },
  {
    name: 'hook in the loop: sends though the hook has taken the last slot',
    file: 'intel/hooked-loop.js',
    find: 'if (room === 0)',
    replace: 'if (false)',
    tests: HOOK_TESTS,
  },
  {
    name: 'hook in the loop: buffers that the hook took are taken again',
    file: 'intel/hooked-loop.js',
    find: 'freeLevel[0] !== freeCount || ',
    replace: '',
    tests: HOOK_TESTS,
  },
  {
    name: 'hook in the loop: the queue stays busy after a batch',
    file: 'intel/hooked-loop.js',
    find: 'rxState[GOOD] = DONE;',
    replace: '',
    tests: HOOK_TESTS,
  },
  {
    name: 'hook in the loop: what is no good frame stays where it is',
    file: 'intel/hooked-loop.js',
    find: '(next & DD) !== 0 || ',
    replace: '',
    tests: HOOK_TESTS,
  },
  {
    name: 'the high word that a report overwrote stays away',
    file: 'intel/tx-loop.js',
    find: 'ring[(last << WORD_SHIFT) + 1] = iovaHigh;',
    replace: '',
    tests: ['intel', '^tx-queue\\.test\\.js$'],
  },
  {
    name: 'the high word that a context overwrote stays away',
    file: 'intel/tx-queue.js',
    find: 'ring[(clean << DESCRIPTOR_WORD_SHIFT) + 1] = iovaHigh;',
    replace: '',
    tests: ['intel', '^offload\\.test\\.js$'],
  },
  {
    name: 'receive packet buffer: a quarter of the memory',
    file: 'ixgbe/init.js',
    find: 'registers.write(reg.rxpbsize(0), kib << reg.RXPBSIZE_SHIFT);',
    replace: 'registers.write(reg.rxpbsize(0), 128 << reg.RXPBSIZE_SHIFT);',
    tests: BRING_UP,
  },
  {
    name: 'the flow control threshold is left alone, as pause frames are off',
    file: 'ixgbe/init.js',
    find: 'registers.write(reg.fcrth(0), kib * KIB - reg.FCRTH_BELOW_BYTES);',
    replace: '',
    tests: BRING_UP,
  },
  {
    name: 'transmit packet buffer without a threshold of its own',
    file: 'ixgbe/init.js',
    find: 'registers.write(reg.txpbthresh(0), reg.TX_PACKET_BUFFER_KIB - longestKib);',
    replace: '',
    tests: BRING_UP,
  },
  {
    name: 'a filter table that a reset leaves undefined is forgotten',
    file: 'ixgbe/filters.js',
    find: 'await clear(reg.ftqf, reg.FIVE_TUPLE_FILTERS);',
    replace: '',
    tests: BRING_UP,
  },
  {
    name: 'FCTRL is written while the receiver is on',
    file: 'ixgbe/filters.js',
    find: 'if ((registers.read(reg.RXCTRL) & reg.RXCTRL_RXEN) === 0)',
    replace: 'if (true)',
    tests: BRING_UP,
  },
  {
    name: 'the receiver comes back after close',
    file: 'ixgbe/filters.js',
    find: 'if (!receiving)\n                return;',
    replace: '',
    tests: BRING_UP,
  },
  {
    name: 'master disable times out: the data path is not flushed',
    file: 'ixgbe/init.js',
    find: 'await flushDataPath(registers, options.transactionsPending);',
    replace: '',
    tests: BRING_UP,
  },
  {
    name: 'master disable times out: flushed onto the wire',
    file: 'ixgbe/init.js',
    find: 'registers.set(reg.HLREG0, reg.HLREG0_LPBK);',
    replace: '',
    tests: BRING_UP,
  },
  {
    name: 'master disable times out: flushed while transactions are pending',
    file: 'ixgbe/init.js',
    find: 'while (pending() && performance.now() < deadline)',
    replace: 'while (false)',
    tests: BRING_UP,
  },
  {
    name: 'counters are cleared when frames have arrived already',
    file: 'intel/intel-device.js',
    find: 'await this.startLink();',
    replace: 'await this.startLink(); this.#hardware.skip();',
    tests: COUNTING,
  },
  {
    name: 'ixgbe: a long damaged frame counts twice',
    file: 'ixgbe/stats.js',
    find: 'reg.ROC, reg.RLEC]',
    replace: 'reg.ROC, reg.RLEC, 0x40b0]',
    tests: COUNTING,
  },
  {
    name: 'igb: short and long frames count twice',
    file: 'igb/stats.js',
    find: 'reg.RUC, reg.ROC]',
    replace: 'reg.RUC, reg.ROC, 0x4040]',
    tests: COUNTING,
  },
  {
    name: 'AF_XDP: a frame in buffer 0 is not moved to its place',
    file: 'xdp/rx-queue.js',
    find: 'if (moved !== 0)',
    replace: 'if (false)',
    tests: XDP_QUEUES,
  },
  {
    name: 'AF_XDP: in zero-copy mode a buffer may reach into another page',
    file: 'xdp/rx-queue.js',
    find: 'Math.max(1, PAGE_BYTES >> pool.bufferShift) - 1',
    replace: '-1',
    tests: XDP_QUEUES,
  },
  {
    name: 'AF_XDP: a buffer that the kernel does not have is taken from it',
    file: 'xdp/rx-queue.js',
    find: ' && armed[buffer] === 1',
    replace: '',
    tests: XDP_QUEUES,
  },
  {
    name: 'AF_XDP: a kernel that ran out of buffers is not called',
    file: 'xdp/rx-queue.js',
    find: 'if ((words[flags] & RING_NEED_WAKEUP) !== 0)',
    replace: 'if (false)',
    tests: XDP_QUEUES,
  },
  {
    name: 'AF_XDP: a report of what was not sent is believed',
    file: 'xdp/tx-queue.js',
    find: ' || !(onTheWay[buffer] > 0)',
    replace: '',
    tests: XDP_QUEUES,
  },
  {
    name: 'AF_XDP: a full transmit ring does not call the kernel',
    file: 'xdp/tx-queue.js',
    find: 'reclaim: () => this.reclaim(),',
    replace: 'reclaim: () => this.#collect(),',
    tests: XDP_QUEUES,
  },
  {
    name: 'AF_XDP: "not" of a filter is left out',
    file: 'xdp/redirect-program.js',
    find: 'this.choose(filter.operand, no, yes);',
    replace: 'this.choose(filter.operand, yes, no);',
    tests: XDP_PROGRAM,
  },
  {
    name: 'AF_XDP: the program does not look whether the bytes are there',
    file: 'xdp/redirect-program.js',
    find: 'this.#assembler.jump(no, Jump.GREATER, R.PLACE, R.END);',
    replace: '',
    tests: XDP_PROGRAM,
  },
  {
    name: 'AF_XDP: instructions that nothing leads to are left in',
    file: 'xdp/bpf-assembler.js',
    find: 'this.#reachable = false;',
    replace: '',
    tests: XDP_PROGRAM,
  },
  ...virtioFaults,
  ...e1000eFaults,
  ...igbvfFaults,
];

/** Whether a fault can be planted in what is compiled. */
export const occursOnce = (text: string, { find }: Fault): boolean => text.split(find).length === 2;
