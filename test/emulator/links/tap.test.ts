/** TAP interfaces as a port. They need CAP_NET_ADMIN; without it the tests say that they were not tried. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { connect } from '../../../src/emulator/link.js';
import { TapPort } from '../../../src/emulator/links/tap.js';
import { buildEmulator } from '../../../src/emulator/topology.js';
import { NicError } from '../../../src/errors.js';
import { until } from '../../support/hang.js';
import { suite } from '../../support/suite.js';
import { BROADCAST, frame, memoryOf, Recorder } from '../support.js';

const taps = suite('TAP');

/** Runs a test with an interface of its own, where the machine lets it. */
function withTap(body: (tap: TapPort) => void | Promise<void>): () => Promise<void> {
  return async () => {
    let tap: TapPort;
    try {
      tap = new TapPort();
    } catch (error) {
      assert.ok(error instanceof NicError);
      assert.ok((error as NicError).hint);
      console.log(`\n  (TAP not tried: ${(error as NicError).message})`);
      return;
    }
    try {
      await body(tap);
    } finally {
      tap.close();
      tap.close();
    }
  };
}

/** @returns false where this machine has no `ip` */
function ip(...args: readonly string[]): boolean {
  const { status, error, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (error !== undefined) {
    console.log(`\n  (not tried: ${error.message})`);
    return false;
  }
  assert.is(status, 0, stderr);
  return true;
}

/** Whether the kernel sends something of its own when an interface comes up: with IPv6 it looks for routers. */
function kernelSpeaks(name: string): boolean {
  const setting = `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
  if (existsSync(setting) && readFileSync(setting, 'utf8').trim() === '0') return true;
  console.log('\n  (receiving from the kernel: not tried, IPv6 is off)');
  return false;
}

taps(
  'opens an interface, or says why not',
  withTap((tap) => {
    assert.match(tap.name, /^bw\d+$/);
    assert.ok(existsSync(`/sys/class/net/${tap.name}`));
    // the interface is down: the kernel refuses frames, and there is nothing to read
    assert.not(tap.deliver(memoryOf(frame(BROADCAST)), 0, 60));
    assert.is(tap.poll(8), 0);
    assert.equal(tap.counters, { in: 0, out: 0, dropped: 1 });
    tap.close();
    assert.not(existsSync(`/sys/class/net/${tap.name}`));
  }),
);

taps(
  'counts what goes in and out',
  withTap(async (tap) => {
    if (!ip('link', 'set', tap.name, 'up')) return;
    const wire = new Recorder();
    connect(tap, wire);
    assert.ok(tap.deliver(memoryOf(frame(BROADCAST)), 0, 60));
    assert.is(tap.counters.out, 1);
    if (!kernelSpeaks(tap.name)) return;
    await until(() => {
      tap.poll(64);
      return wire.frames.length > 0;
    }, 'it happens');
    assert.is(tap.counters.in, wire.frames.length);
    assert.ok(wire.frames.every(({ length }) => length >= 60));
  }),
);

taps(
  'with flow control frames wait in the kernel, and nobody runs hot meanwhile',
  withTap(async (tap) => {
    const wire = new Recorder();
    connect(tap, wire, { flowControl: true });
    wire.available = 0;
    let calls = 0;
    tap.onReadable = () => calls++;
    if (!ip('link', 'set', tap.name, 'up') || !kernelSpeaks(tap.name)) return;
    await until(() => {
      tap.poll(64);
      return calls > 0;
    }, 'it happens');
    calls = 0;
    for (let i = 0; i < 50; i++) {
      assert.is(tap.poll(64), 0);
      await sleep(1);
    }
    assert.ok(calls <= 2, `called ${calls} times`);
    wire.available = 1;
    await until(() => tap.poll(64) === 1, 'it happens');
    assert.is(tap.counters.in, 1);
  }),
);

taps(
  'an interface that is deleted is said once',
  withTap(async (tap) => {
    const told: NicError[] = [];
    tap.onGone = (error) => told.push(error);
    connect(tap, new Recorder());
    assert.ok(tap.receiving());
    if (!ip('link', 'del', tap.name)) return;
    await until(() => {
      tap.poll(8);
      return told.length > 0;
    }, 'it happens');
    assert.is(told[0]!.code, 'PEER_GONE');
    assert.is(told[0]!.message, `The interface ${tap.name} has been deleted: its link is down`);
    assert.not(tap.receiving());
    for (let i = 0; i < 3; i++) assert.not(tap.deliver(memoryOf(frame(BROADCAST)), 0, 60));
    assert.is(tap.poll(8), 0);
    assert.is(told.length, 1);
    assert.is(tap.counters.dropped, 3);
  }),
);

for (const cable of [undefined, { delayNs: 1 }]) {
  taps(
    `an interface that is deleted takes the carrier at its link's other end down${cable ? ', through a cable' : ''}`,
    withTap(async (probe) => {
      const name = `${probe.name}x`;
      const told: string[] = [];
      const recorder = new Recorder();
      const emulator = await buildEmulator(
        { nics: [], links: [{ ends: [{ sink: true }, { tap: name }], ...(cable ? { cable } : {}) }] },
        { onError: (error, where) => told.push(`${where}: ${(error as Error).message}`) },
      );
      try {
        // In the place of the sink: what is told of the carrier.
        const [sink, tap] = emulator.ends[0] as unknown as [Recorder, TapPort];
        sink.carrier = (up) => recorder.carrier(up);
        if (!ip('link', 'del', name)) return;
        await until(() => {
          tap.poll(8);
          return told.length > 0;
        }, 'it happens');
        assert.equal(recorder.carriers, [false]);
        assert.equal(told, [`link 0: The interface ${name} has been deleted: its link is down`]);
        emulator.connections[0]!.setCarrier(true);
        assert.equal(recorder.carriers, [false], 'for good');
      } finally {
        emulator.host.close();
      }
    }),
  );
}

taps('names that are none are refused', () => {
  assert.throws(() => new TapPort('a-name-of-sixteen'), /over 15 bytes/);
});

taps(
  'an interface that another has is refused, and so is one that is no TAP',
  withTap((tap) => {
    for (const [name, code] of [
      [tap.name, 'ALREADY_OPEN'],
      ['lo', 'BAD_OPTION'],
      ['a/b', 'BAD_OPTION'],
    ] as const) {
      try {
        new TapPort(name).close();
        assert.unreachable(`${name} was taken`);
      } catch (error) {
        assert.instance(error, NicError, String(error));
        assert.is((error as NicError).code, code, name);
        assert.ok((error as NicError).hint);
      }
    }
  }),
);

taps.run();
