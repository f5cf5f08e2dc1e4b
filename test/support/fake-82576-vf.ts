/**
 * The registers of a virtual function of an Intel 82576 (datasheet 8.26), and the driver of its physical function behind the
 * mailbox, as Linux's igb behaves. Declared from those, not from the driver. No packets: see `conformance/igbvf.ts`.
 */
import type { RegisterModel } from './fake-vfio.js';

export const V = {
  CTRL: 0x0000,
  STATUS: 0x0008,
  VMBMEM: 0x0800,
  V2PMAILBOX: 0x0c40,
  VFGPRC: 0x0f10,
  VFGPTC: 0x0f14,
  VFGORC: 0x0f18,
  VFGOTC: 0x0f34,
  EIMS: 0x1524,
  EIMC: 0x1528,
  EIAC: 0x152c,
  EIAM: 0x1530,
  EITR0: 0x1680,
  VTIVAR: 0x1700,
  RDBAL: 0x2800,
  RDBAH: 0x2804,
  RDLEN: 0x2808,
  SRRCTL: 0x280c,
  RDH: 0x2810,
  RDT: 0x2818,
  RXDCTL: 0x2828,
  RQDPC: 0x2830,
  TDBAL: 0x3800,
  TDBAH: 0x3804,
  TDLEN: 0x3808,
  TDH: 0x3810,
  TDT: 0x3818,
  TXDCTL: 0x3828,
} as const;

const CTRL_RST = 1 << 26;
export const QUEUE_ENABLE = 1 << 25;
const STATUS_FD = 1 << 0;
const STATUS_LU = 1 << 1;
const STATUS_1000 = 2 << 6;
const WORDS = 16;

/** V2PMAILBOX. */
const REQ = 1 << 0;
const ACK = 1 << 1;
const VFU = 1 << 2;
const PFU = 1 << 3;
const PFSTS = 1 << 4;
const PFACK = 1 << 5;
const RSTI = 1 << 6;
const RSTD = 1 << 7;
const READ_CLEARS = PFSTS | PFACK | RSTD;

/** Messages of Linux's igb. */
const MESSAGE_ACK = (1 << 31) >>> 0;
const MESSAGE_NACK = 1 << 30;
const CTS = 1 << 29;
const INFO_SHIFT = 16;
const CONTROL = 0x0100;
const [RESET, SET_MAC, SET_MULTICAST, SET_VLAN, SET_LPE, SET_PROMISC] = [1, 2, 3, 4, 5, 6];

/** Reads of the mailbox's register after which an answer is there. */
const READS_PER_ANSWER = 3;

export class Fake82576Vf implements RegisterModel {
  readonly registers = new Map<number, number>();
  /** Called after a register was written. */
  onWrite: (offset: number, value: number) => void = () => {};
  linkUp = true;
  /** What the driver did that spoils a mailbox. */
  readonly faults: string[] = [];
  /** What the administrator has set: it may not be changed, unless the function is trusted. */
  adminMac: readonly number[] | undefined;
  trusted = false;
  /** The physical function does not read its mail. */
  isDown = false;
  /** What it knows of this function. */
  mac: number[] = [];
  hashes: number[] = [];
  allGroups = false;
  readonly vlans = new Set<number>();
  longestBytes = 0;
  /** Requests, their first words. */
  readonly requests: number[] = [];
  /** Requests of this kind are refused. */
  refused: number | undefined;
  /** Takes the place of the first word of the next answer. */
  nextAnswer: number | undefined;
  #clearToSend = false;
  #buffer = new Uint32Array(WORDS);
  #bits = 0;
  #readsLeft = 0;
  #holdsLeft = 0;
  readonly #pending: number[][] = [];
  /** The last message has not been acknowledged. */
  #isUnread = false;

  get(offset: number): number {
    return this.registers.get(offset) ?? 0;
  }

  /** The queues work only for a function that has introduced itself. */
  get isIntroduced(): boolean {
    return this.#clearToSend;
  }

  /** Function-level reset: the physical function's driver hears of it. */
  reset(): void {
    this.#resetQueues();
    this.mac = [...(this.adminMac ?? [])];
  }

  /** The port is being reset: all registers are lost, and the driver there forgets this function. */
  beginPortReset(): void {
    const counters = [V.VFGPRC, V.VFGPTC, V.VFGORC, V.VFGOTC].map((offset) => [offset, 0] as const);
    this.registers.clear();
    for (const [offset, value] of counters) this.registers.set(offset, value);
    this.#forget();
    this.#bits = RSTI;
    this.isDown = true;
    this.onWrite(V.RDH, 0);
    this.onWrite(V.TDH, 0);
  }

  endPortReset(): void {
    this.isDown = false;
    this.#bits = (this.#bits & ~RSTI) | RSTD;
  }

  /** The port's driver forgets this function, and says nothing. */
  forget(): void {
    this.#forget();
  }

  /** A message that the physical function sends by itself. */
  control(clearToSend: boolean): void {
    this.#pending.push([CONTROL | (clearToSend ? CTS : 0)]);
    if (!clearToSend) this.#forget();
  }

  /** The physical function has the buffer for so many reads of the mailbox's register. */
  holdBuffer(reads: number): void {
    this.#bits |= PFU;
    this.#holdsLeft = reads;
  }

