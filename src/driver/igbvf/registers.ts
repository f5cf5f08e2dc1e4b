/**
 * Registers of a virtual function of the Intel 82576, as far as the driver uses them (datasheet 8.26, "Virtual Function
 * Registers"). Byte offsets as printed; RW read-write, RO read-only, WO write-only, RC cleared by reading.
 */

// General
/** Device Control, WO for a virtual function. RST resets its queues and interrupts, and tells the physical function. */
export const CTRL = 0x0000;
export const CTRL_RST = 1 << 26;
/** Device Status, RO: the port's, which all functions share. Never all ones: bits 31:20 hold reserved zeros. */
export const STATUS = 0x0008;
export const STATUS_FD = 1 << 0;
/** Link up. */
export const STATUS_LU = 1 << 1;
/** 0: 10 Mb/s, 1: 100, 2 and 3: 1000. */
export const STATUS_SPEED_SHIFT = 6;

// Mailbox
/** Sixteen words that both functions read and write. */
export const vmbmem = (word: number): number => 0x0800 + 4 * word;
export const VMBMEM_WORDS = 16;
/** Virtual to physical function: mailbox control. */
export const V2PMAILBOX = 0x0c40;
/** WO: a message lies in the buffer; the message of the physical function was read. */
export const V2PMAILBOX_REQ = 1 << 0;
export const V2PMAILBOX_ACK = 1 << 1;
/** RW: the buffer is this function's. Sticks only while the other one does not have it. */
export const V2PMAILBOX_VFU = 1 << 2;
/** RC: the physical function has written a message; has read ours. */
export const V2PMAILBOX_PFSTS = 1 << 4;
export const V2PMAILBOX_PFACK = 1 << 5;
/** RO: the physical function is being reset. */
export const V2PMAILBOX_RSTI = 1 << 6;
/** RC: its reset is done, and has taken all that was set up here. */
export const V2PMAILBOX_RSTD = 1 << 7;
/** What reading clears. */
export const V2PMAILBOX_READ_CLEARS: number = V2PMAILBOX_PFSTS | V2PMAILBOX_PFACK | V2PMAILBOX_RSTD;

// Interrupts: as in the 82576 itself (8.8), one bit a vector; a virtual function has three.
export const EIMS = 0x1524;
export const EIMC = 0x1528;
export const EIAC = 0x152c;
export const EIAM = 0x1530;
export const EICR = 0x1580;
/** Interrupt throttling of vector 0, RW: 0 is none. */
export const EITR0 = 0x1680;
/** Vector of receive queue 0 in bits 7:0. */
export const VTIVAR = 0x1700;

// Receive queue 0, as in the 82576 itself (8.10)
export const RDBAL = 0x2800;
export const SRRCTL = 0x280c;
export const RDH = 0x2810;
export const RDT = 0x2818;
export const RXDCTL = 0x2828;
/** Receive Queue Drop Packet Count, RC. */
export const RQDPC = 0x2830;

// Transmit queue 0, as in the 82576 itself (8.12)
export const TDBAL = 0x3800;
export const TDH = 0x3810;
export const TDT = 0x3818;
export const TXDCTL = 0x3828;

// Statistics: RO, 32 bits that wrap round. Reading clears nothing.
export const VFGPRC = 0x0f10;
export const VFGPTC = 0x0f14;
export const VFGORC = 0x0f18;
export const VFGOTC = 0x0f34;
