/** Reset and set-up of the 82576 (datasheet 4.5, "Device Initialization"). */
import { MULTICAST_WORDS } from '../intel/filters.js';
import { resetGigabit } from '../intel/gigabit.js';
import type { RingMemory } from '../intel/rings.js';
import { RSS_FIELDS, redirectionTable, rssKeyWords } from '../intel/rss.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const ALL = 0xffff_ffff;
const QUEUE_TIMEOUT_MS = 1000;
const FCS_BYTES = 4;
/** PTHRESH 8, HTHRESH 8, WTHRESH 1: each descriptor is written back at once, as polling needs. */
const RX_THRESHOLDS = 8 | (8 << 8) | (1 << 16);
/** PTHRESH 8, HTHRESH 1, WTHRESH 0: not every descriptor asks for a write-back (8.12.13). */
const TX_THRESHOLDS = 8 | (1 << 8);
const COLLISION_THRESHOLD = 15 << reg.TCTL_CT_SHIFT;

/** Masks every interrupt and clears what was pending. Writing 0 to EIMS would mask nothing. */
export function maskAllInterrupts(registers: RegisterFile): void {
  registers.write(reg.EIMC, ALL);
  registers.write(reg.IMC, ALL);
  registers.read(reg.ICR);
  registers.read(reg.EICR);
}

export function reset(registers: RegisterFile): Promise<void> {
  return resetGigabit(registers, maskAllInterrupts);
}

export interface ReceiveOptions {
  readonly bufferSizeBytes: number;
  /** Longest frame without FCS. */
  readonly maxFrameBytes: number;
  /** Both directions of a flow have the same hash. */
  readonly symmetricRss: boolean;
}

/** 4.5.9, all but turning queues and receiver on. */
export function setUpReceive(registers: RegisterFile, rings: RingMemory, options: ReceiveOptions): void {
  // Without Address Valid the unicast filter would not know its own address.
  registers.set(reg.rah(0), reg.RAH_AV);
  for (let word = 0; word < MULTICAST_WORDS; word++) registers.write(reg.mta(word), 0);
  registers.write(reg.RLPML, options.maxFrameBytes + FCS_BYTES);
  registers.write(reg.RCTL, reg.RCTL_BAM | reg.RCTL_SECRC | reg.RCTL_LPE);
  for (const [q, ring] of rings.rx.entries()) {
    rings.assign(registers, reg.rdbal(q), ring);
    const size = Math.floor(options.bufferSizeBytes / reg.SRRCTL_BSIZEPACKET_UNIT_BYTES);
    registers.write(reg.srrctl(q), (reg.SRRCTL_DROP_EN | reg.SRRCTL_DESCTYPE_ADVANCED | size) >>> 0);
    registers.write(reg.rxdctl(q), RX_THRESHOLDS);
  }
  if (rings.rx.length > 1) setUpRss(registers, rings.rx.length, options.symmetricRss);
}

/** 7.1.1.7. The hash takes the place of the fragment checksum in the descriptor (RXCSUM.PCSD). */
function setUpRss(registers: RegisterFile, queues: number, symmetric: boolean): void {
  for (const [i, word] of redirectionTable(queues).entries()) registers.write(reg.RETA + 4 * i, word);
  for (const [i, word] of rssKeyWords(symmetric).entries()) registers.write(reg.RSSRK + 4 * i, word);
  registers.set(reg.RXCSUM, reg.RXCSUM_PCSD);
  registers.write(reg.MRQC, reg.MRQC_RSS | RSS_FIELDS);
}

/** 4.5.10, all but turning the queues and the transmitter on. */
export function setUpTransmit(registers: RegisterFile, rings: RingMemory): void {
  for (const [q, ring] of rings.tx.entries()) {
    rings.assign(registers, reg.tdbal(q), ring);
    registers.write(reg.txdctl(q), TX_THRESHOLDS);
  }
  // PSP pads frames of 17 bytes and more (see TX_MIN_FRAME_BYTES) to the Ethernet minimum.
  const collisions = (registers.read(reg.TCTL) & ~reg.TCTL_CT_MASK) | COLLISION_THRESHOLD;
  registers.write(reg.TCTL, (collisions | reg.TCTL_PSP) >>> 0);
}

/** Queues first, then the units behind them, as 4.5.9 and 4.5.10 ask. */
export async function startQueues(registers: RegisterFile, queuePairs: number): Promise<void> {
  for (let q = 0; q < queuePairs; q++) {
    registers.set(reg.rxdctl(q), reg.RXDCTL_ENABLE);
    const name = `RXDCTL[${q}].ENABLE`;
    await registers.waitFor(reg.rxdctl(q), reg.RXDCTL_ENABLE, reg.RXDCTL_ENABLE, name, QUEUE_TIMEOUT_MS);
    registers.set(reg.txdctl(q), reg.TXDCTL_ENABLE);
    const txName = `TXDCTL[${q}].ENABLE`;
    await registers.waitFor(reg.txdctl(q), reg.TXDCTL_ENABLE, reg.TXDCTL_ENABLE, txName, QUEUE_TIMEOUT_MS);
  }
  registers.set(reg.RCTL, reg.RCTL_EN);
  registers.set(reg.TCTL, reg.TCTL_EN);
}

/** 4.5.9.2 and 4.5.10.2: the units off, then each queue; waits until the hardware says it has stopped. */
export async function stopQueues(registers: RegisterFile, queuePairs: number): Promise<void> {
  registers.clear(reg.RCTL, reg.RCTL_EN);
  registers.clear(reg.TCTL, reg.TCTL_EN);
  for (let q = 0; q < queuePairs; q++) {
    registers.clear(reg.rxdctl(q), reg.RXDCTL_ENABLE);
    registers.clear(reg.txdctl(q), reg.TXDCTL_ENABLE);
    await registers.waitFor(reg.rxdctl(q), reg.RXDCTL_ENABLE, 0, `RXDCTL[${q}].ENABLE`, QUEUE_TIMEOUT_MS);
    await registers.waitFor(reg.txdctl(q), reg.TXDCTL_ENABLE, 0, `TXDCTL[${q}].ENABLE`, QUEUE_TIMEOUT_MS);
  }
}
