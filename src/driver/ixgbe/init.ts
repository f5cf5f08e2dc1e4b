/** Reset and set-up of the 82599 family (82599 datasheet 4.6.3 to 4.6.8). */
import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import { macFromRegisters } from '../intel/filters.js';
import type { RingMemory } from '../intel/rings.js';
import { RSS_FIELDS, redirectionTable, rssKeyWords } from '../intel/rss.js';
import type { RegisterFile } from '../register-file.js';
import { clearFilterTables, switchReceiverOn } from './filters.js';
import * as reg from './registers.js';

const debug = createDebug('barewire:driver');

/** Bit 31 of EIMC is reserved. */
const ALL_CAUSES = 0x7fff_ffff;
const ALL_VECTORS = 0xffff_ffff;
const MASTER_DISABLE_TIMEOUT_MS = 100;
const RESET_TIMEOUT_MS = 1000;
/** 4.2.1.6.1 and the reset sequence of 4.6.3: time for the reset to reach all units. */
const AFTER_RESET_MS = 10;
const QUEUE_TIMEOUT_MS = 1000;
const TRANSACTIONS_TIMEOUT_MS = 100;
const FCS_BYTES = 4;
const VLAN_BYTES = 4;
const LONGEST_STANDARD_BYTES = 1514;
const KIB = 1024;
/** PTHRESH 36, HTHRESH 8, WTHRESH 0: not every descriptor asks for a write-back (8.2.3.9.10). */
const TX_THRESHOLDS = 36 | (8 << 8);

/** Masks every interrupt and clears what was pending. Writing 0 to EIMS would mask nothing. */
export function maskAllInterrupts(registers: RegisterFile): void {
  registers.write(reg.EIMC, ALL_CAUSES);
  registers.write(reg.eimcEx(0), ALL_VECTORS);
  registers.write(reg.eimcEx(1), ALL_VECTORS);
  registers.read(reg.EICR);
}

export interface ResetOptions {
  /** CTRL.RST, and CTRL.LRST where the MAC has no PHY that must keep its link. */
  readonly resetBits: number;
  /** Whether the function still waits for answers of the bus (Device Status, Transactions Pending). */
  readonly transactionsPending: () => boolean;
}

/** 4.6.3: quiesce, reset, wait for EEPROM and DMA. */
export async function reset(registers: RegisterFile, options: ResetOptions): Promise<void> {
  const { resetBits } = options;
  maskAllInterrupts(registers);
  registers.clear(reg.RXCTRL, reg.RXCTRL_RXEN);
  if (!(await disableMaster(registers))) {
    await flushDataPath(registers, options.transactionsPending);
    // The first of two resets in a row, more than 1 us apart (5.2.5.3.2).
    await resetOnce(registers, resetBits);
  }
  await resetOnce(registers, resetBits);
  maskAllInterrupts(registers);
  await registers.waitFor(reg.EEC, reg.EEC_AUTO_RD, reg.EEC_AUTO_RD, 'EEC.AUTO_RD', RESET_TIMEOUT_MS);
  const done = reg.RDRXCTL_DMAIDONE;
  await registers.waitFor(reg.RDRXCTL, done, done, 'RDRXCTL.DMAIDONE', RESET_TIMEOUT_MS);
}

async function resetOnce(registers: RegisterFile, resetBits: number): Promise<void> {
  registers.set(reg.CTRL, resetBits);
  await sleep(1);
  await registers.waitFor(reg.CTRL, resetBits, 0, 'CTRL.RST', RESET_TIMEOUT_MS);
  await sleep(AFTER_RESET_MS);
}

/** 5.2.5.3.2. False where requests stay under way; the reset follows all the same. */
async function disableMaster(registers: RegisterFile): Promise<boolean> {
  registers.set(reg.CTRL, reg.CTRL_MASTER_DISABLE);
  try {
    const name = 'STATUS.MASTER_ENABLE';
    await registers.waitFor(reg.STATUS, reg.STATUS_MASTER_ENABLE, 0, name, MASTER_DISABLE_TIMEOUT_MS);
    return true;
  } catch (error) {
    if (!(error instanceof NicError) || error.code !== 'DEVICE_TIMEOUT') throw error;
    debug('%s; flushing the data path and resetting twice', error.message);
    return false;
  }
}

/**
 * 5.2.5.3.2, where master disable timed out: what is in the transmit path must not come out after the reset. Loopback keeps
 * it off the wire while the buffers are cleared.
 * ASSUMED: the text gives no limit for the wait, and no way on if transactions stay pending; the reset follows all the same.
 */
