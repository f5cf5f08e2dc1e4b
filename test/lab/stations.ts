/**
 * Two network namespaces for a whole case, into which the peers of the pair under test are moved, and a TCP program in each that stays:
 * to start one takes longer than all that it carries.
 *
 *     namespace A / k<i> 10.0.0.1 <-> u<i> [forwarder] u<j> <-> k<j> 10.0.0.2 / namespace B
 */
import * as assert from 'uvu/assert';
import { interfaceByMac } from './guest.js';
import { type Background, run, start, waitFor } from './processes.js';
import { peerMac } from './qemu.js';
import { ADDRESS_A, ADDRESS_B, TCP_TRANSFER } from './wire.js';

const NAMES = ['A', 'B'] as const;
type Name = (typeof NAMES)[number];
const ADDRESSES = { A: ADDRESS_A, B: ADDRESS_B } as const;

export class Stations {
  readonly #server: Background;
  readonly #client: Background;
  readonly #port: string;
  readonly #places = new Map<Name, number>();

  private constructor(server: Background, client: Background, port: string) {
    this.#server = server;
    this.#client = client;
    this.#port = port;
  }

  static async start(): Promise<Stations> {
    for (const netns of NAMES) {
      run('ip', ['netns', 'add', netns]);
      run('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
    }
    const program = (netns: Name, mode: string): Background =>
      start(process.execPath, [TCP_TRANSFER, mode], { netns, interactive: true });
    const server = program('B', 'serve');
    const client = program('A', 'talk');
    const [, port] = await server.waitForOutput(/port (\d+)/);
    return new Stations(server, client, port!);
  }

  /** Puts the peers of these devices into A and B, as `k<i>`, and those that were there back. */
  place(a: number, b: number, mtu = 1500): void {
    for (const netns of NAMES) this.#remove(netns);
    for (const [netns, index] of [
      ['A', a],
      ['B', b],
    ] as const) {
      const name = `k${index}`;
      const current = interfaceByMac(peerMac(index));
      assert.ok(current, `the peer of device ${index} is in this namespace`);
      run('ip', ['link', 'set', current, 'netns', netns, 'name', name]);
      const commands = [
        `link set ${name} mtu ${mtu} up`,
        `address add ${ADDRESSES[netns]}/24 dev ${name} nodad`,
      ];
      run('ip', ['-n', netns, '-batch', '-'], { input: `${commands.join('\n')}\n` });
      this.#places.set(netns, index);
    }
  }

  setMtu(mtu: number): void {
    for (const [netns, index] of this.#places)
      run('ip', ['-n', netns, 'link', 'set', `k${index}`, 'mtu', `${mtu}`]);
  }

  /** Random bytes from A to B and as many back over one connection, each with the same SHA-256. Returns Mbit/s. */
  async assertTcp(sizeBytes: number): Promise<number> {
    const done = (program: Background): string[] =>
      [...program.stdout.matchAll(RESULT)].map(([line]) => line);
    const [before, startMs] = [done(this.#server).length, performance.now()];
    this.#client.say(`${ADDRESS_B} ${this.#port} ${sizeBytes}`);
    const both = () => [this.#server, this.#client].every((program) => done(program).length === before + 2);
    await waitFor('TCP both ways', both);
    const seconds = (performance.now() - startMs) / 1000;
    assert.equal(done(this.#server).slice(before), done(this.#client).slice(before), 'the same bytes');
    for (const line of done(this.#client).slice(before))
      assert.match(line, new RegExp(`^${sizeBytes} bytes`));
    return Math.round((2 * sizeBytes * 8) / seconds / 1e5) / 10;
  }

  /** What the kernel has counted at both ends. */
  counters(): string {
    return [...this.#places]
      .map(([netns, index]) => run('ip', ['-n', netns, '-s', 'link', 'show', `k${index}`]))
      .join('');
  }

  /** Ends the programs, and gives all interfaces back. */
  async stop(): Promise<void> {
    for (const netns of NAMES) this.#remove(netns);
    for (const program of [this.#server, this.#client]) await program.stop('SIGKILL');
    for (const netns of NAMES) run('ip', ['netns', 'delete', netns]);
  }

  /** To the namespace of the first process. */
  #remove(netns: Name): void {
    const index = this.#places.get(netns);
    this.#places.delete(netns);
    if (index !== undefined) run('ip', ['-n', netns, 'link', 'set', `k${index}`, 'netns', '1']);
  }
}

const RESULT = /^\d+ bytes, SHA-256 [0-9a-f]{64}$/gm;
