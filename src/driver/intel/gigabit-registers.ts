/**
 * Registers that the gigabit controllers 82574 (datasheet 10.2.2) and 82576 (datasheet 8.2) have in common, as far as their
 * drivers use them. Byte offsets as printed; RW read-write, RO read-only, RC cleared by reading, SC clears itself.
 */

/** Device Control, RW (10.2.2.1; 8.2.1). */
export const CTRL = 0x0000;
/** GIO Master Disable: no new bus-master requests. */
export const CTRL_GIO_MASTER_DISABLE = 1 << 2;
/** Set Link Up. */
export const CTRL_SLU = 1 << 6;
/** Force Speed and Force Duplex: off, so that the PHY's result is used. */
export const CTRL_FRCSPD = 1 << 11;
export const CTRL_FRCDPLX = 1 << 12;
/** Device reset, SC. */
export const CTRL_RST = 1 << 26;

/** Device Status, RO (10.2.2.2; 8.2.2). Never all ones: bits 31:20 hold reserved zeros. */
export const STATUS = 0x0008;
export const STATUS_FD = 1 << 0;
/** Link up. */
export const STATUS_LU = 1 << 1;
/** 0: 10 Mb/s, 1: 100, 2 and 3: 1000. */
export const STATUS_SPEED_SHIFT = 6;
/** 1 while bus-master requests may be under way (GIO Master Enable Status). */
export const STATUS_GIO_MASTER_ENABLE = 1 << 19;

/** EEPROM/Flash Control, RW (10.2.2.3; 8.4.1). */
export const EECD = 0x0010;
/** Auto read done: the device has loaded its configuration. */
export const EECD_AUTO_RD = 1 << 9;

/** MDI Control: access to PHY registers, RW (10.2.2.7; 8.2.4). */
export const MDIC = 0x0020;
export const MDIC_REG_SHIFT = 16;
export const MDIC_PHY_SHIFT = 21;
export const MDIC_OP_WRITE = 1 << 26;
export const MDIC_OP_READ = 2 << 26;
export const MDIC_READY = 1 << 28;
export const MDIC_ERROR = 1 << 30;
/** The internal PHY answers at this address. */
export const MDIC_PHY_ADDRESS = 1;

// PHY registers (IEEE 802.3 clause 22)
export const PHY_CONTROL = 0;
export const PHY_CONTROL_RESTART_AUTONEG = 1 << 9;
export const PHY_CONTROL_POWER_DOWN = 1 << 11;
export const PHY_CONTROL_AUTONEG = 1 << 12;

/** Receive Control, RW (10.2.5.1; 8.10.1), the bits in common. */
export const RCTL = 0x0100;
/** Receiver on. */
export const RCTL_EN = 1 << 1;
/** Unicast and multicast promiscuous. */
export const RCTL_UPE = 1 << 3;
export const RCTL_MPE = 1 << 4;
/** Long packets: without it frames of more than 1522 bytes, FCS included, are dropped. */
export const RCTL_LPE = 1 << 5;
/** Broadcast accept. */
export const RCTL_BAM = 1 << 15;
/** Strip Ethernet CRC. */
export const RCTL_SECRC = 1 << 26;

/** Transmit Control, RW (10.2.6.1; 8.12.1), the bits in common. */
export const TCTL = 0x0400;
export const TCTL_EN = 1 << 1;
/** Pad Short Packets. */
export const TCTL_PSP = 1 << 3;
/** Collision threshold, bits 11:4. */
export const TCTL_CT_SHIFT = 4;
export const TCTL_CT_MASK = 0xff << 4;

/** Receive Checksum Control, RW (10.2.5.15; 8.10.12). PCSD: the descriptor carries the RSS hash. */
export const RXCSUM = 0x5000;
export const RXCSUM_PCSD = 1 << 13;
/** Multicast Table Array: 128 words (82576: 8.10.13). */
export const mta = (word: number): number => 0x5200 + 4 * word;
/** Receive Address Low and High (82576: 8.10.14, 8.10.15): the MAC address, little-endian. */
export const ral = (entry: number): number => 0x5400 + 8 * entry;
export const rah = (entry: number): number => 0x5404 + 8 * entry;
/** Address Valid: without it the entry filters nothing. */
export const RAH_AV = (1 << 31) >>> 0;
/** Multiple Receive Queues Command (82576: 8.10.18); its values differ. */
export const MRQC = 0x5818;
/** Redirection Table: 128 entries of a byte (82576: 8.10.19). */
export const RETA = 0x5c00;
/** RSS Random Key: 40 bytes (82576: 8.10.20). */
export const RSSRK = 0x5c80;

// Statistics, all RC (10.2.7; 8.19). Octet counters are 64 bits in two registers: low first; reading the high one clears.
/** CRC errors. */
export const CRCERRS = 0x4000;
/** Missed packets: no room in the packet buffer. */
export const MPC = 0x4010;
/** Good packets received, transmitted. */
export const GPRC = 0x4074;
export const GPTC = 0x4080;
/** Good octets received, transmitted. */
export const GORCL = 0x4088;
export const GORCH = 0x408c;
export const GOTCL = 0x4090;
export const GOTCH = 0x4094;
/** Undersize, fragments, oversize. */
export const RUC = 0x40a4;
export const RFC = 0x40a8;
export const ROC = 0x40ac;