async function flushDataPath(registers: RegisterFile, pending: () => boolean): Promise<void> {
  const deadline = performance.now() + TRANSACTIONS_TIMEOUT_MS;
  while (pending() && performance.now() < deadline) await sleep(1);
  registers.set(reg.HLREG0, reg.HLREG0_LPBK);
  registers.clear(reg.RXCTRL, reg.RXCTRL_RXEN);
  registers.set(reg.GCR_EXT, reg.GCR_EXT_BUFFERS_CLEAR);
  // For 20 us; the event loop's shortest sleep is longer.
  await sleep(1);
  registers.clear(reg.HLREG0, reg.HLREG0_LPBK);
  registers.clear(reg.GCR_EXT, reg.GCR_EXT_BUFFERS_CLEAR);
}

/** The address that the device loaded from its EEPROM into receive address 0. */
export function readMac(registers: RegisterFile): Uint8Array {
  return macFromRegisters(registers.read(reg.ral(0)), registers.read(reg.rah(0)));
}

export interface ReceiveOptions {
  /** Memory for received frames that the controller has, in KiB. */
  readonly packetBufferKib: number;
  readonly bufferSizeBytes: number;
  /** Longest frame without FCS. */
  readonly maxFrameBytes: number;
  /** Both directions of a flow have the same hash. */
  readonly symmetricRss: boolean;
  readonly vlanStrip: boolean;
}

/** 4.6.7, all but turning queues and receiver on. */
export function setUpReceive(registers: RegisterFile, rings: RingMemory, options: ReceiveOptions): void {
  registers.set(reg.CTRL_EXT, reg.CTRL_EXT_NS_DIS | reg.CTRL_EXT_DRV_LOAD);
  // Without Address Valid the unicast filter would not know its own address.
  registers.set(reg.rah(0), reg.RAH_AV);
  clearFilterTables(registers);
  registers.write(reg.MCSTCTRL, reg.MCSTCTRL_MFE);
  registers.clear(reg.VLNCTRL, reg.VLNCTRL_VFE);
  setUpReceiveBuffer(registers, options.packetBufferKib);
  // The FCS is taken off in the MAC and in the DMA unit; the two must agree.
  registers.set(reg.HLREG0, reg.HLREG0_RXCRCSTRP | reg.HLREG0_JUMBOEN);
  // A tagged frame may be 4 bytes longer than MFS; those go to the headroom of the next buffer (see PacketPool).
  registers.write(reg.MAXFRS, ((options.maxFrameBytes + FCS_BYTES) << reg.MAXFRS_MFS_SHIFT) >>> 0);
  const dma = registers.read(reg.RDRXCTL) & ~reg.RDRXCTL_RSCFRSTSIZE_MASK;
  const dmaBits = reg.RDRXCTL_CRCSTRIP | reg.RDRXCTL_RSCACKC | reg.RDRXCTL_FCOE_WRFIX;
  registers.write(reg.RDRXCTL, (dma | dmaBits) >>> 0);
  registers.write(reg.FCTRL, reg.FCTRL_BAM);
  for (const [q, ring] of rings.rx.entries()) {
    rings.assign(registers, reg.rdbal(q), ring);
    const size = Math.floor(options.bufferSizeBytes / reg.SRRCTL_BSIZEPACKET_UNIT_BYTES);
    registers.write(reg.srrctl(q), reg.SRRCTL_DROP_EN | reg.SRRCTL_DESCTYPE_ADVANCED | size);
    registers.clear(reg.dcaRxctrl(q), reg.DCA_RXCTRL_RESERVED);
    if (options.vlanStrip) registers.set(reg.rxdctl(q), reg.RXDCTL_VME);
  }
  if (rings.rx.length > 1) setUpRss(registers, rings.rx.length, options.symmetricRss);
}

/**
 * 4.6.11.3.4: one packet buffer with all of the memory, at 10 Gbit/s 420 us of an 82599's. FCRTH must be set although no pause
 * frames are sent: 4.6.3.2 wants it in any case.
 * ASSUMED: "RXPBSIZE[n] - 0x6000" is in bytes, as FCRTH counts, and the other buffers, which have no memory, need no threshold.
 */
function setUpReceiveBuffer(registers: RegisterFile, kib: number): void {
  registers.write(reg.rxpbsize(0), kib << reg.RXPBSIZE_SHIFT);
  registers.write(reg.fcrth(0), kib * KIB - reg.FCRTH_BELOW_BYTES);
  for (let buffer = 1; buffer < reg.PACKET_BUFFERS; buffer++) {
    registers.write(reg.rxpbsize(buffer), 0);
    registers.write(reg.fcrth(buffer), 0);
  }
}

