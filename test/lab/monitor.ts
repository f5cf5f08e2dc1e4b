/**
 * QEMU's monitor, for tests in the guest: pulls cables and joins wires. Its other end is the machine's second serial port (`monitor`
 * of `MachineOptions`).
 */
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { ioctl } from '../../src/syscalls/ioctl.js';
import { run, sleep } from './processes.js';

const PORT = '/dev/ttyS1';
/** `<asm-generic/ioctls.h>`: what the kernel knows of a serial port, and what it is to take for that. */
const TIOCGSERIAL = 0x541e;
const TIOCSSERIAL = 0x541f;
const SERIAL_STRUCT_BYTES = 72;
/** `irq` of `struct serial_struct`; a port without an interrupt is looked at by a timer. */
const IRQ_OFFSET = 12;
const PROMPT = '(qemu) ';
const SOON_MS = 60_000;
const QUIET_MS = 100;

export class Monitor {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static async open(): Promise<Monitor> {
    run('stty', ['-F', PORT, 'raw', '-echo', '115200']);
    const fd = openSync(PORT, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    const monitor = new Monitor(fd);
    // An emulated processor loses an interrupt now and then (vm.ts), and this port's come one at a time.
    const serial = new Uint8Array(new ArrayBuffer(SERIAL_STRUCT_BYTES));
    ioctl(fd, TIOCGSERIAL, 'TIOCGSERIAL', serial);
    new DataView(serial.buffer).setInt32(IRQ_OFFSET, 0, true);
    ioctl(fd, TIOCSSERIAL, 'TIOCSSERIAL', serial);
    // Its greeting may have been said before anybody listened.
    await sleep(QUIET_MS);
    monitor.#read();
    await monitor.command('');
    return monitor;
  }

  /** Throws with what the monitor answers, if that is more than nothing. */
  async command(line: string): Promise<void> {
    writeSync(this.#fd, `${line}\n`);
    let text = '';
    const deadline = performance.now() + SOON_MS;
    while (!text.includes('\n') || !text.endsWith(PROMPT)) {
      if (performance.now() > deadline) throw new Error(`QEMU's monitor did not answer "${line}": ${text}`);
      await sleep(5);
      text += this.#read();
    }
    const answer = text.slice(text.indexOf('\n') + 1, -PROMPT.length).trim();
    if (answer !== '' && line !== '') throw new Error(`QEMU's monitor on "${line}": ${answer}`);
  }

  /** Plugs the cable of device `u<i>`, or of the peer `k<i>`, in or out. */
  setLink(name: string, up: boolean): Promise<void> {
    return this.command(`set_link ${name} ${up ? 'on' : 'off'}`);
  }

  /** Joins the wires of two devices; returns what parts them again. */
  async join(a: number, b: number): Promise<() => Promise<void>> {
    const [one, other] = [`j${a}-${b}`, `j${b}-${a}`];
    await this.command(`netdev_add hubport,id=${one},hubid=${a}`);
    await this.command(`netdev_add hubport,id=${other},hubid=${b},netdev=${one}`);
    return async () => {
      await this.command(`netdev_del ${other}`);
      await this.command(`netdev_del ${one}`);
    };
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** What has come since the last time. */
  #read(): string {
    const bytes = Buffer.alloc(4096);
    let text = '';
    for (;;) {
      let length = 0;
      try {
        length = readSync(this.#fd, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      if (length === 0) return text;
      text += bytes.toString('latin1', 0, length);
    }
  }
}
