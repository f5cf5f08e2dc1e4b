/** Conformance of `NetDevice`: everything that waits ends when it should, and with what it should. */
import * as assert from 'uvu/assert';
import type { NetDevice, WaitOptions } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import { expectError, expectRejection } from '../support/expect-error.js';
import { HANG_MS } from '../support/hang.js';
import { caseSuite } from './results.js';
import { type Family, isSettled, onRig, pairsOf, Rig, range, turns } from './rig.js';

/** Everything that waits, made to have something to wait for: no frame comes, the link is down, one frame never leaves. */
const WAITS: Readonly<Record<string, (nic: NetDevice, options?: WaitOptions) => Promise<unknown>>> = {
  wait: (nic, options) => nic.rxQueues[0].wait(options),
  waitForPackets: (nic, options) => nic.waitForPackets(options),
  waitForLink: (nic, options) => nic.waitForLink(options),
  drain: (nic, options) => nic.drain(options),
};

function makeWait(rig: Rig): void {
  assert.is(rig.send([rig.frame()]), 1);
  rig.hardware.setLink(false);
}

export function waits(family: Family): void {
  all(family);
  packets(family);
  linkAndDrain(family);
  gone(family);
}

function all(family: Family): void {
  const test = caseSuite(family, 'waits');

  for (const [name, wait] of Object.entries(WAITS)) {
    test(
      `${name}: its time, and its signal, end it`,
      onRig(family, async (rig) => {
        const { nic } = rig;
        makeWait(rig);
        const late = name === 'waitForLink' ? { up: false, speedMbps: 0 } : false;
        for (const timeoutMs of [0, 1]) {
          const result = await wait(nic, { timeoutMs });
          if (late === false) assert.is(result, false);
          else assert.is((result as { up: boolean }).up, false);
        }
        const reason = new Error('no more');
        const before = await wait(nic, { signal: AbortSignal.abort(reason) }).catch(
          (error: unknown) => error,
        );
        assert.ok(before === reason, `${before}`);
        const stop = new AbortController();
        const waiting = wait(nic, { signal: stop.signal });
        assert.is(await isSettled(waiting), false, 'it waits without a time');
        stop.abort(reason);
        assert.ok((await waiting.catch((error: unknown) => error)) === reason);
      }),
    );

    test(`${name}: close ends it, and it says so ever after`, async () => {
      const rig = await Rig.open(family);
      makeWait(rig);
      const waiting = wait(rig.nic).catch((error: unknown) => error);
      assert.is(await isSettled(waiting), false);
      const closing = rig.nic.close();
      for (const error of [await waiting, await wait(rig.nic).catch((caught: unknown) => caught)]) {
        assert.is(error instanceof NicError && error.code, 'CLOSED', `${error}`);
        assert.ok((error as NicError).hint);
      }
      await closing;
      await expectRejection('CLOSED', wait(rig.nic, { timeoutMs: 1 }));
      await rig.close();
    });

    test(
      `${name}: options that are none are refused`,
      onRig(family, async (rig) => {
        makeWait(rig);
        for (const wrong of [
          5,
          null,
          'x',
          { timeoutMs: '1' },
          { timeoutMs: -1 },
          { timeoutMs: Number.NaN },
          { signal: 1 },
        ]) {
          const error = await expectRejection('BAD_OPTION', wait(rig.nic, wrong as WaitOptions));
          assert.ok(error.hint);
        }
      }),
    );
  }

  test(
    'keep the process alive',
    onRig(family, async (rig) => {
      makeWait(rig);
      const timers = (): number =>
        process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
      for (const wait of Object.values(WAITS)) {
        const before = timers();
        const stop = new AbortController();
        const waiting = wait(rig.nic, { signal: stop.signal }).catch(() => {});
        await turns(2);
        assert.ok(timers() > before);
        stop.abort();
        await waiting;
        assert.is(timers(), before);
      }
    }),
  );

  test.run();
}

