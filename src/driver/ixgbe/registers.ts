/**
 * Registers of the Intel 82599 family (datasheet 8.2), as far as the driver uses them. X520 is an 82599 on a card;
 * X540 keeps these.
 * Byte offsets as printed; RW read-write, RO read-only, WO write-only, RC cleared by reading, SC clears itself.
 */

// General control (8.2.3.1)
/** Device Control, RW (8.2.3.1.1). */
export const CTRL = 0x0_0000;
/** PCIe Master Disable: no new bus-master requests. */
export const CTRL_MASTER_DISABLE = 1 << 2;
/** Link Reset and Device Reset, SC; both together reset everything but the PHY of X540. */
export const CTRL_LRST = 1 << 3;
export const CTRL_RST = 1 << 26;
/** Device Status, RO (8.2.3.1.2). Never all ones: bits 31:20 hold reserved zeros. */
export const STATUS = 0x0_0008;
/** 1 while bus-master requests may be under way. */
export const STATUS_MASTER_ENABLE = 1 << 19;
/** Extended Device Control, RW (8.2.3.1.3). */
export const CTRL_EXT = 0x0_0018;
/** No snoop disable: DMA always snoops the caches. */
export const CTRL_EXT_NS_DIS = 1 << 16;
/** Tells firmware that a driver runs. */
export const CTRL_EXT_DRV_LOAD = 1 << 28;

/** EEPROM/Flash Control, RW (8.2.3.2.1). */
export const EEC = 0x1_0010;
/** Auto read done: the device has loaded its configuration. */
export const EEC_AUTO_RD = 1 << 9;

// Semaphores (8.2.3.4)
/** Software Semaphore, RW (8.2.3.4.11). */
export const SWSM = 0x1_0140;
/** Software-Firmware Synchronization, RW (8.2.3.4.13): one bit a resource, the firmware's 5 higher. */
export const SW_FW_SYNC = 0x1_0160;
/** The MAC's link registers (AUTOC). */
export const SW_FW_SYNC_MAC_CSR = 1 << 3;
export const SW_FW_SYNC_FIRMWARE_SHIFT = 5;

/** PCIe Control Extended, RW (8.2.3.4.12). */
export const GCR_EXT = 0x1_1050;
/** Flushes the buffers towards PCIe. */
export const GCR_EXT_BUFFERS_CLEAR = 1 << 30;

// Interrupts (8.2.3.5). With MSI-X, bit q of EICR to EIAM is vector q, for q below 16.
/** Extended Interrupt Cause, RC (8.2.3.5.1). */
export const EICR = 0x0_0800;
/** Extended Interrupt Auto Clear, RW (8.2.3.5.5). */
export const EIAC = 0x0_0810;
/** Extended Interrupt Throttle, RW (8.2.3.5.12), vectors 0 to 23: the least interval in bits 11:3, in 2 us. */
export const eitr = (vector: number): number => 0x0_0820 + 4 * vector;
export const EITR_SHIFT = 3;
export const EITR_MAX = 0x1ff;
export const EITR_UNIT_US = 2;
/** Extended Interrupt Mask Set/Read, RW (8.2.3.5.3). Writing 0 masks nothing: use EIMC. */
export const EIMS = 0x0_0880;
/** Extended Interrupt Mask Clear, WO (8.2.3.5.4). */
export const EIMC = 0x0_0888;
/** Extended Interrupt Auto Mask, RW (8.2.3.5.6). */
export const EIAM = 0x0_0890;
/** Masks of vectors 0 to 31 and 32 to 63, WO (8.2.3.5.10). */
export const eimcEx = (half: number): number => 0x0_0ab0 + 4 * half;
/** General Purpose Interrupt Enable, RW (8.2.3.5.18). */
export const GPIE = 0x0_0898;
export const GPIE_MULTIPLE_MSIX = 1 << 4;
/** Other clear disable: only the bits of the vector are cleared by reading EICR. */
export const GPIE_OCD = 1 << 5;
export const GPIE_EIAME = 1 << 30;
export const GPIE_PBA = (1 << 31) >>> 0;
/** Interrupt Vector Allocation, RW (8.2.3.5.16): receive and transmit of queues 2n and 2n + 1, a byte each. */
export const ivar = (queue: number): number => 0x0_0900 + 4 * (queue >>> 1);
/** Bit position of a receive queue's entry. */
export const ivarRxShift = (queue: number): number => (queue & 1) * 16;

