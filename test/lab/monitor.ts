/**
 * QEMU's monitor, for tests in the guest: pulls cables and joins wires. Its other end is a virtio-serial port of the machine (`monitor`
 * of `MachineOptions`).
 */
import { randomInt } from 'node:crypto';
import { closeSync, constants, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { sleep } from './processes.js';

/** Has the name of the one port, which the kernel numbers after its devices. */
const PORTS = '/sys/class/virtio-ports';
const PROMPT = '(qemu) ';
const SOON_MS = 60_000;

export class Monitor {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static async open(): Promise<Monitor> {
    const [port] = readdirSync(PORTS);
    const monitor = new Monitor(openSync(`/dev/${port}`, constants.O_RDWR | constants.O_NONBLOCK));
    await monitor.#agree();
    return monitor;
  }

  /** Throws with what the monitor answers, if that is more than nothing. */
  async command(line: string): Promise<void> {
    const text = await this.#ask(line, /\n.*\(qemu\) $/s);
    const answer = text.slice(text.indexOf('\n') + 1, -PROMPT.length).trim();
    if (answer !== '') throw new Error(`QEMU's monitor on "${line}": ${answer}`);
  }

  /** Passes over the greeting, which comes at some time: a number that nobody else says is asked for. */
  async #agree(): Promise<void> {
    const number = randomInt(1e8, 1e9);
    await this.#ask(`print/d ${number}`, new RegExp(`\\n${number}\\s+\\(qemu\\) $`));
  }

  /** Returns what comes after a line, up to the end that is wanted. */
  async #ask(line: string, end: RegExp): Promise<string> {
    writeSync(this.#fd, `${line}\n`);
    let text = '';
    const deadline = performance.now() + SOON_MS;
    while (!end.test(text)) {
      if (performance.now() > deadline) throw new Error(`QEMU's monitor did not answer "${line}": ${text}`);
      await sleep(5);
      text += this.#read();
    }
    return text;
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
