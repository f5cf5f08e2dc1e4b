import * as assert from 'uvu/assert';
import { PacketWait, waitForAny } from '../../src/driver/packet-wait.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';

const waits = suite('PacketWait');

const LONG = { timeoutMs: HANG_MS };
const SHORT = { timeoutMs: 1 };

/** A wait over a flag and counters of what it did. `arrive` is a packet with its interrupt. */
function made(options: { onArm?: () => void; onDisarm?: () => void } = {}) {
  const state = { packets: false, armed: 0, disarmed: 0 };
  const wait = new PacketWait({
    pending: () => state.packets,
    arm: () => {
      state.armed++;
      options.onArm?.();
    },
    disarm: () => {
      state.disarmed++;
      options.onDisarm?.();
    },
  });
  const arrive = (): void => {
    state.packets = true;
    wait.wake();
    state.packets = false;
  };
  return { state, wait, arrive };
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

waits('what is there needs no interrupt', async () => {
  const { state, wait } = made();
  state.packets = true;
  assert.is(await wait.wait(LONG), true);
  assert.equal([state.armed, state.disarmed], [0, 0]);
});

waits('an interrupt, time, a signal and close end a wait; each wait is armed and disarmed once', async () => {
  const { state, wait, arrive } = made();
  const first = wait.wait();
  arrive();
  assert.is(await first, true);
  assert.is(await wait.wait(SHORT), false);
  const stop = new AbortController();
  const third = wait.wait({ signal: stop.signal });
  stop.abort(new Error('told to'));
  assert.is(((await rejection(third)) as Error).message, 'told to');
  const fourth = wait.wait(LONG);
  const why = new Error('closed');
  wait.close(why);
  assert.is(await rejection(fourth), why);
  assert.equal([state.armed, state.disarmed], [4, 4]);
  assert.is(await rejection(wait.wait(SHORT)), why, 'and from now on');
  assert.is(state.armed, 4);
});

waits('a signal that is aborted already', async () => {
  const { state, wait } = made();
  state.packets = true;
  const error = await rejection(wait.wait({ signal: AbortSignal.abort() }));
  assert.is((error as Error).name, 'AbortError');
});

waits(
  'an interrupt left over from packets that were polled before ends no wait, and unmasks again',
  async () => {
    const { state, wait, arrive } = made();
    let ended = false;
    const first = wait.wait(LONG).then((packets) => {
      ended = true;
      return packets;
    });
    wait.wake();
    await turn();
    assert.is(ended, false);
    assert.equal([state.armed, state.disarmed], [2, 0]);
    arrive();
    assert.is(await first, true);
    assert.equal([state.armed, state.disarmed], [2, 1]);
  },
);

for (const [when, arming] of [
  ['the wait begins', 1],
  ['an interrupt left over from before is unmasked again', 2],
] as const) {
  waits(`a packet that comes while ${when}, and interrupts nobody, is found`, async () => {
    const { state, wait } = made({
      onArm: () => {
        if (state.armed === arming) state.packets = true;
      },
    });
    const waiting = wait.wait(LONG);
    if (arming === 2) wait.wake();
    assert.is(await waiting, true);
    assert.equal([state.armed, state.disarmed], [arming, 1]);
  });
}

waits('the time of a wait that was ended does not end the next', async () => {
  const { wait, arrive } = made();
  const first = wait.wait({ timeoutMs: 5 });
  arrive();
  await first;
  let ended = false;
  const second = wait.wait(LONG).then((packets) => {
    ended = true;
    return packets;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(ended, false);
  arrive();
  assert.is(await second, true);
});

waits('several wait at once, each with its own time; armed once, disarmed with the last', async () => {
  const { state, wait, arrive } = made();
  const long = wait.wait(LONG);
  const short = wait.wait(SHORT);
  assert.is(state.armed, 1);
  assert.is(await short, false);
  assert.is(state.disarmed, 0, 'somebody still waits');
  arrive();
  assert.is(await long, true);
  assert.is(state.disarmed, 1);
});

waits('interrupts without a wait do nothing', async () => {
  const { state, wait } = made();
  wait.wake();
  assert.is(await wait.wait(SHORT), false);
  assert.equal([state.armed, state.disarmed], [1, 1]);
});

waits('a packet that comes while arming ends this wait and no later one', async () => {
  const { state, wait } = made({
    onArm: () => {
      state.packets = state.armed === 1;
    },
  });
  assert.is(await wait.wait(LONG), true);
  state.packets = false;
  assert.is(await wait.wait(SHORT), false);
  assert.is(await wait.wait(SHORT), false);
  assert.equal([state.armed, state.disarmed], [3, 3]);
});

waits('interrupts that cannot be unmasked reject the wait; the next may work', async () => {
  let broken = true;
  const { wait } = made({
    onArm: () => {
      if (broken) throw new Error('planted: arm');
    },
  });
  assert.is(((await rejection(wait.wait(LONG))) as Error).message, 'planted: arm');
  broken = false;
  assert.is(await wait.wait(SHORT), false);
});

waits('interrupts that cannot be masked reject the wait, not the timer that ended it', async () => {
  const { wait } = made({
    onDisarm: () => {
      throw new Error('planted: disarm');
    },
  });
  assert.is(((await rejection(wait.wait(SHORT))) as Error).message, 'planted: disarm');
});

waits('without interrupts it looks by itself, and stops looking', async () => {
  let packets = false;
  let looks = 0;
  const wait = new PacketWait({
    pending: () => {
      looks++;
      return packets;
    },
  });
  assert.is(await wait.wait(SHORT), false);
  setTimeout(() => {
    packets = true;
  }, 3);
  assert.is(await wait.wait(LONG), true);
  const after = looks;
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.is(looks, after);
});

for (const options of [5, null, { timeoutMs: '5' }, { timeoutMs: -1 }, { signal: 'stop' }]) {
  waits(`${JSON.stringify(options)} is no way to wait`, async () => {
    const { wait } = made();
    const { code } = (await rejection(wait.wait(options as object))) as { code?: string };
    assert.is(code, 'BAD_OPTION');
  });
}

waits('of several queues the first packet counts, and the others stop waiting', async () => {
  const [a, b] = [made(), made()];
  const any = waitForAny([a.wait, b.wait], LONG);
  await turn();
  assert.equal([a.state.armed, b.state.armed], [1, 1]);
  b.arrive();
  assert.is(await any, true);
  await turn();
  assert.equal([a.state.disarmed, b.state.disarmed], [1, 1]);
  assert.is(await waitForAny([a.wait, b.wait], SHORT), false);
});

waits('of several queues one that is closed ends the wait; so does a signal', async () => {
  const [a, b] = [made(), made()];
  const stop = new AbortController();
  const any = waitForAny([a.wait, b.wait], { signal: stop.signal });
  stop.abort();
  assert.is(((await rejection(any)) as Error).name, 'AbortError');
  const closing = waitForAny([a.wait, b.wait]);
  b.wait.close(new Error('closed'));
  assert.is(((await rejection(closing)) as Error).message, 'closed');
  await turn();
  assert.equal([a.state.armed, a.state.disarmed], [2, 2]);
});

waits.run();