  read(offset: number): number {
    if (offset >= V.VMBMEM && offset < V.VMBMEM + 4 * WORDS) {
      if ((this.#bits & VFU) === 0) this.faults.push('the buffer was read without the lock');
      return this.#buffer[(offset - V.VMBMEM) / 4]!;
    }
    switch (offset) {
      case V.V2PMAILBOX:
        return this.#readMailbox();
      case V.STATUS:
        return this.linkUp ? STATUS_LU | STATUS_FD | STATUS_1000 : 0;
      case V.RQDPC: {
        // Reading clears.
        const value = this.get(offset);
        this.registers.set(offset, 0);
        return value;
      }
      default:
        return this.get(offset);
    }
  }

  write(offset: number, value: number): void {
    if (offset >= V.VMBMEM && offset < V.VMBMEM + 4 * WORDS) {
      if ((this.#bits & VFU) === 0) this.faults.push('the buffer was written without the lock');
      this.#buffer[(offset - V.VMBMEM) / 4] = value;
    } else if (offset === V.V2PMAILBOX) this.#writeMailbox(value);
    else if (offset === V.CTRL) {
      if ((value & CTRL_RST) !== 0) this.reset();
    } else this.registers.set(offset, value >>> 0);
    this.onWrite(offset, value);
  }

  #resetQueues(): void {
    for (const offset of [V.RXDCTL, V.TXDCTL]) {
      this.registers.set(offset, this.get(offset) & ~QUEUE_ENABLE);
    }
    this.#forget();
  }

  #forget(): void {
    this.#clearToSend = false;
    this.hashes = [];
    this.allGroups = false;
    this.vlans.clear();
  }

  /** The physical function gets on with its work while this function looks. */
  #readMailbox(): number {
    if (this.#holdsLeft > 0 && --this.#holdsLeft === 0) this.#bits &= ~PFU;
    if (this.#readsLeft > 0) this.#readsLeft--;
    else if ((this.#bits & VFU) === 0 && !this.#isUnread) {
      const message = this.#pending.shift();
      if (message !== undefined) this.#deliver(message);
    }
    const value = this.#bits;
    this.#bits &= ~READ_CLEARS;
    return value;
  }

  #deliver(words: readonly number[]): void {
    this.#buffer = new Uint32Array(WORDS);
    this.#buffer.set(words);
    this.#isUnread = true;
    this.#bits = (this.#bits & ~PFU) | PFSTS;
  }

  #writeMailbox(value: number): void {
    if ((value & VFU) !== 0) {
      // Sticks only while the physical function does not have the buffer.
      if ((this.#bits & PFU) === 0) this.#bits |= VFU;
      return;
    }
    if ((this.#bits & VFU) === 0) this.faults.push('a message was told of without the lock');
    this.#bits &= ~VFU;
    if ((value & REQ) !== 0 && !this.isDown) this.#take();
    if ((value & ACK) !== 0) this.#isUnread = false;
  }

  /** Reads a request; has the buffer until it has answered. */
  #take(): void {
    const request = [...this.#buffer];
    const [first] = request as [number];
    this.requests.push(first);
    this.#bits |= PFACK | PFU;
    this.#readsLeft = READS_PER_ANSWER;
    const answer = this.#answerTo(request);
    if (this.nextAnswer !== undefined) answer[0] = this.nextAnswer;
    this.nextAnswer = undefined;
    // What was on its way before comes first.
    this.#pending.push(answer);
    this.#isUnread = false;
  }

  #answerTo(request: readonly number[]): number[] {
    const [first, second] = request as [number, number];
    const kind = first & 0xffff;
    const info = (first >>> INFO_SHIFT) & 0xff;
    if (kind === RESET) {
      this.#forget();
      this.#clearToSend = true;
      const bytes = Uint8Array.from([...this.mac, 0, 0, 0, 0, 0, 0, 0, 0].slice(0, 8));
      const has = this.mac.length === 6;
      return [(first | (has ? MESSAGE_ACK : MESSAGE_NACK)) >>> 0, ...new Uint32Array(bytes.buffer)];
    }
    if (!this.#clearToSend) return [(first | MESSAGE_NACK) >>> 0];
    const yes = kind !== this.refused && this.#obey(kind, info, request, second);
    return [(first | CTS | (yes ? MESSAGE_ACK : MESSAGE_NACK)) >>> 0];
  }

  #obey(kind: number, info: number, request: readonly number[], second: number): boolean {
    switch (kind) {
      case SET_MAC:
        if (this.adminMac !== undefined && !this.trusted) return false;
        this.mac = [...new Uint8Array(Uint32Array.of(second, request[2]!).buffer).slice(0, 6)];
        return true;
      case SET_MULTICAST:
        this.hashes = [...new Uint16Array(Uint32Array.from(request.slice(1)).buffer).slice(0, info)];
        return true;
      case SET_VLAN:
        if (info === 1) this.vlans.add(second);
        else this.vlans.delete(second);
        return true;
      case SET_LPE:
        this.longestBytes = second;
        return true;
      case SET_PROMISC:
        this.allGroups = (info & 2) !== 0;
        // Unicast promiscuous mode is not to be had.
        return (info & 1) === 0;
      default:
        return false;
    }
  }
}
