/** What works on every family of hardware, tried on two devices of one: the commands, a million numbered frames, the conformance on a wire. */
import { existsSync, rmSync, statSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { dmarFaults, kernelLog } from './guest.js';
import { assertAllArrive } from './million.js';
import { type Background, run, start, waitFor } from './processes.js';
import { suite } from './suite.js';
import { BAREWIRE, finalTotals, note } from './wire.js';
import { type LabPort, runWirePorts } from './wire-ports.js';

const FRAMES = 500;
const MILLION = 1_000_000;
/** Sequence number in pktgen's frames (src/packet/test-frame.ts). */
const SEQUENCE_OFFSET = 46;

export interface FamilyPair {
  readonly name: string;
  /** Addresses of the sender and the receiver, which may not be there before the tests run. */
  readonly devices: () => readonly [string, string];
  readonly backend: 'group' | 'cdev';
  readonly env?: Readonly<Record<string, string>>;
  /** Address that the second device takes frames to. */
  readonly toMac: string;
  /** Joins the wires of both, and what parts them. */
  join(): Promise<() => Promise<void>>;
}

/** Both devices on one wire, in two processes and in one. */
export function runFamilyPair({ name, devices, backend, env, toMac, join }: FamilyPair): void {
  const pair = suite(`${name}: two devices on one wire, through ${backend}`);
  let part: (() => Promise<void>) | undefined;
  let log = '';

  pair.before(async () => {
    log = kernelLog();
    part = await join();
  });
  pair.after(async () => {
    await part?.();
  });

  pair(
    `capture has the ${FRAMES} frames of pktgen in another process, in order; stats counts them`,
    async () => {
      const [from, to] = devices();
      const file = '/tmp/captured.pcap';
      rmSync(file, { force: true });
      const both = { env: { BAREWIRE_VFIO: backend, ...env } };
      const programs: Background[] = [];
      try {
        const capture = start(
          process.execPath,
          [BAREWIRE, 'capture', to, '-w', file, '--filter', 'udp'],
          both,
        );
        programs.push(capture);
        await waitFor('the capture', () => existsSync(file) && statSync(file).size > 0);
        const args = ['pktgen', from, '--json', '--count', `${FRAMES}`, '--rate', '5k', '--dst-mac', toMac];
        const pktgen = start(process.execPath, [BAREWIRE, ...args], both);
        programs.push(pktgen);
        const sent = await pktgen.ended;
        assert.is(sent.status, 0, sent.stderr);
        assert.is(finalTotals(sent)[0]!.txPackets, FRAMES);
        await waitFor('the packets in stats of the running capture', () => {
          const { stats } = JSON.parse(run(process.execPath, [BAREWIRE, 'stats', to, '--json']));
          return stats.rxPackets >= FRAMES;
        });
        const got = await capture.stop('SIGINT');
        assert.is(got.status, 0, got.stderr);
      } finally {
        for (const program of programs) program.kill('SIGKILL');
      }
      const numbers: number[] = [];
      for await (const { bytes } of await CaptureReader.open(file))
        numbers.push(Number(Buffer.from(bytes).readBigUInt64BE(SEQUENCE_OFFSET)));
      assert.equal(
        numbers,
        Array.from({ length: FRAMES }, (_, i) => i),
      );
    },
  );

  pair(`${MILLION} numbered frames: none lost, none twice`, async () => {
    // What the test itself opens goes the way of its environment.
    Object.assign(process.env, { BAREWIRE_VFIO: backend, ...env });
    await assertAllArrive(...devices(), MILLION);
  });

  pair('no fault of the IOMMU', () => {
    assert.equal(dmarFaults(kernelLog(log)), []);
  });

  pair.run();
}

/**
 * The conformance on a wire, of each port through one of the kernel's interfaces; through both where $BAREWIRE_WIRE is `both`.
 * @param ports called when the tests run; brings the stations up, too
 * @param tearDown called behind them
 */
export function runWireSuites(ports: () => readonly LabPort[], tearDown = () => {}): void {
  const conformance = suite('conformance on a wire');
  let found: readonly LabPort[] = [];
  conformance.before(() => {
    found = ports();
  });
  conformance.after(tearDown);
  for (const backend of ['group', 'cdev'] as const) {
    conformance(`through ${backend}`, () => {
      const some =
        process.env.BAREWIRE_WIRE === 'both' ? found : found.filter((port) => port.usually === backend);
      if (some.length === 0) return note('no port');
      const log = kernelLog();
      const { output, totals } = runWirePorts(backend, some);
      process.stdout.write(output.replaceAll(/^ *(Total|Passed|Skipped|Duration): .*$/gm, ''));
      assert.ok(totals !== undefined && totals.passed > 0 && totals.failed === 0, JSON.stringify(totals));
      note(`${totals.passed} cases`);
      assert.equal(dmarFaults(kernelLog(log)), []);
    });
  }
  conformance.run();
}

/** Brings an interface up with room for long frames, and without an address. */
export function raiseStation(name: string, mtu: number, netns?: string): void {
  run('ip', [...(netns === undefined ? [] : ['-n', netns]), 'link', 'set', name, 'mtu', `${mtu}`, 'up']);
}