/** 7.1.2.8. The hash takes the place of the fragment checksum in the descriptor (RXCSUM.PCSD). */
function setUpRss(registers: RegisterFile, queues: number, symmetric: boolean): void {
  for (const [i, word] of redirectionTable(queues).entries()) registers.write(reg.RETA + 4 * i, word);
  for (const [i, word] of rssKeyWords(symmetric).entries()) registers.write(reg.RSSRK + 4 * i, word);
  registers.set(reg.RXCSUM, reg.RXCSUM_PCSD);
  registers.write(reg.MRQC, reg.MRQC_RSS | RSS_FIELDS);
}

/**
 * 4.6.8, all but turning the queues on.
 * @param maxFrameBytes longest frame without FCS
 */
export function setUpTransmit(registers: RegisterFile, rings: RingMemory, maxFrameBytes: number): void {
  registers.set(reg.HLREG0, reg.HLREG0_TXCRCEN | reg.HLREG0_TXPADEN);
  // Sizes may change only while the arbiter stands still (4.6.11.3.4).
  registers.set(reg.RTTDCS, reg.RTTDCS_ARBDIS);
  registers.write(reg.txpbsize(0), reg.TX_PACKET_BUFFER_KIB << reg.TXPBSIZE_SHIFT);
  // Above the threshold nothing is fetched, so that the longest frame always fits behind it (8.2.3.9.16).
  const longestKib = Math.ceil((maxFrameBytes + VLAN_BYTES + FCS_BYTES) / KIB);
  registers.write(reg.txpbthresh(0), reg.TX_PACKET_BUFFER_KIB - longestKib);
  for (let buffer = 1; buffer < reg.PACKET_BUFFERS; buffer++) {
    registers.write(reg.txpbsize(buffer), 0);
    registers.write(reg.txpbthresh(buffer), 0);
  }
  registers.write(reg.DTXMXSZRQ, reg.DTXMXSZRQ_NO_DCB);
  registers.clear(reg.RTTDCS, reg.RTTDCS_ARBDIS);
  registers.write(
    reg.RTTBCNRM,
    maxFrameBytes > LONGEST_STANDARD_BYTES ? reg.RTTBCNRM_JUMBO : reg.RTTBCNRM_STANDARD,
  );
  for (const [q, ring] of rings.tx.entries()) {
    rings.assign(registers, reg.tdbal(q), ring);
    registers.write(reg.txdctl(q), TX_THRESHOLDS);
    // The text does not say what a reset leaves of rates: a queue must not keep somebody else's.
    registers.write(reg.RTTDQSEL, q);
    registers.write(reg.RTTBCNRC, 0);
  }
  registers.set(reg.DMATXCTL, reg.DMATXCTL_TE);
}

/** 4.6.7 and 4.6.8: the receiver with its data path halted, then each queue. */
export async function startQueues(registers: RegisterFile, queuePairs: number): Promise<void> {
  await switchReceiverOn(registers);
  for (let q = 0; q < queuePairs; q++) {
    await setQueue(registers, reg.rxdctl(q), reg.RXDCTL_ENABLE, true, `RXDCTL[${q}].ENABLE`);
    await setQueue(registers, reg.txdctl(q), reg.TXDCTL_ENABLE, true, `TXDCTL[${q}].ENABLE`);
  }
}

/** 4.6.7.1.2 and 4.6.8.1.2: each queue, until the hardware says it has stopped, then the units behind them. */
export async function stopQueues(registers: RegisterFile, queuePairs: number): Promise<void> {
  for (let q = 0; q < queuePairs; q++) {
    await setQueue(registers, reg.rxdctl(q), reg.RXDCTL_ENABLE, false, `RXDCTL[${q}].ENABLE`);
    await setQueue(registers, reg.txdctl(q), reg.TXDCTL_ENABLE, false, `TXDCTL[${q}].ENABLE`);
  }
  registers.clear(reg.RXCTRL, reg.RXCTRL_RXEN);
  registers.clear(reg.DMATXCTL, reg.DMATXCTL_TE);
  registers.clear(reg.CTRL_EXT, reg.CTRL_EXT_DRV_LOAD);
}

async function setQueue(
  registers: RegisterFile,
  offset: number,
  bit: number,
  on: boolean,
  name: string,
): Promise<void> {
  if (on) registers.set(offset, bit);
  else registers.clear(offset, bit);
  await registers.waitFor(offset, bit, on ? bit : 0, name, QUEUE_TIMEOUT_MS);
}