function packets(family: Family): void {
  const test = caseSuite(family, 'waiting for packets');

  test(
    'one that is there ends the wait at once; one that has been taken does not',
    onRig(family, async (rig) => {
      const [queue] = rig.nic.rxQueues;
      rig.arrive(1);
      assert.is(await queue.wait(), true);
      assert.is(await rig.nic.waitForPackets({ timeoutMs: HANG_MS }), true);
      assert.is(rig.receive().length, 1);
      assert.is(await queue.wait({ timeoutMs: 1 }), false);
    }),
  );

  test(
    'one that comes wakes all who wait, as often as that happens',
    onRig(family, async (rig) => {
      const [queue] = rig.nic.rxQueues;
      for (let round = 0; round < 5; round++) {
        const waiting = Promise.all([
          queue.wait(),
          rig.nic.waitForPackets(),
          queue.wait({ timeoutMs: HANG_MS }),
        ]);
        assert.is(await isSettled(waiting), false);
        const frames = rig.arrive(1 + round);
        assert.equal(await waiting, [true, true, true]);
        assert.equal(rig.receive(), frames);
      }
    }),
  );

  test(
    'who stops waiting does not end it for others',
    onRig(family, async (rig) => {
      const [queue] = rig.nic.rxQueues;
      const stop = new AbortController();
      const stopped = queue.wait({ signal: stop.signal }).catch(() => 'stopped');
      const waiting = queue.wait();
      stop.abort();
      assert.is(await stopped, 'stopped');
      assert.is(await queue.wait({ timeoutMs: 1 }), false);
      assert.is(await isSettled(waiting), false);
      rig.arrive(1);
      assert.is(await waiting, true);
      rig.receive();
    }),
  );

  test(
    'several queues: a packet on any wakes the device, a packet on its own wakes a queue',
    onRig(
      family,
      async (rig) => {
        const { nic } = rig;
        for (const q of range(pairsOf(family)).reverse()) {
          const device = nic.waitForPackets();
          const own = range(pairsOf(family)).map((i) => nic.rxQueues[i]!.wait());
          assert.is(await isSettled(Promise.race([device, ...own])), false);
          rig.arrive(1, 80, q);
          assert.is(await device, true);
          assert.is(await own[q], true);
          await turns(5);
          for (const i of range(pairsOf(family)))
            if (i !== q) assert.is(await isSettled(own[i]!), false, `queue ${i}`);
          assert.is(rig.receive(q).length, 1);
          for (const i of range(pairsOf(family))) if (i !== q) rig.arrive(1, 80, i);
          assert.ok((await Promise.all(own)).every((came) => came));
          for (const i of range(pairsOf(family))) rig.receive(i);
          assert.is(await nic.waitForPackets({ timeoutMs: 1 }), false, 'the next wait is a new one');
        }
      },
      { queuePairs: pairsOf(family) },
    ),
  );

  test(
    'a packet between the last look and the wait is not slept over',
    onRig(family, async (rig) => {
      const [queue] = rig.nic.rxQueues;
      for (let round = 0; round < 20; round++) {
        assert.equal(rig.receive(), []);
        const waiting = round % 2 === 0 ? queue.wait() : rig.nic.waitForPackets();
        rig.arrive(1);
        assert.is(await waiting, true);
        assert.is(rig.receive().length, 1);
      }
    }),
  );

  test.run();
}

function linkAndDrain(family: Family): void {
  const test = caseSuite(family, 'link and drain');

  test(
    'the state of the link; a wait ends when it comes up',
    onRig(family, async (rig) => {
      const { nic, hardware } = rig;
      const up = await nic.waitForLink();
      assert.is(up.up, true);
      assert.ok(up.speedMbps > 0 && up.fullDuplex);
      assert.equal(nic.linkState(), up);
      hardware.setLink(false);
      assert.is(nic.linkState().up, false);
      assert.is(nic.linkState().speedMbps, 0);
      const waiting = nic.waitForLink();
      assert.is(await isSettled(waiting), false);
      hardware.setLink(true);
      assert.equal(await waiting, up);
    }),
  );

  test(
    'drain: what is queued has to leave',
    onRig(family, async (rig) => {
      const { nic, hardware } = rig;
      assert.is(await nic.drain(), true, 'nothing is queued');
      for (const count of [1, 7, 32]) {
        const frames = range(count).map(() => rig.frame());
        assert.is(rig.send(frames), count);
        assert.is(await nic.drain({ timeoutMs: 1 }), false);
        const draining = nic.drain();
        assert.is(await isSettled(draining), false);
        assert.equal(hardware.transmit(), frames);
        assert.is(await draining, true);
        assert.is(await nic.drain({ timeoutMs: 0 }), true);
      }
    }),
  );

  test.run();
}

function gone(family: Family): void {
  const test = caseSuite(family, 'a device that is pulled out');
  const reason = new NicError('DEVICE_GONE', 'planted: pulled out');

  test('ends all that waits with DEVICE_GONE, and everything that asks the hardware', async () => {
    const rig = await Rig.open(family);
    const { nic } = rig;
    makeWait(rig);
    const waiting = Object.values(WAITS).map((wait) => expectRejection('DEVICE_GONE', wait(nic)));
    await turns(3);
    rig.hardware.pullOut(reason);
    await Promise.all(waiting);
    for (const wait of Object.values(WAITS)) await expectRejection('DEVICE_GONE', wait(nic));
    expectError('DEVICE_GONE', () => nic.stats());
    expectError('DEVICE_GONE', () => nic.linkState());
    await closeGone(rig);
  });

  test('tells those who watch, once, and not those who have stopped watching', async () => {
    const rig = await Rig.open(family);
    const told: unknown[] = [];
    const deaf = rig.nic.onGone(() => told.push('deaf'));
    rig.nic.onGone((error) => told.push(error));
    deaf();
    rig.hardware.pullOut(reason);
    await turns(3);
    assert.equal(told.length, 1);
    assert.ok(told[0] === reason);
    await closeGone(rig);
    assert.is(told.length, 1);
  });

  test('does not tell of a device that was closed', async () => {
    const rig = await Rig.open(family);
    let told = 0;
    rig.nic.onGone(() => told++);
    await rig.close();
    rig.hardware.pullOut(reason);
    await turns(3);
    assert.is(told, 0);
  });

  test.run();
}

/** A device that is gone may say so, and gives everything back all the same. */
async function closeGone(rig: Rig): Promise<void> {
  await rig.nic.close().catch((error: unknown) => {
    assert.is(error instanceof NicError && error.code, 'DEVICE_GONE', `${error}`);
  });
  for (const wait of Object.values(WAITS)) await expectRejection('CLOSED', wait(rig.nic));
  rig.assertBack();
  rig.pool.close();
  assert.equal(rig.hardware.complaints(), []);
}
