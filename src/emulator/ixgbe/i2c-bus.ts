/**
 * The two-wire bus between an 82599 and the module in its SFP cage, as a driver clocks it bit by bit through I2CCTL
 * (8.2.3.1.5). The module is a memory with two bus addresses (SFF-8472, chapter 4): writing a byte sets where reading goes on;
 * further bytes are acknowledged and ignored, as the memory is write-protected.
 */

/** A module, as seen from the bus. */
export interface I2cDevice {
  /**
   * @param busAddress 7 bits
   * @returns the byte at `offset`; undefined where no memory has this address
   */
  read(busAddress: number, offset: number): number | undefined;
}

/** What the bits on the wire are at the moment. `ack` is the module's answer to a byte, `answer` the driver's. */
type Phase = 'idle' | 'address' | 'ack' | 'offset' | 'ignored' | 'reading' | 'answer';

const BYTE_BITS = 8;

export class I2cBus {
  readonly #device: I2cDevice | undefined;
  #clock = true;
  #master = true;
  /** False while the module pulls the data line down. */
  #slave = true;
  #phase: Phase = 'idle';
  /** What follows the acknowledge bit. */
  #next: Phase = 'idle';
  #bits = 0;
  #shift = 0;
  #busAddress = 0;
  #offset = 0;
  #moreWanted = false;

  constructor(device: I2cDevice | undefined) {
    this.#device = device;
  }

  /** Level of the data line. */
  get data(): boolean {
    return this.#master && this.#slave;
  }

  reset(): void {
    this.#clock = true;
    this.#master = true;
    this.#end();
  }

  /** The driver lets each line go (true) or pulls it down. */
  drive(clock: boolean, data: boolean): void {
    const clockWas = this.#clock;
    const dataWas = this.data;
    this.#clock = clock;
    this.#master = data;
    if (clockWas && clock) {
      // Data changes while the clock is high only to begin and to end a transfer.
      if (dataWas && !this.data) this.#begin();
      else if (!dataWas && this.data) this.#end();
    } else if (clock && !clockWas) {
      this.#rise(this.data);
    } else if (clockWas && !clock) {
      this.#fall();
    }
  }

  #begin(): void {
    this.#phase = this.#device === undefined ? 'idle' : 'address';
    this.#bits = 0;
    this.#shift = 0;
    this.#slave = true;
  }

  #end(): void {
    this.#phase = 'idle';
    this.#slave = true;
  }

  /** A bit is taken at the rising edge. */
  #rise(bit: boolean): void {
    switch (this.#phase) {
      case 'address':
      case 'offset':
      case 'ignored':
        this.#shift = ((this.#shift << 1) | (bit ? 1 : 0)) & 0xff;
        this.#bits++;
        break;
      case 'reading':
        this.#bits++;
        break;
      case 'answer':
        this.#moreWanted = !bit;
        break;
    }
  }

  /** The module changes its output at the falling edge. */
  #fall(): void {
    switch (this.#phase) {
      case 'address':
      case 'offset':
      case 'ignored':
        if (this.#bits === BYTE_BITS) this.#byte();
        break;
      case 'ack':
        this.#enter(this.#next);
        break;
      case 'reading':
        if (this.#bits === BYTE_BITS) {
          this.#phase = 'answer';
          this.#slave = true;
        } else {
          this.#output();
        }
        break;
      case 'answer':
        this.#enter(this.#moreWanted ? 'reading' : 'idle');
        break;
    }
  }

  /** A whole byte came: acknowledge it, if it is for the module. */
  #byte(): void {
    if (this.#phase === 'address') {
      this.#busAddress = this.#shift >>> 1;
      if (this.#device?.read(this.#busAddress, 0) === undefined) {
        this.#end();
        return;
      }
      this.#next = (this.#shift & 1) === 0 ? 'offset' : 'reading';
    } else {
      if (this.#phase === 'offset') this.#offset = this.#shift;
      this.#next = 'ignored';
    }
    this.#phase = 'ack';
    this.#slave = false;
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#bits = 0;
    this.#slave = true;
    if (phase !== 'reading') return;
    this.#shift = this.#device?.read(this.#busAddress, this.#offset) ?? 0xff;
    this.#offset = (this.#offset + 1) & 0xff;
    this.#output();
  }

  /** Bits go out highest first. */
  #output(): void {
    this.#slave = ((this.#shift >>> (BYTE_BITS - 1 - this.#bits)) & 1) !== 0;
  }
}