// Receive (8.2.3.7, 8.2.3.8)
/** Filter Control, RW (8.2.3.7.1): to be written before RXCTRL.RXEN. */
export const FCTRL = 0x0_5080;
/** Multicast and unicast promiscuous, broadcast accept. */
export const FCTRL_MPE = 1 << 8;
export const FCTRL_UPE = 1 << 9;
export const FCTRL_BAM = 1 << 10;
/** VLAN Control, RW (8.2.3.7.2): VFE turns the VLAN filter on. */
export const VLNCTRL = 0x0_5088;
export const VLNCTRL_VFE = 1 << 30;
/** Multicast Control, RW (8.2.3.7.3): MFE turns the multicast table on; MO = 0 hashes bits 47:36. */
export const MCSTCTRL = 0x0_5090;
export const MCSTCTRL_MFE = 1 << 2;
/** Receive Checksum Control, RW (8.2.3.7.5). PCSD: the descriptor carries the RSS hash. */
export const RXCSUM = 0x0_5000;
export const RXCSUM_PCSD = 1 << 13;
/** Multicast Table Array, undefined after reset (8.2.3.7.7). */
export const mta = (word: number): number => 0x0_5200 + 4 * word;
/** Receive Address Low and High (8.2.3.7.8, 8.2.3.7.9): the MAC address, little-endian; undefined beyond entry 0. */
export const RECEIVE_ADDRESSES = 128;
export const ral = (entry: number): number => 0x0_a200 + 8 * entry;
export const rah = (entry: number): number => 0x0_a204 + 8 * entry;
/** Address Valid: without it the entry filters nothing. */
export const RAH_AV = (1 << 31) >>> 0;
/** MAC Pool Select Array, two words an address, undefined after reset (8.2.3.7.10). */
export const mpsar = (word: number): number => 0x0_a600 + 4 * word;
/** VLAN Filter Table Array: 4096 bits, undefined after reset (8.2.3.7.11). */
export const vfta = (word: number): number => 0x0_a000 + 4 * word;
export const VLAN_WORDS = 128;
/** Five tuple Queue Filter, undefined after reset: Queue Enable is bit 31 (8.2.3.7.19). */
export const ftqf = (filter: number): number => 0x0_e600 + 4 * filter;
export const FIVE_TUPLE_FILTERS = 128;
/** VLAN filters of pools, one word and two words of pools each, undefined after reset (8.2.3.27.15, 8.2.3.27.16). */
export const pfvlvf = (filter: number): number => 0x0_f100 + 4 * filter;
export const pfvlvfb = (word: number): number => 0x0_f200 + 4 * word;
export const POOLS = 64;
/** Unicast Table Array: 4096 bits, undefined after reset (8.2.3.27.17). */
export const pfuta = (word: number): number => 0x0_f400 + 4 * word;
/** Multiple Receive Queues Command (8.2.3.7.12). */
export const MRQC = 0x0_ec80;
/** MRQE 0001b: RSS over 16 queues. */
export const MRQC_RSS = 1;
/** Redirection Table: 128 entries of a byte (8.2.3.7.15). */
export const RETA = 0x0_eb00;
/** RSS Random Key: 40 bytes (8.2.3.7.14). */
export const RSSRK = 0x0_eb80;

