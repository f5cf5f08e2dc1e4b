/**
 * Registers of the 82599 as the model declares them: offset, access mode, reset value, reserved bits and section of
 * the datasheet (Intel 82599 10 GbE Controller Datasheet, chapter 8.2.3; where only the group of a register is
 * certain, the group's section is given). Offsets agree with what the Linux, DPDK and FreeBSD drivers use.
 *
 * Registers that only matter to features the model lacks (FCoE, LinkSec, IPsec, DCB, virtualization, wake-up) are
 * plain storage, so that drivers that set them up read back what they wrote. What a software reset leaves (sticky): 8.2.3.23,
 * statistics; 4.2.1, what EEPROM and link own.
 */
import { block, type RegisterBlock, RegisterTable } from '../device/register-table.js';

/**
 * What registers hold after a reset where the datasheet leaves it open (initial value X): a pattern, so that a driver that
 * forgets to initialise one is seen. Never all ones, and no filter is enabled by it.
 */
const UNDEFINED = 0x5aa5c33c;

/** Size of BAR0 (9.3.6). */
const BAR0_SIZE_BYTES = 0x80000;

// Offsets that more than the table needs.
export const CTRL = 0x00000;
export const STATUS = 0x00008;
export const CTRL_EXT = 0x00018;
export const I2CCTL = 0x00028;
export const EICR = 0x00800;
export const GPIE = 0x00898;
export const IVAR = 0x00900;
export const IVAR_MISC = 0x00a00;
export const RXCTRL = 0x03000;
export const RXPBSIZE = 0x03c00;
export const RDRXCTL = 0x02f00;
export const HLREG0 = 0x04240;
export const MSRWD = 0x04260;
export const MAXFRS = 0x04268;
export const AUTOC = 0x042a0;
export const LINKS = 0x042a4;
export const RTTDCS = 0x04900;
export const RTTDQSEL = 0x04904;
export const RTTBCNRM = 0x04980;
export const RTTBCNRC = 0x04984;
export const FCTTV = 0x03200;
export const FCRTL = 0x03220;
export const FCRTH = 0x03260;
export const FCRTV = 0x032a0;
export const FCCFG = 0x03d00;
export const TFCS = 0x0ce00;
export const MFLCN = 0x04294;
export const TXPBSIZE = 0x0cc00;
export const TXPBTHRESH = 0x04950;
export const DMATXCTL = 0x04a80;
export const RXCSUM = 0x05000;
export const RFCTL = 0x05008;
export const FCTRL = 0x05080;
export const VLNCTRL = 0x05088;
export const MCSTCTRL = 0x05090;
export const MTA = 0x05200;
export const RAL = 0x0a200;
export const VFTA = 0x0a000;
export const MRQC = 0x0ec80;
export const RETA = 0x0eb00;
export const RSSRK = 0x0eb80;
export const RQSMR = 0x02300;
export const TQSM = 0x08600;

/** Registers of a receive queue: offsets from its base. Queues 0-63 start at 0x1000, 64-127 at 0xD000. */
export const RX = {
  RDBAL: 0x00,
  RDBAH: 0x04,
  RDLEN: 0x08,
  RDH: 0x10,
  SRRCTL: 0x14,
  RDT: 0x18,
  RXDCTL: 0x28,
  RSCCTL: 0x2c,
} as const;
/** Registers of a transmit queue: offsets from 0x6000 + 0x40 n. */
export const TX = {
  TDBAL: 0x00,
  TDBAH: 0x04,
  TDLEN: 0x08,
  TDH: 0x10,
  TDT: 0x18,
  TXDCTL: 0x28,
  TDWBAL: 0x38,
  TDWBAH: 0x3c,
} as const;

export function rxQueueBase(queue: number): number {
  return queue < 64 ? 0x1000 + queue * 0x40 : 0xd000 + (queue - 64) * 0x40;
}

export function txQueueBase(queue: number): number {
  return 0x6000 + queue * 0x40;
}

/** RXDCTL and TXDCTL: 8.2.3.8.6, 8.2.3.9.10. */
export const QUEUE_ENABLE = 1 << 25;
/** Flushes write-backs and clears itself. The model never holds any back. */
export const QUEUE_SWFLSH = 1 << 26;

// Bits that several parts of the model look at.
export const CTRL_GIO_DIS = 1 << 2;
export const CTRL_LRST = 1 << 3;
export const CTRL_RST = 1 << 26;
export const STATUS_GIO = 1 << 19;
export const HLREG0_TXCRCEN = 1 << 0;
export const HLREG0_RXCRCSTRP = 1 << 1;
export const HLREG0_JUMBOEN = 1 << 2;
export const HLREG0_TXPADEN = 1 << 10;
export const HLREG0_LPBK = 1 << 15;
export const HLREG0_RXLNGTHERREN = 1 << 27;
export const RTTDCS_ARBDIS = 1 << 6;
export const DMATXCTL_TE = 1 << 0;
export const RXCTRL_RXEN = 1 << 0;

