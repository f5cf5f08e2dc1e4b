/** Reset and set-up of the 82599 family (82599 datasheet 4.6.3 to 4.6.8). */
import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import { MULTICAST_WORDS, macFromRegisters } from '../intel/filters.js';
import type { RingMemory } from '../intel/rings.js';
import { RSS_FIELDS, RSS_KEY_WORDS, redirectionTable } from '../intel/rss.js';
import type { RegisterFile } from '../register-file.js';
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
const FCS_BYTES = 4;
/** PTHRESH 36, HTHRESH 8, WTHRESH 0: not every descriptor asks for a write-back (8.2.3.9.10). */
const TX_THRESHOLDS = 36 | (8 << 8);

/** Masks every interrupt and clears what was pending. Writing 0 to EIMS would mask nothing. */
export function maskAllInterrupts(registers: RegisterFile): void {
  registers.write(reg.EIMC, ALL_CAUSES);
  registers.write(reg.eimcEx(0), ALL_VECTORS);
  registers.write(reg.eimcEx(1), ALL_VECTORS);
  registers.read(reg.EICR);
}

/**
 * 4.6.3: quiesce, reset, wait for EEPROM and DMA.
 * @param resetBits CTRL.RST, and CTRL.LRST where the MAC has no PHY that must keep its link
 */
export async function reset(registers: RegisterFile, resetBits: number): Promise<void> {
  maskAllInterrupts(registers);
  registers.clear(reg.RXCTRL, reg.RXCTRL_RXEN);
  const quiet = await disableMaster(registers);
  await resetOnce(registers, resetBits);
  // 5.2.5.3.2: where requests were still under way, one more reset clears what the first one let in.
  if (!quiet) await resetOnce(registers, resetBits);
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
    debug('%s; resetting twice', error.message);
    return false;
  }
}

/** The address that the device loaded from its EEPROM into receive address 0. */
export function readMac(registers: RegisterFile): Uint8Array {
  return macFromRegisters(registers.read(reg.ral(0)), registers.read(reg.rah(0)));
}

export interface ReceiveOptions {
  readonly bufferSizeBytes: number;
  /** Longest frame without FCS. */
  readonly maxFrameBytes: number;
  readonly vlanStrip: boolean;
}

/** 4.6.7, all but turning queues and receiver on. */
export function setUpReceive(registers: RegisterFile, rings: RingMemory, options: ReceiveOptions): void {
  registers.set(reg.CTRL_EXT, reg.CTRL_EXT_NS_DIS | reg.CTRL_EXT_DRV_LOAD);
  // Without Address Valid the unicast filter would not know its own address.
  registers.set(reg.rah(0), reg.RAH_AV);
  for (let word = 0; word < MULTICAST_WORDS; word++) registers.write(reg.mta(word), 0);
  registers.write(reg.MCSTCTRL, reg.MCSTCTRL_MFE);
  registers.clear(reg.VLNCTRL, reg.VLNCTRL_VFE);
  // One packet buffer, all of it for traffic class 0.
  registers.write(reg.rxpbsize(0), reg.RXPBSIZE_128K);
  for (let buffer = 1; buffer < reg.PACKET_BUFFERS; buffer++) registers.write(reg.rxpbsize(buffer), 0);
  // The FCS is taken off in the MAC and in the DMA unit; the two must agree.
  registers.set(reg.HLREG0, reg.HLREG0_RXCRCSTRP | reg.HLREG0_JUMBOEN);
  // A tagged frame may be 4 bytes longer than MFS; those go to the headroom of the next buffer (see PacketPool).
  registers.write(reg.MAXFRS, ((options.maxFrameBytes + FCS_BYTES) << reg.MAXFRS_MFS_SHIFT) >>> 0);
  const dma = registers.read(reg.RDRXCTL) & ~reg.RDRXCTL_RSCFRSTSIZE_MASK;
  const dmaBits = reg.RDRXCTL_CRCSTRIP | reg.RDRXCTL_RSCACKC | reg.RDRXCTL_FCOE_WRFIX;
  registers.write(reg.RDRXCTL, (dma | dmaBits) >>> 0);
  registers.write(reg.FCTRL, reg.FCTRL_BAM);
  for (const [q, ring] of rings.rx.entries()) {
    registers.write(reg.rdbal(q), rings.iovaLow(ring));
    registers.write(reg.rdbah(q), rings.iovaHigh);
    registers.write(reg.rdlen(q), ring.sizeBytes);
    const size = Math.floor(options.bufferSizeBytes / reg.SRRCTL_BSIZEPACKET_UNIT_BYTES);
    registers.write(reg.srrctl(q), reg.SRRCTL_DROP_EN | reg.SRRCTL_DESCTYPE_ADVANCED | size);
    registers.write(reg.rdh(q), 0);
    registers.write(reg.rdt(q), 0);
    registers.clear(reg.dcaRxctrl(q), reg.DCA_RXCTRL_RESERVED);
    if (options.vlanStrip) registers.set(reg.rxdctl(q), reg.RXDCTL_VME);
  }
  if (rings.rx.length > 1) setUpRss(registers, rings.rx.length);
}

