/** Reset and set-up of the 82574 (datasheet 4.6, "Software Initialization Sequence"). */
import { MULTICAST_WORDS } from '../intel/filters.js';
import { resetGigabit } from '../intel/gigabit.js';
import type { RingMemory } from '../intel/rings.js';
import { rssKeyWords } from '../intel/rss.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const ALL = 0xffff_ffff;
/** PTHRESH 8, HTHRESH 8, WTHRESH 1: each descriptor is written back at once, as polling needs. */
const RX_THRESHOLDS = reg.XDCTL_GRAN | 8 | (8 << 8) | (1 << 16);
/** PTHRESH 8, HTHRESH 1, WTHRESH 0: not every descriptor asks for a write-back. */
const TX_THRESHOLDS = reg.XDCTL_GRAN | reg.TXDCTL_22 | 8 | (1 << 8);
const COLLISIONS = (15 << reg.TCTL_CT_SHIFT) | (63 << reg.TCTL_COLD_SHIFT);

/** Masks every interrupt and clears what was pending. Writing 0 to IMS would mask nothing. */
export function maskAllInterrupts(registers: RegisterFile): void {
  registers.write(reg.IMC, ALL);
  registers.write(reg.ICR, ALL);
  registers.read(reg.ICR);
}

export async function reset(registers: RegisterFile): Promise<void> {
  await resetGigabit(registers, maskAllInterrupts);
  // QEMU's model keeps this bit over a reset that its hardware clears.
  registers.clear(reg.CTRL, reg.CTRL_GIO_MASTER_DISABLE);
}

/**
 * Bits that the datasheet calls reserved and that hardware needs otherwise than a reset leaves them; facts of Linux's e1000e
 * (82571.c). GCR2 bit 0 is its cure for PCIe completions that go wrong where ASPM is on, which ends in hanging transmitters;
 * GCR bit 22 and CTRL_EXT bits 23:22 come without a reason there.
 */
export function applyErrata(registers: RegisterFile): void {
  registers.write(reg.CTRL_EXT, ((registers.read(reg.CTRL_EXT) | reg.CTRL_EXT_22) & ~reg.CTRL_EXT_23) >>> 0);
  registers.set(reg.GCR, reg.GCR_22);
  registers.set(reg.GCR2, reg.GCR2_0);
}

/**
 * 4.6.5, all but turning the receiver on.
 * @param buffers bits of RCTL for the size of buffers and long frames
 */
export function setUpReceive(
  registers: RegisterFile,
  rings: RingMemory,
  buffers: number,
  symmetricRss: boolean,
): void {
  // Without Address Valid the unicast filter would not know its own address. The other entries are undefined after power-up.
  registers.set(reg.rah(0), reg.RAH_AV);
  for (let entry = 1; entry < reg.RECEIVE_ADDRESSES; entry++) registers.write(reg.rah(entry), 0);
  for (let word = 0; word < MULTICAST_WORDS; word++) registers.write(reg.mta(word), 0);
  registers.write(reg.RCTL, reg.RCTL_BAM | reg.RCTL_SECRC | buffers);
  registers.write(
    reg.RFCTL,
    reg.RFCTL_EXSTEN | reg.RFCTL_ISCSI_DIS | reg.RFCTL_NFSW_DIS | reg.RFCTL_NFSR_DIS | reg.RFCTL_ACK_DIS,
  );
  registers.write(reg.RDTR, 0);
  registers.write(reg.RADV, 0);
  for (const [q, ring] of rings.rx.entries()) {
    rings.assign(registers, reg.rdbal(q), ring);
    registers.write(reg.rxdctl(q), RX_THRESHOLDS);
  }
  if (rings.rx.length > 1) setUpRss(registers, symmetricRss);
}

/** Two queues, whose number is bit 7 of a table entry. The hash takes the place of the packet checksum (RXCSUM.PCSD). */
function setUpRss(registers: RegisterFile, symmetric: boolean): void {
  const queue1 = 1 << reg.RETA_QUEUE_SHIFT;
  // Four entries a word: queues 0 and 1 in turn.
  const entries = ((queue1 << 8) | (queue1 << 24)) >>> 0;
  for (let word = 0; word < reg.RETA_WORDS; word++) registers.write(reg.RETA + 4 * word, entries);
  for (const [i, word] of rssKeyWords(symmetric).entries()) registers.write(reg.RSSRK + 4 * i, word);
  registers.set(reg.RXCSUM, reg.RXCSUM_PCSD);
  registers.write(reg.MRQC, reg.MRQC_RSS | reg.MRQC_FIELDS);
}

/** 4.6.6, all but turning the transmitter on. */
export function setUpTransmit(registers: RegisterFile, rings: RingMemory): void {
  for (const [q, ring] of rings.tx.entries()) {
    rings.assign(registers, reg.tdbal(q), ring);
    registers.write(reg.txdctl(q), TX_THRESHOLDS);
    registers.set(reg.tarc(q), reg.TARC_ENABLE);
  }
  const arbitration = registers.read(reg.tarc(0)) & ~reg.TARC_30_27;
  registers.write(reg.tarc(0), (arbitration | reg.TARC_26) >>> 0);
  // PSP pads short frames to the Ethernet minimum.
  const others = registers.read(reg.TCTL) & ~(reg.TCTL_CT_MASK | reg.TCTL_COLD_MASK);
  registers.write(reg.TCTL, (others | COLLISIONS | reg.TCTL_PSP) >>> 0);
}

/** There is one switch for all receive queues and one for all transmit queues. */
export function startQueues(registers: RegisterFile): void {
  registers.set(reg.RCTL, reg.RCTL_EN);
  registers.set(reg.TCTL, reg.TCTL_EN);
}

export function stopQueues(registers: RegisterFile): void {
  registers.clear(reg.RCTL, reg.RCTL_EN);
  registers.clear(reg.TCTL, reg.TCTL_EN);
}
