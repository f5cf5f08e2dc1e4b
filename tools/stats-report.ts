/** What `barewire stats` prints of a port: counters, and from the second time on what came a second. */
import type { NetStats, QueueStats } from '../src/driver/device.js';
import { print } from './output.js';
import type { PortCounters } from './stats-server.js';

const NAME_WIDTH = 28;
const NUMBER_WIDTH = 20;
const LINE_WIDTH = 79;

type Counters = Readonly<Record<string, number>>;

export class StatsReport {
  readonly #json: boolean;
  readonly #source: string;
  readonly #before = new Map<string, number>();
  #beforeS = 0;

  /** @param source who has read the counters */
  constructor(json: boolean, source: string) {
    this.#json = json;
    this.#source = source;
  }

  /** @param shown how often it has been called */
  show(port: PortCounters, shown: number): void {
    if (this.#json) {
      print(JSON.stringify({ type: 'stats', ...port }));
      return;
    }
    const { address, driver, model, timeS, link, stats, queues, registers } = port;
    this.#head(address, shown);
    if (shown === 0) print(`${model} (${driver})`);
    print(link.up ? `link: up${link.speedMbps > 0 ? `, ${link.speedMbps} Mbit/s` : ''}` : 'link: down');
    const seconds = timeS - this.#beforeS;
    this.#rows('counters', countersOf(stats), seconds, shown);
    if (queues.length > 1) {
      for (const [pair, counted] of queues.entries())
        this.#rows(`queue pair ${pair}`, countersOf(counted), seconds, shown);
    }
    if (registers === undefined) print('the hardware counts nothing by itself');
    else this.#rows('registers', registers, seconds, shown);
    this.#beforeS = timeS;
  }

  /** @param counters of the kernel, by its names */
  showKernel(address: string, counters: Counters, timeS: number, shown: number): void {
    if (this.#json) {
      print(JSON.stringify({ type: 'stats', address, driver: 'kernel', timeS, registers: counters }));
      return;
    }
    this.#head(address, shown);
    this.#rows('counters of the interface', counters, timeS - this.#beforeS, shown);
    this.#beforeS = timeS;
  }

  #head(address: string, shown: number): void {
    if (shown > 0) print('');
    print(`${address}, read by ${this.#source}`);
  }

  /** Counters at 0 share a line: a controller has dozens of them. */
  #rows(title: string, counters: Counters, seconds: number, shown: number): void {
    print(row(title, '', shown > 0 ? 'per second' : ''));
    const zeros: string[] = [];
    for (const [name, value] of Object.entries(counters)) {
      const key = `${title} ${name}`;
      const before = this.#before.get(key) ?? 0;
      this.#before.set(key, value);
      if (value === 0) {
        zeros.push(name);
        continue;
      }
      const perS = shown > 0 && seconds > 0 ? String(Math.round((value - before) / seconds)) : '';
      print(row(`  ${name}`, String(value), perS));
    }
    for (const line of wrapped(zeros)) print(`  0: ${line}`);
  }
}

function row(name: string, value: string, perS: string): string {
  return (name.padEnd(NAME_WIDTH) + value.padStart(NUMBER_WIDTH) + perS.padStart(NUMBER_WIDTH)).trimEnd();
}

/** Without what is told in words, which the model says as well. */
function countersOf(stats: NetStats | QueueStats): Counters {
  return Object.fromEntries(Object.entries(stats).filter(([, value]) => typeof value === 'number'));
}

function wrapped(words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of words) {
    if (line !== '' && `  0: ${line} ${word}`.length > LINE_WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}
