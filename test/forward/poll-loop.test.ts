import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { WaitOptions } from '../../src/driver/device.js';
import { pollLoop } from '../../src/forward/poll-loop.js';
import { DIST, runScript } from '../support/child.js';

const loop = suite('pollLoop');

/** A queue whose waits the test ends. */
class SleepyQueue {
  readonly waits: number[] = [];
  wake: (packets: boolean) => void = () => {};
  onWait: () => void = () => {};

  wait({ timeoutMs = Number.POSITIVE_INFINITY }: WaitOptions = {}): Promise<boolean> {
    this.waits.push(timeoutMs);
    const promise = new Promise<boolean>((resolve) => {
      this.wake = resolve;
    });
    this.onWait();
    return promise;
  }
}

loop('a signal that is aborted already means no poll', async () => {
  let polls = 0;
  await pollLoop(() => ++polls, { signal: AbortSignal.abort() });
  assert.is(polls, 0);
});

loop('polls until it is aborted', async () => {
  const stop = new AbortController();
  let polls = 0;
  await pollLoop(
    () => {
      if (++polls === 5000) stop.abort();
      return 1;
    },
    { signal: stop.signal },
  );
  assert.ok(polls >= 5000);
});

loop('a poll that always has work lets timers, immediates and I/O have their turn', async () => {
  const stop = new AbortController();
  const turns = { timer: 0, immediate: 0, microtask: 0 };
  const timer = setInterval(() => {
    turns.timer++;
    setImmediate(() => {
      turns.immediate++;
      if (turns.timer >= 3) stop.abort();
    });
  }, 1);
  await pollLoop(() => 32, { signal: stop.signal });
  clearInterval(timer);
  assert.ok(turns.timer >= 3 && turns.immediate >= 1);
});

loop('a busy loop hears a signal', () => {
  const { status, stdout, stderr } = runScript(`
    import { pollLoop } from '${DIST}src/index.js';
    const stop = new AbortController();
    process.on('SIGINT', () => stop.abort());
    let polls = 0;
    await pollLoop(() => {
      if (++polls === 1000) process.kill(process.pid, 'SIGINT');
      return 32;
    }, { signal: stop.signal });
    console.log('stopped');
  `);
  assert.is(status, 0, stderr);
  assert.is(stdout, 'stopped\n');
});

loop('a poll that throws ends the loop with its error', async () => {
  const stop = new AbortController();
  let polls = 0;
  let caught: unknown;
  try {
    await pollLoop(
      () => {
        if (++polls === 10) throw new Error('planted');
        return 1;
      },
      { signal: stop.signal },
    );
  } catch (error) {
    caught = error;
  }
  assert.is((caught as Error).message, 'planted');
  assert.is(polls, 10);
});

loop('sleeps when nothing comes, and polls again when a device wakes it', async () => {
  const stop = new AbortController();
  const [a, b] = [new SleepyQueue(), new SleepyQueue()];
  let polls = 0;
  let pollsAtSleep = 0;
  let asleep = false;
  b.onWait = () => {
    if (b.waits.length > 1) {
      stop.abort();
      return b.wake(false);
    }
    asleep = true;
    pollsAtSleep = polls;
    // No poll while it sleeps, however many turns of the event loop pass.
    setTimeout(() => {
      assert.is(polls, pollsAtSleep);
      asleep = false;
      b.wake(true);
    }, 10);
  };
  await pollLoop(
    () => {
      assert.not(asleep);
      polls++;
      return 0;
    },
    { signal: stop.signal, queues: [a, b], idleAfterMs: 0 },
  );
  assert.ok(polls > pollsAtSleep, 'it polled again');
  assert.ok(a.waits.length >= 1, 'all devices are waited for');
  assert.ok(a.waits.every((timeoutMs) => timeoutMs > 0 && timeoutMs <= 1000));
});

loop('does not sleep while there is work', async () => {
  const stop = new AbortController();
  const device = new SleepyQueue();
  setTimeout(() => stop.abort(), 20);
  await pollLoop(() => 1, { signal: stop.signal, queues: [device], idleAfterMs: 5 });
  assert.equal(device.waits, []);
});

const TURNS = 50;

loop('does not sleep without devices', async () => {
  const stop = new AbortController();
  let polls = 0;
  let turns = 0;
  let busyTurns = 0;
  let pollsBefore = 0;
  const turn = (): void => {
    if (polls > pollsBefore) busyTurns++;
    pollsBefore = polls;
    if (++turns < TURNS) setImmediate(turn);
    else stop.abort();
  };
  const looping = pollLoop(
    () => {
      polls++;
      return 0;
    },
    { signal: stop.signal, idleAfterMs: 0 },
  );
  setImmediate(turn);
  await looping;
  assert.is(busyTurns, TURNS, 'it polls in each turn of the event loop');
});

loop('a wait that fails ends the loop with its error', async () => {
  let caught: unknown;
  const device = { wait: () => Promise.reject(new Error('gone')) };
  try {
    await pollLoop(() => 0, { signal: new AbortController().signal, queues: [device], idleAfterMs: 0 });
  } catch (error) {
    caught = error;
  }
  assert.is((caught as Error).message, 'gone');
});

loop.run();
