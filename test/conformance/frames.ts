/** Conformance of `NetDevice`: `sendFrame` and `frames`, for those who do not count nanoseconds. */
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { expectRejection } from '../support/expect-error.js';
import { caseSuite } from './results.js';
import { eventually, type Family, isSettled, onRig, pairsOf, Rig, range, turns } from './rig.js';

export function frames(family: Family): void {
  sendFrame(family);
  iterate(family);
}

/** Fills the first transmit ring. */
function fillRing(rig: Rig): number {
  let queued = 0;
  for (let taken = 1; taken > 0; queued += taken) taken = rig.send([rig.frame()]);
  return queued;
}

function sendFrame(family: Family): void {
  const test = caseSuite(family, 'sendFrame');

  test(
    'copies the frame, and leaves nothing out',
    onRig(family, async (rig) => {
      const { nic, pool } = rig;
      const { available } = pool;
      const [shortest, longest] = [nic.limits.minFrameBytes, nic.maxFrameBytes];
      const sent = [shortest, 59, 60, 1514, longest].map((length) =>
        rig.frame(Math.max(length, 60)).slice(0, length),
      );
      const wanted = sent.map((frame) => rig.padded(frame));
      for (const frame of sent) {
        await nic.sendFrame(frame);
        frame.fill(0);
      }
      assert.is(pool.available, available - sent.length);
      assert.equal(rig.hardware.transmit(), wanted);
      await nic.sendFrame(new Uint8Array(new ArrayBuffer(200), 50, 100).fill(7));
      assert.equal(rig.hardware.transmit(), [new Uint8Array(100).fill(7)]);
    }),
  );

  test(
    'what is no frame that it can send is refused',
    onRig(family, async (rig) => {
      const { nic, pool } = rig;
      const { available } = pool;
      for (const wrong of [
        new Uint8Array(0),
        new Uint8Array(nic.limits.minFrameBytes - 1),
        new Uint8Array(nic.maxFrameBytes + 1),
        undefined,
        null,
        'frame',
        [1, 2, 3],
        new Uint16Array(50),
        new ArrayBuffer(60),
      ]) {
        const error = await expectRejection('BAD_ARGUMENT', nic.sendFrame(wrong as Uint8Array));
        assert.match(error.hint!, `${nic.limits.minFrameBytes} to ${nic.maxFrameBytes} bytes`);
      }
      await expectRejection('BAD_OPTION', nic.sendFrame(new Uint8Array(60), { timeoutMs: -1 }));
      assert.is(pool.available, available);
      assert.equal(rig.hardware.transmit(), []);
    }),
  );

  for (const [what, block, unblock] of [
    ['a full ring', fillRing, (rig: Rig) => rig.hardware.transmit()],
    ['an empty pool', takeAll, (rig: Rig) => giveAll(rig)],
  ] as const) {
    test(
      `${what}: waits for its time, or for room`,
      onRig(family, async (rig) => {
        const { nic, pool } = rig;
        block(rig);
        const { available } = pool;
        const frame = rig.frame();
        const error = await expectRejection('DEVICE_TIMEOUT', nic.sendFrame(frame, { timeoutMs: 2 }));
        assert.ok(error.hint);
        assert.is(pool.available, available, 'no buffer is lost');
        const reason = new Error('no more');
        const stop = new AbortController();
        const stopped = nic.sendFrame(frame, { signal: stop.signal }).catch((caught: unknown) => caught);
        await turns(2);
        stop.abort(reason);
        assert.ok((await stopped) === reason);
        const already = await nic
          .sendFrame(frame, { signal: stop.signal })
          .catch((caught: unknown) => caught);
        assert.ok(already === reason);
        assert.is(pool.available, available);
        const waiting = nic.sendFrame(frame, { timeoutMs: Number.POSITIVE_INFINITY });
        assert.is(await isSettled(waiting), false);
        unblock(rig);
        await waiting;
        assert.equal(rig.hardware.transmit(), [frame]);
      }),
    );

    test(`${what}: close ends the wait`, async () => {
      const rig = await Rig.open(family);
      block(rig);
      const waiting = rig.nic.sendFrame(rig.frame()).catch((caught: unknown) => caught);
      assert.is(await isSettled(waiting), false);
      const closing = rig.nic.close();
      const error = await waiting;
      assert.is(error instanceof NicError && error.code, 'CLOSED', `${error}`);
      await closing;
      giveAll(rig);
      await expectRejection('CLOSED', rig.nic.sendFrame(rig.frame()));
      await rig.close();
    });
  }

  test('close with an own pool ends the wait as well', async () => {
    const hardware = family.makeHardware();
    const nic = await hardware.open({
      rxRingSize: family.ringSize,
      txRingSize: family.ringSize,
      pageSize: '4K',
    });
    const frame = hardware.frame(1, 60);
    const full = async (): Promise<never> => {
      for (;;) await nic.sendFrame(frame);
    };
    const waiting = full().catch((caught: unknown) => caught);
    await eventually('the ring is full', () => nic.stats().txPackets >= family.ringSize - 1);
    await nic.close();
    const error = await waiting;
    assert.is(error instanceof NicError && error.code, 'CLOSED', `${error}`);
    assert.match((error as NicError).message, nic.address);
    assert.equal(hardware.complaints(), []);
  });

  test(
    'a hundred at once: each leaves once, whatever the room',
    onRig(
      family,
      async (rig) => {
        const sent = range(100).map(() => rig.frame());
        let done = false;
        const all = Promise.all(
          sent.map((frame) => rig.nic.sendFrame(frame, { timeoutMs: Number.POSITIVE_INFINITY })),
        ).then(() => {
          done = true;
        });
        const left: Uint8Array[] = [];
        await eventually('all are queued', () => {
          left.push(...rig.hardware.transmit());
          return done;
        });
        await all;
        left.push(...rig.hardware.transmit());
        assert.is(left.length, 100);
        assert.equal(new Set(left.map(String)), new Set(sent.map(String)));
      },
      { txRingSize: family.ringSize },
    ),
  );

  test.run();
}

