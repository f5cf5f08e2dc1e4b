/**
 * Receive filters of the 82599 family: tables that are undefined after a reset, and the filter control register, which may
 * change only while the receiver is off (82599 datasheet 4.6.7, 8.2.3.7).
 */
import { nextTurn } from '../../clock.js';
import { MULTICAST_WORDS } from '../intel/filters.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const HALT_TIMEOUT_MS = 1000;

/**
 * Writes every filter table that a reset leaves undefined (4.6.7, first list): a filter that nobody set must not match.
 * ASSUMED: MPSAR(0) names pool 0 for the station's address and nothing else matters, as there are no pools without
 * virtualization; the text gives no value for that case. Confirmed by TinyNF's driver, which runs on hardware so.
 *
 * These are a thousand accesses, which a device behind a socket answers one by one: the event loop has its turn in between.
 * @throws the reason of `registers.signal`
 */
export async function clearFilterTables(registers: RegisterFile): Promise<void> {
  const clear = async (register: (index: number) => number, count: number, first = 0): Promise<void> => {
    for (let i = first; i < count; i++) registers.write(register(i), 0);
    await nextTurn();
    registers.signal?.throwIfAborted();
  };
  // Address 0 is the station's, from the EEPROM; the others are not valid.
  await clear(reg.rah, reg.RECEIVE_ADDRESSES, 1);
  registers.write(reg.mpsar(0), 1);
  await clear(reg.mpsar, 2 * reg.RECEIVE_ADDRESSES, 1);
  await clear(reg.mta, MULTICAST_WORDS);
  await clear(reg.vfta, reg.VLAN_WORDS);
  await clear(reg.pfuta, MULTICAST_WORDS);
  await clear(reg.pfvlvf, reg.POOLS);
  await clear(reg.pfvlvfb, 2 * reg.POOLS);
  // Queue Enable, bit 31, is undefined as well: a five-tuple filter that is on by chance would take frames away.
  await clear(reg.ftqf, reg.FIVE_TUPLE_FILTERS);
}

/**
 * 4.6.7, "enable the receive path": with the data path halted. `change` is called in between, with the receiver off.
 * @throws NicError `DEVICE_TIMEOUT` where the data path does not come to rest; the receiver is as before then
 */
export async function switchReceiverOn(registers: RegisterFile, change?: () => void): Promise<void> {
  registers.set(reg.SECRXCTRL, reg.SECRXCTRL_RX_DIS);
  try {
    const halted = reg.SECRXSTAT_RDY;
    await registers.waitFor(reg.SECRXSTAT, halted, halted, 'SECRXSTAT.SECRX_RDY', HALT_TIMEOUT_MS);
    if (change !== undefined) {
      // A device that was closed meanwhile has its receiver off, and it stays off.
      const receiving = (registers.read(reg.RXCTRL) & reg.RXCTRL_RXEN) !== 0;
      registers.clear(reg.RXCTRL, reg.RXCTRL_RXEN);
      change();
      if (!receiving) return;
    }
    registers.set(reg.RXCTRL, reg.RXCTRL_RXEN);
  } finally {
    registers.clear(reg.SECRXCTRL, reg.SECRXCTRL_RX_DIS);
  }
}

/**
 * 8.2.3.7.1: FCTRL is written with RXCTRL.RXEN off. Frames that arrive in these microseconds are lost and counted nowhere.
 * ASSUMED: this goes for FCTRL only. The text has the rule in this register's section; the multicast table and the receive
 * addresses are written while the receiver runs, as Linux, FreeBSD and DPDK do.
 * @throws NicError as `switchReceiverOn`
 */
export async function changeFilterControl(registers: RegisterFile, mask: number, on: boolean): Promise<void> {
  const change = (): void => (on ? registers.set(reg.FCTRL, mask) : registers.clear(reg.FCTRL, mask));
  if ((registers.read(reg.RXCTRL) & reg.RXCTRL_RXEN) === 0) change();
  else await switchReceiverOn(registers, change);
}