/** Receive descriptor base, length, head, tail and control per queue 0 to 63, RW (8.2.3.8.1 to 8.2.3.8.7). */
export const rdbal = (queue: number): number => 0x0_1000 + 0x40 * queue;
/** DCA Receive Control (8.2.3.11.1): bit 12 is reserved and set after reset; it must be cleared (4.6.7). */
export const dcaRxctrl = (queue: number): number => 0x0_100c + 0x40 * queue;
export const DCA_RXCTRL_RESERVED = 1 << 12;
/** Split Receive Control (8.2.3.8.7). */
export const srrctl = (queue: number): number => 0x0_1014 + 0x40 * queue;
/** Packet buffer size in KiB, bits 4:0. */
export const SRRCTL_BSIZEPACKET_UNIT_BYTES = 1024;
/** DESCTYPE 001b: advanced, one buffer. */
export const SRRCTL_DESCTYPE_ADVANCED = 1 << 25;
/** Drop rather than block the other queues when this one has no descriptors. */
export const SRRCTL_DROP_EN = 1 << 28;
export const rdt = (queue: number): number => 0x0_1018 + 0x40 * queue;
/** Receive Descriptor Control (8.2.3.8.6). VME: take VLAN tags out. */
export const rxdctl = (queue: number): number => 0x0_1028 + 0x40 * queue;
export const RXDCTL_ENABLE = 1 << 25;
export const RXDCTL_VME = 1 << 30;
/** Receive DMA Control, RW (8.2.3.8.8). */
export const RDRXCTL = 0x0_2f00;
export const RDRXCTL_CRCSTRIP = 1 << 1;
/** DMA initialisation done, RO. */
export const RDRXCTL_DMAIDONE = 1 << 3;
/** Bits 21:17: must be 0. Bits 25 and 26: software should set them (8.2.3.8.8). */
export const RDRXCTL_RSCFRSTSIZE_MASK = 0x1f << 17;
export const RDRXCTL_RSCACKC = 1 << 25;
export const RDRXCTL_FCOE_WRFIX = 1 << 26;
/** Receive Packet Buffer Size, RW (8.2.3.8.9): bytes, KiB in bits 19:10. */
export const rxpbsize = (buffer: number): number => 0x0_3c00 + 4 * buffer;
export const RXPBSIZE_SHIFT = 10;
export const PACKET_BUFFERS = 8;
/** Flow Control Receive Threshold High, RW (8.2.3.3.4): bytes in steps of 32, bits 18:5. */
export const fcrth = (buffer: number): number => 0x0_3260 + 4 * buffer;
/** FCRTH below the buffer's size, whether or not flow control is on (4.6.3.2). */
export const FCRTH_BELOW_BYTES = 0x6000;
/** Receive Control, RW (8.2.3.8.10). */
export const RXCTRL = 0x0_3000;
export const RXCTRL_RXEN = 1 << 0;
/** Security Receive Control and Status (8.2.3.13.1, 8.2.3.13.2): halt the receive path, and is it halted. */
export const SECRXCTRL = 0x0_8d00;
export const SECRXCTRL_RX_DIS = 1 << 1;
export const SECRXSTAT = 0x0_8d04;
export const SECRXSTAT_RDY = 1 << 0;

// Transmit (8.2.3.9)
/** DMA Transmit Maximum Allow Size Requests, RW (8.2.3.9.1); 0xFFF without DCB (4.6.11.3.4). */
export const DTXMXSZRQ = 0x0_8100;
export const DTXMXSZRQ_NO_DCB = 0xfff;
/** DMA Transmit Control, RW (8.2.3.9.2). */
export const DMATXCTL = 0x0_4a80;
export const DMATXCTL_TE = 1 << 0;
/** Transmit descriptor base, length, head, tail and control per queue, RW (8.2.3.9.5 to 8.2.3.9.10). */
export const tdbal = (queue: number): number => 0x0_6000 + 0x40 * queue;
export const tdh = (queue: number): number => 0x0_6010 + 0x40 * queue;
export const tdt = (queue: number): number => 0x0_6018 + 0x40 * queue;
export const txdctl = (queue: number): number => 0x0_6028 + 0x40 * queue;
export const TXDCTL_ENABLE = 1 << 25;
/** Transmit Packet Buffer Size, RW (8.2.3.9.13): bytes, KiB in bits 19:10. */
export const txpbsize = (buffer: number): number => 0x0_cc00 + 4 * buffer;
export const TXPBSIZE_SHIFT = 10;
/** All of the transmit packet buffer, for one traffic class (4.6.11.3.4). */
export const TX_PACKET_BUFFER_KIB = 160;
/** Transmit Packet Buffer Threshold, RW (8.2.3.9.16): KiB, above which no frame is fetched. */
export const txpbthresh = (buffer: number): number => 0x0_4950 + 4 * buffer;
/** DCB Transmit Descriptor Plane Control, RW (8.2.3.10.2). ARBDIS stops the arbiter while sizes change. */
export const RTTDCS = 0x0_4900;
export const RTTDCS_ARBDIS = 1 << 6;
/** Which queue RTTBCNRC is about, RW (8.2.3.10). */
export const RTTDQSEL = 0x0_4904;
/** Transmit Rate-Scheduler Memory Window, RW (8.2.3.10): how much lateness is made up for, in KiB of frames. */
export const RTTBCNRM = 0x0_4980;
/** Of frames up to 1518 bytes, and of longer ones. */
export const RTTBCNRM_STANDARD = 0x04;
export const RTTBCNRM_JUMBO = 0x14;
/** Transmit Rate-Scheduler Config of the queue in RTTDQSEL, RW (8.2.3.10): RF_INT 23:14, RF_DEC 13:0; 0 is no rate. */
export const RTTBCNRC = 0x0_4984;
export const RTTBCNRC_RF_SHIFT = 14;
export const RTTBCNRC_RS_ENA = (1 << 31) >>> 0;