function rxQueueBlocks(offset: number, firstIndex: number): RegisterBlock[] {
  const array = { count: 64, stride: 0x40, firstIndex };
  return [
    block('RDBAL', offset, 'RW', '8.2.3.8.1', { ...array, reserved: 0x7f }),
    block('RDBAH', offset + 0x04, 'RW', '8.2.3.8.2', array),
    block('RDLEN', offset + 0x08, 'RW', '8.2.3.8.3', { ...array, reserved: 0xfff0007f }),
    block('DCA_RXCTRL', offset + 0x0c, 'RW', '8.2.3.11.1', { ...array, reset: 0xb200 }),
    block('RDH', offset + 0x10, 'RW', '8.2.3.8.4', { ...array, reserved: 0xffff0000 }),
    block('SRRCTL', offset + 0x14, 'RW', '8.2.3.8.7', { ...array, reset: 0x402, reserved: 0xe03fc0e0 }),
    block('RDT', offset + 0x18, 'RW', '8.2.3.8.5', { ...array, reserved: 0xffff0000 }),
    block('RXDCTL', offset + 0x28, 'RW', '8.2.3.8.6', { ...array, reserved: 0xb9ff0000 }),
    block('RSCCTL', offset + 0x2c, 'RW', '8.2.3.8.13', array),
  ];
}

const TX_QUEUES = { count: 128, stride: 0x40 };

const STATISTICS: readonly RegisterBlock[] = [
  ...(
    [
      ['CRCERRS', 0x04000],
      ['ILLERRC', 0x04004],
      ['ERRBC', 0x04008],
      ['MSPDC', 0x04010],
      ['MPC', 0x03fa0, 8],
      ['MLFC', 0x04034],
      ['MRFC', 0x04038],
      ['RLEC', 0x04040],
      ['LXONTXC', 0x03f60],
      ['LXONRXC', 0x0cf60],
      ['LXOFFTXC', 0x03f68],
      ['LXOFFRXC', 0x0cf68],
      ['LXONRXCNT', 0x041a4],
      ['LXOFFRXCNT', 0x041a8],
      ['PXONRXCNT', 0x04140, 8],
      ['PXOFFRXCNT', 0x04160, 8],
      ['PXON2OFFCNT', 0x03240, 8],
      ['PXONTXC', 0x03f00, 8],
      ['PXONRXC', 0x0cf00, 8],
      ['PXOFFTXC', 0x03f20, 8],
      ['PXOFFRXC', 0x0cf20, 8],
      ['PRC64', 0x0405c],
      ['PRC127', 0x04060],
      ['PRC255', 0x04064],
      ['PRC511', 0x04068],
      ['PRC1023', 0x0406c],
      ['PRC1522', 0x04070],
      ['GPRC', 0x04074],
      ['BPRC', 0x04078],
      ['MPRC', 0x0407c],
      ['GPTC', 0x04080],
      ['GORCL', 0x04088],
      ['GORCH', 0x0408c],
      ['GOTCL', 0x04090],
      ['GOTCH', 0x04094],
      ['RNBC', 0x03fc0, 8],
      ['RUC', 0x040a4],
      ['RFC', 0x040a8],
      ['ROC', 0x040ac],
      ['RJC', 0x040b0],
      ['MNGPRC', 0x040b4],
      ['MNGPDC', 0x040b8],
      ['MNGPTC', 0x0cf90],
      ['TORL', 0x040c0],
      ['TORH', 0x040c4],
      ['TPR', 0x040d0],
      ['TPT', 0x040d4],
      ['PTC64', 0x040d8],
      ['PTC127', 0x040dc],
      ['PTC255', 0x040e0],
      ['PTC511', 0x040e4],
      ['PTC1023', 0x040e8],
      ['PTC1522', 0x040ec],
      ['MPTC', 0x040f0],
      ['BPTC', 0x040f4],
      ['MACTXC', 0x041c4],
      ['XEC', 0x04120],
      ['FCCRC', 0x05118],
      ['FCOERPDC', 0x0241c],
      ['FCLAST', 0x02424],
      ['FCOEPRC', 0x02428],
      ['FCOEDWRC', 0x0242c],
      ['FCOEPTC', 0x08784],
      ['FCOEDWTC', 0x08788],
      ['RXNFGPC', 0x041b0],
      ['RXNFGBCL', 0x041b4],
      ['RXNFGBCH', 0x041b8],
      ['RXDGPC', 0x02f50],
      ['RXDGBCL', 0x02f54],
      ['RXDGBCH', 0x02f58],
      ['RXDDGPC', 0x02f5c],
      ['RXDDGBCL', 0x02f60],
      ['RXDDGBCH', 0x02f64],
      ['RXLPBKGPC', 0x02f68],
      ['RXLPBKGBCL', 0x02f6c],
      ['RXLPBKGBCH', 0x02f70],
      ['RXDLPBKGPC', 0x02f74],
      ['RXDLPBKGBCL', 0x02f78],
      ['RXDLPBKGBCH', 0x02f7c],
      ['TXDGPC', 0x087a0],
      ['TXDGBCL', 0x087a4],
      ['TXDGBCH', 0x087a8],
      ['SSVPC', 0x08780],
      ['O2BSPC', 0x087b0],
      ['B2OSPC', 0x041c0],
      ['B2OGPRC', 0x02f90],
      ['FDIRUSTAT', 0x0ee50],
      ['FDIRFSTAT', 0x0ee54],
      ['FDIRMATCH', 0x0ee58],
      ['FDIRMISS', 0x0ee5c],
    ] as const
  ).map(([name, offset, count]) => block(name, offset, 'RC', '8.2.3.23', { count: count ?? 1 })),
  block('QPRC', 0x01030, 'RC', '8.2.3.23', { count: 16, stride: 0x40 }),
  block('QBRC_L', 0x01034, 'RC', '8.2.3.23', { count: 16, stride: 0x40 }),
  block('QBRC_H', 0x01038, 'RC', '8.2.3.23', { count: 16, stride: 0x40 }),
  block('QPRDC', 0x01430, 'RC', '8.2.3.23', { count: 16, stride: 0x40 }),
  block('QPTC', 0x06030, 'RC', '8.2.3.23', { count: 16, stride: 0x40 }),
  block('QBTC_L', 0x08700, 'RC', '8.2.3.23', { count: 16, stride: 8 }),
  block('QBTC_H', 0x08704, 'RC', '8.2.3.23', { count: 16, stride: 8 }),
];