const taken = new WeakMap<Rig, Uint32Array>();

function takeAll(rig: Rig): void {
  const all = new Uint32Array(rig.pool.available);
  assert.is(rig.pool.allocate(all, all.length), all.length);
  taken.set(rig, all);
}

function giveAll(rig: Rig): void {
  const all = taken.get(rig);
  if (all !== undefined) rig.pool.release(all, all.length);
  taken.delete(rig);
}

function iterate(family: Family): void {
  const test = caseSuite(family, 'frames');

  test(
    'frames as they come, copied, with no buffer out while the loop takes its time',
    onRig(family, async (rig) => {
      const { nic, pool } = rig;
      const { available } = pool;
      const stop = new AbortController();
      const sent = [...rig.arrive(1), ...rig.arrive(20, 200), ...rig.arrive(1, nic.maxFrameBytes)];
      const seen: Uint8Array[] = [];
      for await (const frame of nic.frames({ signal: stop.signal })) {
        assert.is(pool.available, available);
        seen.push(frame);
        if (seen.length === 10) await turns(3);
        if (seen.length === 22) setImmediate(() => sent.push(...rig.arrive(3)));
        if (seen.length === 25) stop.abort();
      }
      assert.equal(seen, sent);
      assert.is(nic.stats().rxPackets, 25);
    }),
  );

  test(
    'all queues',
    onRig(
      family,
      async (rig) => {
        const stop = new AbortController();
        const sent = range(pairsOf(family)).map((q) => rig.arrive(5, 80 + q, q));
        const seen: Uint8Array[] = [];
        for await (const frame of rig.nic.frames({ signal: stop.signal }))
          if (seen.push(frame) === 5 * pairsOf(family)) stop.abort();
        for (const [q, list] of sent.entries())
          assert.equal(
            seen.filter(({ length }) => length === 80 + q),
            list,
          );
      },
      { queuePairs: pairsOf(family) },
    ),
  );

  test(
    'who breaks off loses no frame: the next loop goes on where it was',
    onRig(family, async (rig) => {
      const sent = rig.arrive(20);
      const seen: Uint8Array[] = [];
      for await (const frame of rig.nic.frames()) {
        seen.push(frame);
        break;
      }
      const stop = new AbortController();
      for await (const frame of rig.nic.frames({ signal: stop.signal })) {
        seen.push(frame);
        if (seen.length === 7) stop.abort();
      }
      assert.is(seen.length, 7, 'aborted: no more come');
      assert.is(rig.nic.stats().rxPackets, 7);
      seen.push(...rig.receive());
      assert.equal(seen, sent);
    }),
  );

  test(
    'an aborted signal: no frame, and none is taken',
    onRig(family, async (rig) => {
      const sent = rig.arrive(3);
      for await (const _ of rig.nic.frames({ signal: AbortSignal.abort() })) assert.unreachable();
      assert.equal(rig.receive(), sent);
    }),
  );

  test(
    'a signal ends it while it waits',
    onRig(family, async (rig) => {
      const stop = new AbortController();
      const next = rig.nic.frames({ signal: stop.signal }).next();
      assert.is(await isSettled(next), false);
      stop.abort(new Error('no more'));
      assert.equal(await next, { done: true, value: undefined });
    }),
  );

  test('close ends it while it waits, and between two frames', async () => {
    for (const waits of [true, false]) {
      const rig = await Rig.open(family);
      const iterator = rig.nic.frames();
      if (!waits) {
        rig.arrive(5);
        assert.is((await iterator.next()).done, false);
      }
      const next = waits ? iterator.next() : undefined;
      if (next !== undefined) assert.is(await isSettled(next), false);
      await rig.close();
      assert.is((await (next ?? iterator.next())).done, true);
      assert.is((await rig.nic.frames().next()).done, true, 'closed already');
    }
  });

  test(
    'options that are none are refused',
    onRig(family, async (rig) => {
      for (const wrong of [5, null, { signal: 1 }] as unknown[]) {
        await expectRejection('BAD_OPTION', rig.nic.frames(wrong as { signal: AbortSignal }).next());
      }
    }),
  );

  test('a device that is pulled out ends it with its error', async () => {
    const rig = await Rig.open(family);
    const next = rig.nic.frames().next();
    assert.is(await isSettled(next), false);
    rig.hardware.pullOut(new NicError('DEVICE_GONE', 'planted: pulled out'));
    await expectRejection('DEVICE_GONE', next);
    await rig.nic.close().catch(() => {});
    rig.assertBack();
    rig.pool.close();
  });

  test.run();
}