// MAC (8.2.3.22)
/** Highlander Control 0, RW (8.2.3.22.8). */
export const HLREG0 = 0x0_4240;
export const HLREG0_TXCRCEN = 1 << 0;
export const HLREG0_RXCRCSTRP = 1 << 1;
/** Frames may be as long as MAXFRS says; without it 1518 bytes (8.2.3.22.8). */
export const HLREG0_JUMBOEN = 1 << 2;
export const HLREG0_TXPADEN = 1 << 10;
/** Loopback: nothing is sent or received. */
export const HLREG0_LPBK = 1 << 15;
/** Longest frame with FCS, in bits 31:16; one VLAN tag comes on top (8.2.3.22.13). RW. */
export const MAXFRS = 0x0_4268;
export const MAXFRS_MFS_SHIFT = 16;
/** Auto-Negotiation Control, RW (8.2.3.22.19). */
export const AUTOC = 0x0_42a0;
/** Link mode select. */
export const AUTOC_LMS_MASK = 7 << 13;
/** 10 Gb/s serial (SFI). */
export const AUTOC_LMS_10G_SERIAL = 3 << 13;
/** SC. */
export const AUTOC_RESTART_AN = 1 << 12;
/** Auto-Negotiation Control 2, RW (8.2.3.22.21): bits 17:16 are the serial PMA; 2 is SFI. */
export const AUTOC2 = 0x0_42a8;
export const AUTOC2_PMA_MASK = 3 << 16;
export const AUTOC2_PMA_SFI = 2 << 16;
/** Link Status, RO (8.2.3.22.20): up, and speed (1: 100 Mb/s, 2: 1 Gb/s, 3: 10 Gb/s). */
export const LINKS = 0x0_42a4;
export const LINKS_UP = 1 << 30;
export const LINKS_SPEED_SHIFT = 28;

// Statistics, all RC (8.2.3.23). Octet counters are 36 bits in two registers; low first.
export const CRCERRS = 0x0_4000;
/** Missed packets per packet buffer. */
export const mpc = (buffer: number): number => 0x0_3fa0 + 4 * buffer;
/** Length fields that do not fit their frame. */
export const RLEC = 0x0_4040;
export const GPRC = 0x0_4074;
export const GPTC = 0x0_4080;
export const GORCL = 0x0_4088;
export const GORCH = 0x0_408c;
/** Bits 35:32 of an octet counter. */
export const OCTETS_HIGH_MASK = 0xf;
export const GOTCL = 0x0_4090;
export const GOTCH = 0x0_4094;
/** Undersize, fragments, oversize. */
export const RUC = 0x0_40a4;
export const RFC = 0x0_40a8;
export const ROC = 0x0_40ac;
/**
 * Queue Packets Received Drop Count (8.2.3.23.72): frames that found no descriptor. RQSMR maps queues to counters;
 * after reset all queues count in number 0.
 */
export const qprdc = (counter: number): number => 0x0_1430 + 0x40 * counter;
