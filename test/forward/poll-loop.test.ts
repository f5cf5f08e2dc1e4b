import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import type { WaitOptions } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import { type LoopDevice, pollLoop } from '../../src/forward/poll-loop.js';
import { DIST, runScript, runScriptOnOneCpu } from '../support/child.js';
import { expectRejection } from '../support/expect-error.js';
import { giveWays } from '../support/give-ways.js';
import { suite } from '../support/suite.js';

const loop = suite('pollLoop');

/** A queue whose waits the test ends, or their signal. */
class SleepyQueue {
  waits = 0;
  wake: (packets: boolean) => void = () => {};
  fail: (error: Error) => void = () => {};
  /** Called at each wait with the signal that ends it. */
  onWait: (signal: AbortSignal | undefined) => void = () => {};

  wait({ signal }: WaitOptions = {}): Promise<boolean> {
    this.waits++;
    const promise = new Promise<boolean>((resolve, reject) => {
      this.wake = resolve;
      this.fail = reject;
      signal?.addEventListener('abort', () => reject(signal.reason));
    });
    this.onWait(signal);
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
    if (b.waits > 1) {
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
  assert.ok(a.waits >= 1, 'all devices are waited for');
});

loop(
  'a sleeper looks once a second of the clock that it was given, in one wait; what it finds ends it',
  async () => {
    const stop = new AbortController();
    const clock = new ManualClock();
    const queue = new SleepyQueue();
    const looksNs: number[] = [];
    let asleepNs: number | undefined;
    queue.onWait = (end) => {
      asleepNs = clock.nowNs();
      end!.addEventListener('abort', () => {
        asleepNs = undefined;
      });
      // Only the clock can end it.
      setImmediate(() => clock.advanceNs(1e10));
    };
    let polls = 0;
    await pollLoop(
      () => {
        polls++;
        if (asleepNs === undefined) {
          if (looksNs.length > 0) stop.abort();
          clock.advanceNs(1e4);
          return 0;
        }
        looksNs.push(clock.nowNs() - asleepNs);
        return looksNs.length === 4 ? 7 : 0;
      },
      { signal: stop.signal, queues: [queue], idleAfterMs: 1, clock },
    );
    assert.ok(polls > 100, 'it polled while the clock moved by 1 ms');
    assert.equal(looksNs, [1e9, 2e9, 3e9, 4e9]);
    assert.is(queue.waits, 1);
  },
);

loop('a poll that throws at such a look ends the loop with its error', async () => {
  const clock = new ManualClock();
  const queue = new SleepyQueue();
  queue.onWait = () => setImmediate(() => clock.advanceNs(1e9));
  const looping = pollLoop(
    () => {
      if (queue.waits > 0) throw new Error('planted');
      return 0;
    },
    { signal: new AbortController().signal, queues: [queue], policy: 'power', clock },
  );
  const error = await looping.catch((caught: unknown) => caught);
  assert.is((error as Error).message, 'planted');
});

loop('does not sleep while there is work', async () => {
  const stop = new AbortController();
  const device = new SleepyQueue();
  setTimeout(() => stop.abort(), 20);
  await pollLoop(() => 1, { signal: stop.signal, queues: [device], idleAfterMs: 5 });
  assert.is(device.waits, 0);
});

loop('policy latency: polls on and never sleeps', async () => {
  const stop = new AbortController();
  const queue = new SleepyQueue();
  const clock = new ManualClock();
  let polls = 0;
  await pollLoop(
    () => {
      clock.advanceNs(1e6);
      if (++polls === 5000) stop.abort();
      return 0;
    },
    { signal: stop.signal, queues: [queue], policy: 'latency', clock },
  );
  assert.is(queue.waits, 0);
});

loop(
  'policy power: sleeps at the first poll without work, also where a wait has ended by itself',
  async () => {
    const stop = new AbortController();
    const queue = new SleepyQueue();
    const clock = new ManualClock();
    /** What each poll finds. */
    const found = [0, 32, 32, 7, 0, 0];
    const pollsAtSleep: number[] = [];
    let polls = 0;
    queue.onWait = () => {
      pollsAtSleep.push(polls);
      if (queue.waits > 3) {
        stop.abort();
        return queue.wake(false);
      }
      setImmediate(() => queue.wake(queue.waits !== 2));
    };
    await pollLoop(() => found[polls++] ?? 0, {
      signal: stop.signal,
      queues: [queue],
      policy: 'power',
      clock,
    });
    // What is found is taken; the poll behind it that finds nothing ends the burst, and one more decides.
    assert.equal(pollsAtSleep, [1, 6, 7, 8]);
  },
);

loop(
  'policy balanced is the default: sleeps after 20 ms; where a wait ends by itself one poll decides',
  async () => {
    for (const policy of [undefined, 'balanced'] as const) {
      const stop = new AbortController();
      const queue = new SleepyQueue();
      const clock = new ManualClock();
      const pollsAtSleep: number[] = [];
      let polls = 0;
      queue.onWait = () => {
        pollsAtSleep.push(polls);
        if (queue.waits > 3) {
          stop.abort();
          return queue.wake(false);
        }
        setImmediate(() => queue.wake(false));
      };
      await pollLoop(
        () => {
          polls++;
          if (queue.waits === 0) clock.advanceNs(1e5);
          return 0;
        },
        { signal: stop.signal, queues: [queue], clock, ...(policy === undefined ? {} : { policy }) },
      );
      assert.ok(pollsAtSleep[0]! > 200, 'it polled for 20 ms of the clock');
      assert.equal(
        pollsAtSleep.map((count) => count - pollsAtSleep[0]!),
        [0, 1, 2, 3],
      );
    }
  },
);

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

const MANY_TURNS = 200;

/** Polls for many turns of the event loop, and returns how often the CPU was given away. */
async function pollTurns(poll: () => number, sharesCpu: boolean): Promise<number> {
  const stop = new AbortController();
  let turns = 0;
  const turn = (): void => {
    if (++turns < MANY_TURNS) setImmediate(turn);
    else stop.abort();
  };
  setImmediate(turn);
  return giveWays(() => pollLoop(poll, { signal: stop.signal, sharesCpu }));
}

loop(
  'where another process needs the CPU: a burst ends when nothing moves, and the CPU is given away',
  async () => {
    let polls = 0;
    const idle = (): number => {
      polls++;
      return 0;
    };
    const times = await pollTurns(idle, true);
    assert.ok(times >= MANY_TURNS, `gives way once a turn: ${times}`);
    assert.ok(polls <= MANY_TURNS + 1, `one poll a turn: ${polls}`);
    polls = 0;
    assert.is(await pollTurns(idle, false), 0, 'keeps the CPU');
    assert.ok(polls > 10 * MANY_TURNS, `polls on: ${polls}`);
  },
);

loop('where another process needs the CPU: what is there is taken in one burst', async () => {
  let [left, polls] = [0, 0];
  await pollTurns(() => {
    polls++;
    if (left === 0) {
      left = 10;
      return 0;
    }
    left--;
    return 32;
  }, true);
  assert.ok(polls > 5 * MANY_TURNS, `ten polls with packets a turn: ${polls}`);
});

for (const [what, poll, says] of [
  ['undefined', () => undefined, 'it returned undefined'],
  ['a promise', async () => 1, 'it returned a Promise'],
  ['a string', () => '5', 'it returned "5" (a string)'],
  ['NaN', () => Number.NaN, 'it returned NaN'],
  ['a negative number', () => -1, 'it returned -1'],
  ['null', () => null, 'it returned null'],
  ['true', () => true, 'it returned true'],
  ['a bigint', () => 5n, 'it returned 5n (a bigint)'],
  ['an array', () => [3], 'it returned an Array'],
  ['no end', () => Number.POSITIVE_INFINITY, 'the sum of a burst is Infinity'],
] as const) {
  for (const sharesCpu of [false, true]) {
    const where = sharesCpu ? ', where another process needs the CPU' : '';
    loop(`a poll function that returns ${what} is told so at once${where}`, async () => {
      const stop = new AbortController();
      let polls = 0;
      const looping = pollLoop(
        () => {
          // Where it is taken for a number, the loop ends all the same.
          if (++polls === 1000) stop.abort();
          return poll() as number;
        },
        { signal: stop.signal, sharesCpu },
      );
      const error = await expectRejection('BAD_OPTION', looping);
      assert.is(error.message, `The poll function does not return a number of packets: ${says}`);
      assert.match(error.hint!, /^Return how many packets it moved/);
    });
  }
}

for (const [what, result, says] of [
  ['undefined', undefined, 'NaN'],
  ['a string', 'x', /^"\d+x/],
  ['a large negative number', -1e9, /^-\d+$/],
] as const) {
  loop(`a poll function that returns ${what} in the middle of a burst is told so`, async () => {
    let polls = 0;
    const stop = new AbortController();
    function sometimes(): number {
      if (++polls === 1000) stop.abort();
      return polls === 100 ? (result as unknown as number) : 1;
    }
    const { signal } = stop;
    const { message } = await expectRejection('BAD_OPTION', pollLoop(sometimes, { signal }));
    const start = 'The poll function sometimes does not return a number of packets: the sum of a burst is ';
    assert.is(message.slice(0, start.length), start);
    assert.match(message.slice(start.length), says);
  });
}

for (const [what, options, message] of [
  ['none', undefined, /^The options parameter of pollLoop is undefined$/],
  ['null', null, /^The options parameter of pollLoop is null$/],
  ['no signal', {}, /^signal is undefined$/],
  ['a signal that is none', { signal: {} }, /^signal is an Object$/],
  ['one it does not have', { idleAfter: 5 }, /^pollLoop has no option "idleAfter"$/],
  ['a time that is a string', { idleAfterMs: '5' }, /^idleAfterMs is "5" \(a string\)$/],
  ['one device', { devices: {} }, /^devices is an Object$/],
  ['no device', { devices: [undefined] }, /^An element of devices is undefined$/],
  ['one queue', { queues: {} }, /^queues is an Object$/],
  ['no queue', { queues: [{}] }, /^An element of queues is an Object$/],
  ['a clock that is none', { clock: { nowNs: () => 0 } }, /^clock is an Object$/],
  ['no flag', { sharesCpu: 1 }, /^sharesCpu is 1$/],
  ['no function', { onGone: true }, /^onGone is true$/],
  ['a policy that is none', { policy: 'fast' }, /^policy is "fast" \(a string\)$/],
  ['a policy of sleep without anything to wake it', { policy: 'power' }, /without devices and queues/],
  ['the same, named though it is the default', { policy: 'balanced' }, /without devices and queues/],
  [
    'a time that does nothing',
    { policy: 'latency', idleAfterMs: 5 },
    /^idleAfterMs does nothing with the policy latency$/,
  ],
] as const) {
  loop(`options are refused: ${what}`, async () => {
    let polls = 0;
    const { signal } = new AbortController();
    const given = typeof options === 'object' && options !== null && what !== 'no signal';
    const all = given ? { signal, ...options } : options;
    await expectRejection(
      'BAD_OPTION',
      pollLoop(() => ++polls, all as never),
      message,
    );
    assert.is(polls, 0);
  });
}

loop('what is no function is refused', async () => {
  const { signal } = new AbortController();
  const error = await expectRejection('BAD_OPTION', pollLoop(undefined as never, { signal }));
  assert.is(error.message, 'The first parameter of pollLoop is undefined');
});

for (const [backend, shares] of [
  ['vfio-user', true],
  ['group', false],
  ['cdev', false],
] as const) {
  loop(`with one CPU and a device of ${backend}: ${shares ? 'shared' : 'not shared'} by default`, () => {
    const result = runScriptOnOneCpu(`
      import { pollLoop, sharesCpu } from '${DIST}src/forward/poll-loop.js';
      const device = { rxQueues: [], vfio: { backend: '${backend}' } };
      const stop = new AbortController();
      let [polls, turns] = [0, 0];
      const turn = () => (++turns < 20 ? setImmediate(turn) : stop.abort());
      setImmediate(turn);
      await pollLoop(() => (polls++, 0), { signal: stop.signal, devices: [device] });
      console.log(sharesCpu([device]), sharesCpu([]), polls <= 21);
    `);
    if (result === undefined) return console.log('skipped: there is no taskset here');
    assert.equal([result.stderr, result.stdout], ['', `${shares} false ${shares}\n`]);
  });
}

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

/** A device with one queue, which the test takes away. */
class LosableDevice {
  readonly queue = new SleepyQueue();
  readonly rxQueues = [this.queue] as unknown as LoopDevice['rxQueues'];
  readonly listeners = new Set<(error: Error) => void>();

  onGone(listener: (error: Error) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** A device's own waits end as well, unless a test has it otherwise. */
  lose(error: Error, endsWait = true): void {
    if (endsWait) this.queue.fail(error);
    for (const listener of [...this.listeners]) listener(error);
  }
}

const GONE = new NicError('DEVICE_GONE', 'planted');
const MANY_POLLS = 10_000_000;

for (const asleep of [false, true]) {
  const where = asleep ? 'asleep' : 'busy';
  loop(`a device that is gone ends the loop, ${where}`, async () => {
    const [a, b] = [new LosableDevice(), new LosableDevice()];
    const { signal } = new AbortController();
    let polls = 0;
    b.queue.onWait = () => setImmediate(() => b.lose(GONE));
    const poll = (): number => {
      if (!asleep && ++polls === 1000) b.lose(GONE);
      if (polls > MANY_POLLS) throw new Error('nobody told the loop');
      return asleep ? 0 : 1;
    };
    const error = await expectRejection(
      'DEVICE_GONE',
      pollLoop(poll, { signal, devices: [a, b], idleAfterMs: 0 }),
    );
    assert.is(error, GONE);
    assert.equal([a.listeners.size, b.listeners.size], [0, 0]);
  });

  loop(
    `onGone: the loop goes on with the devices that it returns, ${where}, and ends with the last`,
    async () => {
      const [a, b, c] = [new LosableDevice(), new LosableDevice(), new LosableDevice()];
      const { signal } = new AbortController();
      const last = new NicError('PEER_GONE', 'the last');
      const told: unknown[] = [];
      let [polls, pollsAfter, waitsOfLost] = [0, 0, 0];
      if (asleep) {
        b.queue.onWait = () => setImmediate(() => b.lose(GONE));
        a.queue.onWait = () => {
          if (told.length > 0 && a.queue.waits > 3) setImmediate(() => a.lose(last));
          else if (told.length > 0) setImmediate(() => a.queue.wake(true));
        };
      }
      const looping = pollLoop(
        () => {
          polls++;
          if (!asleep && polls === 1000) b.lose(GONE);
          if (told.length > 0 && ++pollsAfter === 5000 && !asleep) a.lose(last);
          if (polls > MANY_POLLS) throw new Error('nobody told the loop');
          return asleep ? 0 : 1;
        },
        {
          signal,
          devices: [a, b, c],
          idleAfterMs: 0,
          // With b its partner c is of no use.
          onGone(device, error) {
            told.push([device === a ? 'a' : device === b ? 'b' : 'c', error]);
            waitsOfLost = b.queue.waits + c.queue.waits;
            return device === a ? [] : [a];
          },
        },
      );
      assert.is(await expectRejection('PEER_GONE', looping), last);
      assert.equal(told, [
        ['b', GONE],
        ['a', last],
      ]);
      assert.ok(pollsAfter > 0, 'it polled on');
      assert.is(b.queue.waits + c.queue.waits, waitsOfLost, 'nobody waits for those that left');
      assert.equal(
        [a, b, c].map(({ listeners }) => listeners.size),
        [0, 0, 0],
      );
    },
  );
}

loop(
  'onGone: a poll that finds the device gone before it tells so does not end the loop; a second does',
  async () => {
    const [a, b] = [new LosableDevice(), new LosableDevice()];
    const { signal } = new AbortController();
    const told: unknown[] = [];
    let polls = 0;
    const looping = pollLoop(
      () => {
        if (++polls === 100) {
          queueMicrotask(() => b.lose(GONE));
          throw GONE;
        }
        // The user does not stop polling it.
        if (polls === 5000) throw GONE;
        return 1;
      },
      {
        signal,
        devices: [a, b],
        onGone(_, error) {
          told.push(error);
          return [a];
        },
      },
    );
    assert.is(await expectRejection('DEVICE_GONE', looping), GONE);
    assert.equal([told, polls], [[GONE], 5000]);
  },
);

loop('onGone: another error of poll ends the loop, though a device has gone as well', async () => {
  const [a, b] = [new LosableDevice(), new LosableDevice()];
  const { signal } = new AbortController();
  const planted = new Error('planted');
  const poll = (): number => {
    b.lose(GONE);
    throw planted;
  };
  let caught: unknown;
  await pollLoop(poll, { signal, devices: [a, b], onGone: () => [a] }).catch((error: unknown) => {
    caught = error;
  });
  assert.is(caught, planted);
});

loop('onGone: what it throws, and what is no list of devices, ends the loop', async () => {
  const { signal } = new AbortController();
  const lose = (onGone: () => never): Promise<void> => {
    const a = new LosableDevice();
    let polls = 0;
    const poll = (): number => {
      if (++polls === 10) a.lose(GONE);
      if (polls > MANY_POLLS) throw new Error('nobody told the loop');
      return 1;
    };
    return pollLoop(poll, { signal, devices: [a], onGone });
  };
  await expectRejection(
    'DEVICE_STATE',
    lose(() => {
      throw new NicError('DEVICE_STATE', 'planted');
    }),
  );
  await expectRejection(
    'BAD_OPTION',
    lose(() => 5 as never),
    /^What onGone returns is 5$/,
  );
});

loop.run();
