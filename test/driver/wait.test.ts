import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PacketWait } from '../../src/driver/wait.js';

const waits = suite('PacketWait');

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

async function rejection(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}

waits('what is there needs no interrupt', async () => {
  const { state, wait } = made();
  state.packets = true;
  assert.is(await wait.wait(60_000), true);
  assert.equal([state.armed, state.disarmed], [0, 0]);
});

waits('an interrupt, time and cancel end a wait; each wait is armed and disarmed once', async () => {
  const { state, wait, arrive } = made();
  const first = wait.wait(60_000);
  arrive();
  assert.is(await first, true);
  assert.is(await wait.wait(1), false);
  const third = wait.wait(60_000);
  wait.cancel();
  assert.is(await third, false);
  assert.equal([state.armed, state.disarmed], [3, 3]);
});

waits(
  'an interrupt left over from packets that were polled before ends no wait, and unmasks again',
  async () => {
    const { state, wait, arrive } = made();
    let ended = false;
    const first = wait.wait(60_000).then((packets) => {
      ended = true;
      return packets;
    });
    wait.wake();
    await new Promise((resolve) => setImmediate(resolve));
    assert.is(ended, false);
    assert.equal([state.armed, state.disarmed], [2, 0]);
    arrive();
    assert.is(await first, true);
    assert.equal([state.armed, state.disarmed], [2, 1]);
  },
);

waits('the time of a wait that was ended does not end the next', async () => {
  const { wait, arrive } = made();
  const first = wait.wait(5);
  arrive();
  await first;
  let ended = false;
  const second = wait.wait(60_000).then((packets) => {
    ended = true;
    return packets;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(ended, false);
  arrive();
  assert.is(await second, true);
});

waits('a second call joins the first', async () => {
  const { state, wait, arrive } = made();
  const both = [wait.wait(60_000), wait.wait(1)];
  assert.is(state.armed, 1);
  arrive();
  assert.equal(await Promise.all(both), [true, true]);
  assert.is(state.disarmed, 1);
});

waits('interrupts without a wait do nothing', async () => {
  const { state, wait } = made();
  wait.wake();
  wait.cancel();
  assert.is(await wait.wait(1), false);
  assert.equal([state.armed, state.disarmed], [1, 1]);
});

waits('a packet that comes while arming ends this wait and no later one', async () => {
  const { state, wait } = made({
    onArm: () => {
      state.packets = state.armed === 1;
    },
  });
  assert.is(await wait.wait(60_000), true);
  state.packets = false;
  assert.is(await wait.wait(1), false);
  assert.is(await wait.wait(1), false);
  assert.equal([state.armed, state.disarmed], [3, 3]);
});

waits('interrupts that cannot be unmasked reject the wait; the next may work', async () => {
  let broken = true;
  const { wait } = made({
    onArm: () => {
      if (broken) throw new Error('planted: arm');
    },
  });
  assert.is(await rejection(wait.wait(60_000)), 'planted: arm');
  broken = false;
  assert.is(await wait.wait(1), false);
});

waits('interrupts that cannot be masked reject the wait, not the timer that ended it', async () => {
  const { wait } = made({
    onDisarm: () => {
      throw new Error('planted: disarm');
    },
  });
  assert.is(await rejection(wait.wait(1)), 'planted: disarm');
  const cancelled = wait.wait(60_000);
  wait.cancel();
  assert.is(await rejection(cancelled), 'planted: disarm');
});

waits('without interrupts it looks by itself', async () => {
  let packets = false;
  let looks = 0;
  const wait = new PacketWait({
    pending: () => {
      looks++;
      return packets;
    },
  });
  assert.is(await wait.wait(1), false);
  setTimeout(() => {
    packets = true;
  }, 3);
  assert.is(await wait.wait(60_000), true);
  const after = looks;
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.is(looks, after, 'and stops looking');
});

waits.run();