/** 7.1.2.8. The hash takes the place of the fragment checksum in the descriptor (RXCSUM.PCSD). */
function setUpRss(registers: RegisterFile, queues: number): void {
  for (const [i, word] of redirectionTable(queues).entries()) registers.write(reg.RETA + 4 * i, word);
  for (const [i, word] of RSS_KEY_WORDS.entries()) registers.write(reg.RSSRK + 4 * i, word);
  registers.set(reg.RXCSUM, reg.RXCSUM_PCSD);
  registers.write(reg.MRQC, reg.MRQC_RSS | RSS_FIELDS);
}

/** 4.6.8, all but turning the queues on. */
export function setUpTransmit(registers: RegisterFile, rings: RingMemory): void {
  registers.set(reg.HLREG0, reg.HLREG0_TXCRCEN | reg.HLREG0_TXPADEN);
  // Sizes may change only while the arbiter stands still (4.6.11.3.4).
  registers.set(reg.RTTDCS, reg.RTTDCS_ARBDIS);
  registers.write(reg.txpbsize(0), reg.TXPBSIZE_40K);
  for (let buffer = 1; buffer < reg.PACKET_BUFFERS; buffer++) registers.write(reg.txpbsize(buffer), 0);
  registers.write(reg.DTXMXSZRQ, reg.DTXMXSZRQ_NO_DCB);
  registers.clear(reg.RTTDCS, reg.RTTDCS_ARBDIS);
  for (const [q, ring] of rings.tx.entries()) {
    registers.write(reg.tdbal(q), rings.iovaLow(ring));
    registers.write(reg.tdbah(q), rings.iovaHigh);
    registers.write(reg.tdlen(q), ring.sizeBytes);
    registers.write(reg.tdh(q), 0);
    registers.write(reg.tdt(q), 0);
    registers.write(reg.txdctl(q), TX_THRESHOLDS);
  }
  registers.set(reg.DMATXCTL, reg.DMATXCTL_TE);
}

/** 4.6.7 and 4.6.8: the receiver with its data path halted, then each queue. */
export async function startQueues(registers: RegisterFile, queuePairs: number): Promise<void> {
  registers.set(reg.SECRXCTRL, reg.SECRXCTRL_RX_DIS);
  const halted = reg.SECRXSTAT_RDY;
  await registers.waitFor(reg.SECRXSTAT, halted, halted, 'SECRXSTAT.SECRX_RDY', QUEUE_TIMEOUT_MS);
  registers.set(reg.RXCTRL, reg.RXCTRL_RXEN);
  registers.clear(reg.SECRXCTRL, reg.SECRXCTRL_RX_DIS);
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