/** Reset value of HLREG0 (8.2.3.22.8): TXCRCEN, RXCRCSTRP, reserved bit 3, TXPADEN, MDCSPD, RXLNGTHERREN. */
const HLREG0_RESET = 0x0801040b;

export const REGISTERS: readonly RegisterBlock[] = [
  // 8.2.3.1 General control
  block('CTRL', CTRL, 'RW', '8.2.3.1.1', { reserved: 0xfbfffff3 }),
  block('STATUS', STATUS, 'RO', '8.2.3.1.2', { reset: STATUS_GIO }),
  block('CTRL_EXT', CTRL_EXT, 'RW', '8.2.3.1.3'),
  block('ESDP', 0x00020, 'RW', '8.2.3.1.4', { sticky: true }),
  block('I2CCTL', I2CCTL, 'RW', '8.2.3.1.5'),
  block('LEDCTL', 0x00200, 'RW', '8.2.3.1.6', { sticky: true }),
  block('EXVET', 0x05078, 'RW', '8.2.3.1.7', { reset: 0x81000000 }),
  block('FRTIMER', 0x00048, 'RO', '8.2.3.15'),
  block('TCPTIMER', 0x0004c, 'RW', '8.2.3.15'),
  block('CORESPARE', 0x00600, 'RW', '8.2.3.1', { sticky: true }),
  // 8.2.3.2 EEPROM and flash
  block('EEC', 0x10010, 'RW', '8.2.3.2.1'),
  block('EERD', 0x10014, 'RW', '8.2.3.2.2'),
  block('EEWR', 0x10018, 'RW', '8.2.3.2'),
  block('FLA', 0x1001c, 'RW', '8.2.3.2.3'),
  block('EEMNGCTL', 0x10110, 'RW', '8.2.3.2.4', { reset: 0x00040000 }),
  block('EEMNGDATA', 0x10114, 'RO', '8.2.3.2.5'),
  block('FLMNGCTL', 0x10118, 'RW', '8.2.3.2'),
  block('FLMNGDATA', 0x1011c, 'RO', '8.2.3.2'),
  block('FLMNGCNT', 0x10120, 'RW', '8.2.3.2'),
  block('FLOP', 0x1013c, 'RW', '8.2.3.2'),
  block('GRC', 0x10200, 'RW', '8.2.3.2', { sticky: true }),
  block('VPDDIAG', 0x10204, 'RO', '8.2.3.2', { count: 2 }),
  // 8.2.3.3 Flow control
  block('PFCTOP', 0x03008, 'RW', '8.2.3.3'),
  block('FCTTV', FCTTV, 'RW', '8.2.3.3', { count: 4 }),
  block('FCRTL', FCRTL, 'RW', '8.2.3.3', { count: 8 }),
  block('FCRTH', FCRTH, 'RW', '8.2.3.3', { count: 8 }),
  block('FCRTV', FCRTV, 'RW', '8.2.3.3'),
  block('TFCS', TFCS, 'RO', '8.2.3.3'),
  block('FCCFG', FCCFG, 'RW', '8.2.3.3'),
  block('DROPEN', 0x03d04, 'RW', '8.2.3.3'),
  block('FCADBUL', 0x03210, 'RW', '8.2.3.3', { count: 2 }),
  block('FCAMAC', 0x04328, 'RW', '8.2.3.3', { count: 2 }),
  // 8.2.3.4 PCIe, semaphores
  block('GCR', 0x11000, 'RW', '8.2.3.4', { sticky: true }),
  block('GTV', 0x11004, 'RW', '8.2.3.4', { count: 2 }),
  block('GLT', 0x1100c, 'RW', '8.2.3.4'),
  block('GSCL', 0x11010, 'RW', '8.2.3.4', { count: 4 }),
  block('GSCN', 0x11020, 'RW', '8.2.3.4', { count: 4 }),
  block('GSCL_5_8', 0x11030, 'RW', '8.2.3.4', { count: 4 }),
  block('PHYADR', 0x11040, 'RW', '8.2.3.4', { count: 3 }),
  block('GCR_EXT', 0x11050, 'RW', '8.2.3.4'),
  block('MREVID', 0x11064, 'RO', '8.2.3.4'),
  block('PBACL', 0x11068, 'RW', '8.2.3.6'),
  block('PCIEECCCTL', 0x1106c, 'RW', '8.2.3.4'),
  block('DCA_ID', 0x11070, 'RO', '8.2.3.11'),
  block('DCA_CTRL', 0x11074, 'RW', '8.2.3.11'),
  block('CIAA', 0x11088, 'RW', '8.2.3.4'),
  block('CIAD', 0x1108c, 'RW', '8.2.3.4'),
  block('PCIE_DIAG', 0x11090, 'RO', '8.2.3.4', { count: 8 }),
  block('PICAUSE', 0x110b0, 'W1C', '8.2.3.4'),
  block('CDQ_MBR', 0x110b4, 'RW', '8.2.3.4'),
  block('PIENA', 0x110b8, 'RW', '8.2.3.4'),
  block('PCIESPARE', 0x110bc, 'RW', '8.2.3.4'),
  block('PBACL_N', 0x110c4, 'RW', '8.2.3.6', { count: 7 }),
  block('ECC_STATUS', 0x110e0, 'RO', '8.2.3.4'),
  block('MISC_REG', 0x110f0, 'RW', '8.2.3.4'),
  block('BARCTRL', 0x110f4, 'RO', '8.2.3.4', { reset: 0x2000 }),
  block('ECC_CTRL', 0x11100, 'RW', '8.2.3.4', { count: 2 }),
  block('SWSM', 0x10140, 'RW', '8.2.3.4.11', { sticky: true }),
  block('FWSM', 0x10148, 'RO', '8.2.3.4.12', { reset: 1 << 15, sticky: true }),
  block('FACTPS', 0x10150, 'RO', '8.2.3.4', { sticky: true }),
  block('SW_FW_SYNC', 0x10160, 'RW', '8.2.3.4.13', { sticky: true }),
  // 8.2.3.5 Interrupts
  block('EICR', EICR, 'RW', '8.2.3.5.1'),
  block('EICS', 0x00808, 'WO', '8.2.3.5.2'),
  block('EIAC', 0x00810, 'RW', '8.2.3.5.5'),
  block('EIMS', 0x00880, 'RW1S', '8.2.3.5.3'),
  block('EIMC', 0x00888, 'WO', '8.2.3.5.4'),
  block('EIAM', 0x00890, 'RW', '8.2.3.5.6'),
  block('EITRSEL', 0x00894, 'RW', '8.2.3.5'),
  block('GPIE', GPIE, 'RW', '8.2.3.5.18'),
  block('EITR', 0x00820, 'RW', '8.2.3.5.12', { count: 24 }),
  block('EITR', 0x12300, 'RW', '8.2.3.5.12', { count: 105, firstIndex: 24 }),
  block('IVAR', IVAR, 'RW', '8.2.3.5.16', { count: 64, reserved: 0x40404040 }),
  block('IVAR_MISC', IVAR_MISC, 'RW', '8.2.3.5.17'),
  block('EICS_EX', 0x00a90, 'WO', '8.2.3.5.7', { count: 2 }),
  block('EIMS_EX', 0x00aa0, 'RW1S', '8.2.3.5.8', { count: 2 }),
  block('EIMC_EX', 0x00ab0, 'WO', '8.2.3.5.9', { count: 2 }),
  block('EIAM_EX', 0x00ad0, 'RW', '8.2.3.5.10', { count: 2 }),
  block('RSCINT', 0x12000, 'RW', '8.2.3.5', { count: 128 }),
  block('PFMBICR', 0x00710, 'W1C', '8.2.3.27', { count: 4 }),
  block('PFMBIMR', 0x00720, 'RW', '8.2.3.27', { count: 4 }),
  // 8.2.3.7 Receive
  block('FCTRL', FCTRL, 'RW', '8.2.3.7.1', { reserved: 0xffffc8fd }),
  block('VLNCTRL', VLNCTRL, 'RW', '8.2.3.7.2', { reset: 0x8100 }),
  block('MCSTCTRL', MCSTCTRL, 'RW', '8.2.3.7.3', { reserved: 0xfffffff8 }),
  block('PSRTYPE', 0x0ea00, 'RW', '8.2.3.7.4', { count: 64 }),
  block('PSRTYPE', 0x05480, 'RW', '8.2.3.7.4', { count: 16 }),
  block('RXCSUM', RXCSUM, 'RW', '8.2.3.7.5'),
  block('RFCTL', RFCTL, 'RW', '8.2.3.7.6'),
  block('MTA', MTA, 'RW', '8.2.3.7.7', { count: 128, reset: UNDEFINED }),
  block('RAL', RAL, 'RW', '8.2.3.7.8', { count: 128, stride: 8, reset: UNDEFINED }),
  // Address Valid, bit 31, is 0 after a reset; the address is undefined.
  block('RAH', RAL + 4, 'RW', '8.2.3.7.9', {
    count: 128,
    stride: 8,
    reserved: 0x7fff0000,
    reset: UNDEFINED & 0xffff,
  }),
  block('RAL', 0x05400, 'RW', '8.2.3.7.8', { count: 16, stride: 8 }),
  block('RAH', 0x05404, 'RW', '8.2.3.7.9', { count: 16, stride: 8, reserved: 0x7fff0000 }),
  block('MPSAR', 0x0a600, 'RW', '8.2.3.7.10', { count: 256, reset: UNDEFINED }),
  block('VFTA', VFTA, 'RW', '8.2.3.7.11', { count: 128, reset: UNDEFINED }),
  block('MRQC', MRQC, 'RW', '8.2.3.7.12'),
  block('MRQC', 0x05818, 'RW', '8.2.3.7.12'),
  block('VMD_CTL', 0x0581c, 'RW', '8.2.3.7'),
  block('RQTC', 0x0ec70, 'RW', '8.2.3.7.13'),
  block('RSSRK', RSSRK, 'RW', '8.2.3.7.14', { count: 10 }),
  block('RSSRK', 0x05c80, 'RW', '8.2.3.7.14', { count: 10 }),
  block('RETA', RETA, 'RW', '8.2.3.7.15', { count: 32 }),
  block('RETA', 0x05c00, 'RW', '8.2.3.7.15', { count: 32 }),
  block('ETQF', 0x05128, 'RW', '8.2.3.7', { count: 8 }),
  block('ETQS', 0x0ec00, 'RW', '8.2.3.7', { count: 8 }),
  block('SAQF', 0x0e000, 'RW', '8.2.3.7', { count: 128, reset: UNDEFINED }),
  block('DAQF', 0x0e200, 'RW', '8.2.3.7', { count: 128, reset: UNDEFINED }),
  block('SDPQF', 0x0e400, 'RW', '8.2.3.7', { count: 128, reset: UNDEFINED }),
  block('FTQF', 0x0e600, 'RW', '8.2.3.7.19', { count: 128, reset: UNDEFINED }),
  block('L34TIMIR', 0x0e800, 'RW', '8.2.3.7', { count: 128, reset: UNDEFINED }),
  block('SYNQF', 0x0ec30, 'RW', '8.2.3.7'),
  block('IMIR', 0x05a80, 'RW', '8.2.3.5', { count: 17 }),
  block('IMIRVP', 0x0ec60, 'RW', '8.2.3.5'),
  block('LLITHRESH', 0x0ec90, 'RW', '8.2.3.5'),
  block('PFUTA', 0x0f400, 'RW', '8.2.3.27.17', { count: 128, reset: UNDEFINED }),
  // 8.2.3.8 Receive DMA
  ...rxQueueBlocks(0x1000, 0),
  ...rxQueueBlocks(0xd000, 64),
  block('SRRCTL', 0x02100, 'RW', '8.2.3.8.7', { count: 16, reset: 0x402 }),
  block('DCA_RXCTRL', 0x02200, 'RW', '8.2.3.11.1', { count: 16, reset: 0xb200 }),
  // DMAIDONE, RSCFRSTSIZE = 8, and reserved bits 11 and 15: no CRC strip.
  block('RDRXCTL', RDRXCTL, 'RW', '8.2.3.8.8', { reset: 0x00108808 }),
  block('QDE', 0x02f04, 'RW', '8.2.3.27'),
  block('RDDCC', 0x02f20, 'RW', '8.2.3.8'),
  block('RXDSTATCTRL', 0x02f40, 'RW', '8.2.3.23'),
  block('WQBR_RX', 0x02fb0, 'RO', '8.2.3.27', { count: 4 }),
  block('RXCTRL', RXCTRL, 'RW', '8.2.3.8.10', { reserved: 0xfffffffc }),
  block('RSCDBU', 0x03028, 'RW', '8.2.3.8'),
  block('STARCTRL', 0x03024, 'RW', '8.2.3.8'),
  block('RXMEMWRAP', 0x03190, 'RO', '8.2.3.8'),
  // All eight start at 512 KiB, which is meaningless beyond the first without DCB.
  block('RXPBSIZE', RXPBSIZE, 'RW', '8.2.3.8.9', { count: 8, reset: 0x80000, reserved: 0xfff003ff }),
  // 8.2.3.9 Transmit
  block('TDBAL', 0x6000, 'RW', '8.2.3.9.5', { ...TX_QUEUES, reserved: 0x7f }),
  block('TDBAH', 0x6004, 'RW', '8.2.3.9.6', TX_QUEUES),
  block('TDLEN', 0x6008, 'RW', '8.2.3.9.7', { ...TX_QUEUES, reserved: 0xfff0007f }),
  block('DCA_TXCTRL', 0x600c, 'RW', '8.2.3.11.2', { ...TX_QUEUES, reset: 0x2a00 }),
  block('TDH', 0x6010, 'RW', '8.2.3.9.8', { ...TX_QUEUES, reserved: 0xffff0000 }),
  block('TDT', 0x6018, 'RW', '8.2.3.9.9', { ...TX_QUEUES, reserved: 0xffff0000 }),
  block('TXDCTL', 0x6028, 'RW', '8.2.3.9.10', { ...TX_QUEUES, reserved: 0xf9808080 }),
  block('TDWBAL', 0x6038, 'RW', '8.2.3.9.11', { ...TX_QUEUES, reserved: 0 }),
  block('TDWBAH', 0x603c, 'RW', '8.2.3.9.12', TX_QUEUES),
  block('DTXTCPFLGL', 0x04a88, 'RW', '8.2.3.9.3', { reset: 0x0ff60ff6 }),
  block('DTXTCPFLGH', 0x04a8c, 'RW', '8.2.3.9.4', { reset: 0x00000f7f }),
  block('DMATXCTL', DMATXCTL, 'RW', '8.2.3.9.2', { reset: 0x81000000 }),
  block('DTXMXSZRQ', 0x08100, 'RW', '8.2.3.9.1', { reset: 0x10 }),
  block('TXPBSIZE', TXPBSIZE, 'RW', '8.2.3.9.13', { reset: 0x28000 }),
  block('TXPBSIZE', TXPBSIZE + 4, 'RW', '8.2.3.9.13', { count: 7, firstIndex: 1 }),
  block('TXPBTHRESH', TXPBTHRESH, 'RW', '8.2.3.9.16', { reset: 0x96 }),
  block('TXPBTHRESH', TXPBTHRESH + 4, 'RW', '8.2.3.9.16', { count: 7, firstIndex: 1 }),
  block('MNGTXMAP', 0x0cd10, 'RW', '8.2.3.9'),
  block('MTQC', 0x08120, 'RW', '8.2.3.9.15'),
  block('TXDESCIC', 0x082cc, 'RO', '8.2.3.9', { reset: 0x80000000 }),
  // 8.2.3.10 DCB
  // BDPM and BPBFSM.
  block('RTTDCS', RTTDCS, 'RW', '8.2.3.10.2', { reset: 0x00c00000 }),
  block('RTTDQSEL', RTTDQSEL, 'RW', '8.2.3.10', { reserved: ~0x7f }),
  block('RTTDT1C', 0x04908, 'RW', '8.2.3.10'),
  block('RTTDT1S', 0x0490c, 'RO', '8.2.3.10'),
  block('RTTDT2C', 0x04910, 'RW', '8.2.3.10', { count: 8 }),
  block('RTTDT2S', 0x04930, 'RO', '8.2.3.10', { count: 8 }),
  block('RTTBCNRM', RTTBCNRM, 'RW', '8.2.3.10', { reserved: ~0x7ff }),
  block('RTTBCNRC', RTTBCNRC, 'RW', '8.2.3.10', { reserved: 0x7f << 24 }),
  block('RTTBCNRS', 0x04988, 'RW', '8.2.3.10'),
  block('RTTBCNRD', 0x0498c, 'RW', '8.2.3.10'),
  block('RTTDTECC', 0x04990, 'RW', '8.2.3.10'),
  block('RTTQCNTG', 0x04a90, 'RW', '8.2.3.10'),
  block('RTTQCNCR', 0x08b00, 'RW', '8.2.3.10'),
  block('RTRPCS', 0x02430, 'RW', '8.2.3.10.1'),
  block('RTRUP2TC', 0x03020, 'RW', '8.2.3.10'),
  block('RTTUP2TC', 0x0c800, 'RW', '8.2.3.10'),
  block('RTRPT4C', 0x02140, 'RW', '8.2.3.10', { count: 8 }),
  block('RTRPT4S', 0x02160, 'RO', '8.2.3.10', { count: 8 }),
  block('TXLLQ', 0x082e0, 'RW', '8.2.3.10', { count: 4 }),
  block('RTTPCS', 0x0cd00, 'RW', '8.2.3.10'),
  block('RTTPT2C', 0x0cd20, 'RW', '8.2.3.10', { count: 8 }),
  block('RTTPT2S', 0x0cd40, 'RO', '8.2.3.10', { count: 8 }),
  block('LBDRPEN', 0x0ca00, 'RW', '8.2.3.10'),
  block('TIPG', 0x0cb00, 'RW', '8.2.3.9'),
  block('RT2CR', 0x03c20, 'RW', '8.2.3.10', { count: 16 }),
  // 8.2.3.12 to 8.2.3.14 Security, LinkSec, IPsec: storage
  block('SECTXCTRL', 0x08800, 'RW', '8.2.3.12.1', { reset: 0x1 }),
  block('SECTXSTAT', 0x08804, 'RO', '8.2.3.12.2', { reset: 0x1 }),
  block('SECTXBUFFAF', 0x08808, 'RW', '8.2.3.12.3', { reset: 0x250 }),
  block('SECTXMINIFG', 0x08810, 'RW', '8.2.3.12.4', { reset: 0x1001 }),
  block('SECRXCTRL', 0x08d00, 'RW', '8.2.3.12.5', { reset: 0x1 }),
  block('SECRXSTAT', 0x08d04, 'RO', '8.2.3.12.6', { reset: 0x1 }),
  block('IPSTX', 0x08900, 'RW', '8.2.3.14', { count: 6 }),
  block('LSECTX', 0x08a00, 'RW', '8.2.3.13', { count: 20 }),
  block('IPSRX', 0x08e00, 'RW', '8.2.3.14', { count: 13 }),
  block('LSECRX', 0x08f00, 'RW', '8.2.3.13', { count: 33 }),
  // 8.2.3.16 FCoE: storage
  block('FCPTR', 0x02410, 'RW', '8.2.3.16', { count: 3 }),
  block('FCDMARW', 0x02420, 'RW', '8.2.3.16'),
  block('TEOFF', 0x04a94, 'RW', '8.2.3.16'),
  block('TSOFF', 0x04a98, 'RW', '8.2.3.16'),
  block('FCRXCTRL', 0x05100, 'RW', '8.2.3.16'),
  block('FCFLT', 0x05108, 'RW', '8.2.3.16'),
  block('FCFLTRW', 0x05110, 'RW', '8.2.3.16'),
  block('REOFF', 0x05158, 'RW', '8.2.3.16'),
  block('FCPARAM', 0x051d8, 'RW', '8.2.3.16'),
  block('RSOFF', 0x051f8, 'RW', '8.2.3.16'),
  block('FCRECTL', 0x0ed00, 'RW', '8.2.3.16'),
  block('FCRETA', 0x0ed10, 'RW', '8.2.3.16', { count: 32 }),
  // 8.2.3.17 Flow director: storage; commands complete at once and match nothing
  block('FDIRCTRL', 0x0ee00, 'RW', '8.2.3.17.1'),
  block('FDIRSIPV6', 0x0ee0c, 'RW', '8.2.3.17', { count: 3 }),
  block('FDIRIPSA', 0x0ee18, 'RW', '8.2.3.17'),
  block('FDIRIPDA', 0x0ee1c, 'RW', '8.2.3.17'),
  block('FDIRPORT', 0x0ee20, 'RW', '8.2.3.17'),
  block('FDIRVLAN', 0x0ee24, 'RW', '8.2.3.17'),
  block('FDIRHASH', 0x0ee28, 'RW', '8.2.3.17'),
  block('FDIRCMD', 0x0ee2c, 'RW', '8.2.3.17'),
  block('FDIRFREE', 0x0ee38, 'RW', '8.2.3.17', { reset: 0x8000 }),
  block('FDIRMASKS', 0x0ee3c, 'RW', '8.2.3.17', { count: 4 }),
  block('FDIRLEN', 0x0ee4c, 'RC', '8.2.3.17'),
  block('FDIRHKEY', 0x0ee68, 'RW', '8.2.3.17', { count: 5 }),
  // 8.2.3.22 MAC
  block('PCS1GCFIG', 0x04200, 'RW', '8.2.3.22.1'),
  block('PCS1GLCTL', 0x04208, 'RW', '8.2.3.22.2', { sticky: true }),
  block('PCS1GLSTA', 0x0420c, 'RO', '8.2.3.22.3'),
  block('PCS1GDBG', 0x04210, 'RO', '8.2.3.22', { count: 2 }),
  block('PCS1GANA', 0x04218, 'RW', '8.2.3.22.4', { sticky: true }),
  block('PCS1GANLP', 0x0421c, 'RO', '8.2.3.22.5'),
  block('PCS1GANNP', 0x04220, 'RW', '8.2.3.22.6', { sticky: true }),
  block('PCS1GANLPNP', 0x04224, 'RO', '8.2.3.22.7'),
  block('HLREG0', HLREG0, 'RW', '8.2.3.22.8', { reset: HLREG0_RESET }),
  block('HLREG1', 0x04244, 'RO', '8.2.3.22.9', { reset: 0x2 }),
  block('PAP', 0x04248, 'RW', '8.2.3.22.10', { reset: 0xffff }),
  block('MACA', 0x0424c, 'RO', '8.2.3.22'),
  block('APAE', 0x04250, 'RW', '8.2.3.22', { count: 3 }),
  block('MSCA', 0x0425c, 'RW', '8.2.3.22.11'),
  block('MSRWD', MSRWD, 'RW', '8.2.3.22.12'),
  block('MLADD', 0x04264, 'RW', '8.2.3.22'),
  block('MAXFRS', MAXFRS, 'RW', '8.2.3.22.13', { reset: 0x05ee0000, reserved: 0x0000ffff }),
  block('TREG', 0x0426c, 'RW', '8.2.3.22'),
  block('PCSS', 0x04288, 'RO', '8.2.3.22', { count: 3 }),
  block('MFLCN', MFLCN, 'RW', '8.2.3.22.34'),
  block('MACS', 0x0429c, 'RO', '8.2.3.22'),
  block('AUTOC', AUTOC, 'RW', '8.2.3.22.19', { sticky: true }),
  block('LINKS', LINKS, 'RO', '8.2.3.22.20', { sticky: true }),
  block('AUTOC2', 0x042a8, 'RW', '8.2.3.22.22', { sticky: true }),
  block('AUTOC3', 0x042ac, 'RW', '8.2.3.22', { sticky: true }),
  block('ANLP1', 0x042b0, 'RO', '8.2.3.22.23', { sticky: true }),
  block('ANLP2', 0x042b4, 'RO', '8.2.3.22.24', { sticky: true }),
  block('MMNGC', 0x042d0, 'RW', '8.2.3.22', { sticky: true }),
  block('ANLPNP', 0x042d4, 'RO', '8.2.3.22', { count: 2 }),
  block('KRPCS', 0x042e0, 'RW', '8.2.3.22', { count: 4 }),
  block('MPVC', 0x04318, 'RW', '8.2.3.22'),
  block('LINKS2', 0x04324, 'RO', '8.2.3.22.21', { sticky: true }),
  block('MACC', 0x04330, 'RW', '8.2.3.22'),
  block('ATLASCTL', 0x04800, 'RW', '8.2.3.22'),
  block('CORECTL', 0x14f00, 'RW', '8.2.3.22'),
  block('SMADARCTL', 0x14f10, 'RW', '8.2.3.22'),
  // 8.2.3.23 Statistics
  ...STATISTICS,
  block('RQSMR', RQSMR, 'RW', '8.2.3.23', { count: 32 }),
  block('TQSM', TQSM, 'RW', '8.2.3.23', { count: 32 }),
  // 8.2.3.24, 8.2.3.25 Wake-up, management: storage
  block('WUC', 0x05800, 'RW', '8.2.3.24'),
  block('WUFC', 0x05808, 'RW', '8.2.3.24'),
  block('WUS', 0x05810, 'W1C', '8.2.3.24'),
  block('IPAV', 0x05838, 'RW', '8.2.3.24'),
  block('IP4AT', 0x05840, 'RW', '8.2.3.24', { count: 8 }),
  block('IP6AT', 0x05880, 'RW', '8.2.3.24', { count: 4 }),
  block('WUPL', 0x05900, 'RO', '8.2.3.24'),
  block('WUPM', 0x05a00, 'RO', '8.2.3.24', { count: 32 }),
  block('FHFT', 0x09000, 'RW', '8.2.3.24', { count: 640 }),
  block('MAVTV', 0x05010, 'RW', '8.2.3.25', { count: 8 }),
  block('MFUTP', 0x05030, 'RW', '8.2.3.25', { count: 8 }),
  block('MANC', 0x05820, 'RO', '8.2.3.25', { count: 2 }),
  block('MANC2H', 0x05860, 'RW', '8.2.3.25'),
  block('MDEF', 0x05890, 'RW', '8.2.3.25', { count: 8 }),
  block('MIPAF', 0x058b0, 'RW', '8.2.3.25', { count: 16 }),
  block('MMA', 0x05910, 'RW', '8.2.3.25', { count: 8 }),
  block('MDEF_EXT', 0x05160, 'RW', '8.2.3.25', { count: 8 }),
  block('METF', 0x05190, 'RW', '8.2.3.25', { count: 4 }),
  block('LSWFW', 0x15014, 'RW', '8.2.3.25'),
  block('FLEX_MNG', 0x15800, 'RW', '8.2.3.25', { count: 448 }),
  block('HICR', 0x15f00, 'RO', '8.2.3.25'),
  block('FWSTS', 0x15f0c, 'W1C', '8.2.3.25'),
  // 8.2.3.26 Time sync: storage, the clock stands still
  block('TSYNCRXCTL', 0x05188, 'RW', '8.2.3.26'),
  block('RXSATRL', 0x051a0, 'RO', '8.2.3.26', { count: 3 }),
  block('RXSTMPL', 0x051e8, 'RO', '8.2.3.26'),
  block('RXMTRL', 0x05120, 'RW', '8.2.3.26'),
  block('TSYNCTXCTL', 0x08c00, 'RW', '8.2.3.26'),
  block('TXSTMPL', 0x08c04, 'RO', '8.2.3.26', { count: 2 }),
  block('SYSTIM', 0x08c0c, 'RW', '8.2.3.26', { count: 2 }),
  block('TIMINCA', 0x08c14, 'RW', '8.2.3.26', { count: 21 }),
  // 8.2.3.27 Virtualization: storage
  block('VT_CTL', 0x051b0, 'RW', '8.2.3.27'),
  block('RXFECCERR0', 0x051b8, 'RW', '8.2.3.27'),
  block('VMTXSW', 0x05180, 'RW', '8.2.3.27', { count: 2 }),
  block('VFRE', 0x051e0, 'RW', '8.2.3.27', { count: 2 }),
  block('VFTE', 0x08110, 'RW', '8.2.3.27', { count: 2 }),
  block('VMECM', 0x08790, 'RW', '8.2.3.27', { count: 2 }),
  block('PFFLP', 0x050b0, 'RW', '8.2.3.27', { count: 2 }),
  block('PFMAILBOX', 0x04b00, 'RW', '8.2.3.27', { count: 64 }),
  block('PFMBMEM', 0x13000, 'RW', '8.2.3.27', { count: 1024 }),
  block('VMVIR', 0x08000, 'RW', '8.2.3.27', { count: 64 }),
  block('WQBR_TX', 0x08130, 'RO', '8.2.3.27', { count: 4 }),
  block('PFVFSPOOF', 0x08200, 'RW', '8.2.3.27', { count: 8 }),
  block('PFDTXGSWC', 0x08220, 'RW', '8.2.3.27'),
  block('VMOLR', 0x0f000, 'RW', '8.2.3.27', { count: 64 }),
  block('PFVLVF', 0x0f100, 'RW', '8.2.3.27.15', { count: 64, reset: UNDEFINED }),
  block('PFVLVFB', 0x0f200, 'RW', '8.2.3.27.16', { count: 128, reset: UNDEFINED }),
  block('MRCTL', 0x0f600, 'RW', '8.2.3.27', { count: 4 }),
  block('VMRVLAN', 0x0f610, 'RW', '8.2.3.27', { count: 8 }),
  block('VMRVM', 0x0f630, 'RW', '8.2.3.27', { count: 8 }),
  // ECC and diagnosis: storage
  block('PBRXECC', 0x03300, 'RW', '8.2.3.21'),
  block('RXDBUECC', 0x03f70, 'RW', '8.2.3.21', { count: 2 }),
  block('TXDBUECC', 0x0cf70, 'RW', '8.2.3.21', { count: 2 }),
  block('PBTXECC', 0x0c300, 'RW', '8.2.3.21'),
];

/** For register files: accesses where there is no register (8.2.2), and of other sizes than 32 bits (8.1.1). */
export const TABLE = new RegisterTable(REGISTERS, {
  sizeBytes: BAR0_SIZE_BYTES,
  listSection: '8.2.2',
  accessSection: '8.1.1',
});
