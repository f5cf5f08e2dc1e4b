/** Peers that are silent, slow, or never stop: they hold up themselves, and nobody else for long. */
import { closeSync, ftruncateSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { ListeningSocket } from '../../../src/syscalls/listening-socket.js';
import { MFD_CLOEXEC, memfdCreate } from '../../../src/syscalls/memory.js';
import { acceptConnection } from '../../../src/syscalls/unix-sockets.js';
import { openVfio } from '../../../src/vfio/open.js';
import { PciRegion } from '../../../src/vfio/types.js';
import { connectVfioUser } from '../../../src/vfio/user/client.js';
import { Connection } from '../../../src/vfio/user/connection.js';
import { FREE_MS, Patience } from '../../../src/vfio/user/patience.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { connectSocket, MessageSocket } from '../../../src/vfio/user/socket.js';
import { suite } from '../../support/suite.js';
import {
  connectRaw,
  countFds,
  fixtureSuite,
  RawClient,
  startHost,
  type TestHost,
  until,
} from './support/harness.js';
import { HostileServer } from './support/hostile-server.js';
import { BAR0_BYTES } from './support/test-device.js';

const { Command } = protocol;
const GET_INFO = protocol.encodeDeviceInfo({ flags: 0, regionCount: 0, irqCount: 0 });
const SHORT_MS = 300;

const patient = fixtureSuite('vfio-user server: silent clients, default deadlines', {
  start: async () => ({ host: await startHost() }),
  enter: () => ({}),
  leave: () => {},
  stop: ({ host }) => host.stop(),
});

patient('six that say nothing keep nobody out', async ({ host }) => {
  const silent: RawClient[] = [];
  for (let i = 0; i < 6; i++) silent.push(new RawClient(host.path));
  const client = RawClient.negotiated(host.path);
  assert.is(client.errnoOf(Command.DEVICE_GET_INFO, GET_INFO), 0);
  for (const other of silent) {
    assert.throws(() => other.receive(), /hung up/);
    other.close();
  }
  client.close();
});

patient('a message in pieces that come in time', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  const bytes = protocol.encodeCommand(5, Command.DEVICE_GET_INFO, GET_INFO);
  for (const at of [0, 5, 16, 20]) {
    client.sendBytes(bytes.subarray(at, at === 20 ? undefined : { 0: 5, 5: 16, 16: 20 }[at]));
    await delay(20);
  }
  assert.is(client.receive().header.id, 5);
  client.close();
});
patient.run();

const hasty = fixtureSuite('vfio-user server: slow clients, short deadlines', {
  start: async () => ({
    host: await startHost('events', undefined, {
      timeouts: { versionMs: SHORT_MS, messageMs: SHORT_MS, answerMs: SHORT_MS },
    }),
  }),
  enter: () => ({}),
  leave: async ({ host }) => {
    (await RawClient.admitted(host.path)).close();
  },
  stop: ({ host }) => host.stop(),
});

hasty('one that never says VERSION', async ({ host }) => {
  const client = new RawClient(host.path);
  assert.throws(() => client.receive(), /hung up/);
  client.close();
  await reported(host, /did not say VERSION within 300 ms/);
});

hasty('one that begins to say VERSION', ({ host }) => {
  const client = new RawClient(host.path);
  const capabilities = protocol.DEFAULT_CAPABILITIES;
  const version = protocol.encodeVersion({ major: 0, minor: 0, capabilities });
  client.sendBytes(protocol.encodeCommand(1, Command.VERSION, version).subarray(0, 40));
  assert.throws(() => client.receive(), /hung up/);
  client.close();
});

hasty('one whose VERSION is longer than any', ({ host }) => {
  const client = new RawClient(host.path);
  client.sendBytes(protocol.encodeCommand(1, Command.VERSION, new Uint8Array(16384)).subarray(0, 16));
  assert.throws(() => client.receive(), /hung up/);
  client.close();
});

hasty('one that does not finish a message', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  client.sendBytes(protocol.encodeCommand(1, Command.DEVICE_GET_INFO, GET_INFO).subarray(0, 7));
  assert.throws(() => client.receive(), /hung up/);
  client.close();
  await reported(host, /did not finish a message within 300 ms/);
});

hasty('one that lets a message trickle', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  const bytes = protocol.encodeCommand(1, Command.REGION_WRITE, new Uint8Array(100_000));
  await assertHangsUp(async () => {
    for (const byte of bytes) {
      client.sendBytes(Uint8Array.of(byte));
      await delay(5);
    }
  });
  client.close();
});

hasty('one that does not take its answers', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  const read = protocol.encodeRegionRange({ index: 0, offset: 0, count: BAR0_BYTES });
  for (let id = 0; id < 16; id++) client.sendBytes(protocol.encodeCommand(id, Command.REGION_READ, read));
  await reported(host, /did not take an answer within 300 ms/);
  client.close();
});

hasty.run();

function reported(host: TestHost, what: RegExp): Promise<void> {
  return until(() => host.errors.some((error) => what.test(error)), `a report of ${what}`);
}

const ROUND_MS = 1500;
const steady = fixtureSuite('vfio-user server: a client that never stops', {
  start: async () => ({
    host: await startHost('events', undefined, { timeouts: { messageMs: ROUND_MS } }),
  }),
  enter: () => ({}),
  leave: () => {},
  stop: ({ host }) => host.stop(),
});

steady('is not cut off, though there is always an unfinished message', async ({ host }) => {
  const client = await RawClient.admitted(host.path);
  const bytes = protocol.encodeCommand(9, Command.DEVICE_GET_INFO, GET_INFO);
  const endMs = performance.now() + 2 * ROUND_MS;
  client.sendBytes(bytes.subarray(0, 10));
  while (performance.now() < endMs) {
    client.sendBytes(Buffer.concat([bytes.subarray(10), bytes.subarray(0, 10)]));
    assert.is(client.receive().header.id, 9);
    await delay(10);
  }
  assert.equal(host.errors, []);
  client.close();
});
steady.run();

async function assertHangsUp(action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    assert.match(String(error), /hung up/);
    return;
  }
  assert.unreachable('it is still there');
}

const patience = suite('vfio-user client: patience');

patience('replies of a server that waits for its processor cost nothing, however many', () => {
  const account = new Patience(5000, 1000, 0);
  for (let i = 0; i < 10_000; i++) {
    account.spend(FREE_MS);
    account.turned();
  }
  assert.equal(account.allowance(0), { ms: 1000 + FREE_MS, limit: 'account' });
});

patience('slow ones use it up, and it fills by half of the time, not over its size', () => {
  const account = new Patience(5000, 1000, 0);
  for (let i = 0; i < 5; i++) {
    account.spend(FREE_MS + 100);
    account.turned();
  }
  assert.is(account.allowance(0).ms, 500 + FREE_MS);
  account.spend(60_000);
  account.turned();
  assert.is(account.allowance(0).ms, FREE_MS);
  assert.is(account.allowance(400).ms, 200 + FREE_MS);
  assert.is(account.allowance(1e9).ms, 1000 + FREE_MS);
});

patience('one reply has its own limit, where that is less', () => {
  const account = new Patience(300, 1000, 0);
  assert.equal(account.allowance(0), { ms: 300, limit: 'answer' });
  account.spend(950 + FREE_MS);
  assert.equal(account.allowance(0), { ms: 50 + FREE_MS, limit: 'account' });
});

patience('a server that answers each time just in time is given up, whatever turns there are', () => {
  const account = new Patience(5000, 10_000, 0);
  let nowMs = 0;
  let answers = 0;
  for (; account.allowance(nowMs).limit === 'answer'; answers++) {
    account.spend(4999);
    account.turned();
    nowMs += 4999;
  }
  assert.ok(answers <= 5, `${answers} answers`);
});

patience('without a turn of the event loop, free replies have an end as well', () => {
  const account = new Patience(5000, 1000, 0);
  for (let i = 0; i < 19; i++) account.spend(FREE_MS);
  assert.equal(account.allowance(0), { ms: 2000 - 19 * FREE_MS, limit: 'turn' });
  account.spend(FREE_MS);
  assert.equal(account.allowance(0), { ms: 0, limit: 'turn' });
  account.turned();
  assert.equal(account.allowance(0), { ms: 1000 + FREE_MS, limit: 'account' });
});
patience.run();

const client = fixtureSuite('vfio-user client: slow and busy servers', {
  start: async () => ({ server: await HostileServer.start() }),
  enter: () => ({ before: countFds() }),
  leave: ({ before }) => until(() => countFds() === before, 'no descriptor is left'),
  stop: ({ server }) => server.stop(),
});

async function givenUp(attempt: Promise<void>, why: RegExp): Promise<void> {
  const error = await reasonOf(attempt);
  assert.instance(error, NicError);
  assert.is((error as NicError).code, 'PEER_GONE');
  assert.match((error as NicError).message, why);
}

client('one that answers each time just before the deadline is given up all the same', ({ server }) =>
  givenUp(
    server.against({ delayMs: 400 }, () => {}, { timeoutMs: 10_000, patienceMs: 300 }),
    /in what was left of the 300 ms that slow answers may take in all/,
  ),
);

client('one that does not answer: the error names the deadline of the answer', ({ server }) =>
  givenUp(
    server.against({ delayMs: 2000 }, () => {}, { timeoutMs: 200, patienceMs: 10_000 }),
    /did not answer VERSION within 200 ms/,
  ),
);

client('one whose answers never let the event loop have a turn is given up', ({ server }) =>
  givenUp(
    server.against(
      { delayMs: 50 },
      (device) => {
        for (let i = 0; i < 200; i++) device.region(PciRegion.CONFIG).read32(0);
        assert.unreachable('200 answers of 50 ms in one turn');
      },
      { timeoutMs: 10_000, patienceMs: 1500 },
    ),
    /the 3000 ms for which its answers may hold this process up without a break/,
  ),
);

client('one that is as slow, with turns in between, is not', ({ server }) =>
  server.against(
    { delayMs: 50 },
    async (device) => {
      for (let i = 0; i < 80; i++) {
        device.region(PciRegion.CONFIG).read32(0);
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    { timeoutMs: 10_000, patienceMs: 1500 },
  ),
);

client('one that never stops sending commands does not stop the event loop', async ({ server }) => {
  await server.against(
    { flood: 'commands' },
    async (device) => {
      const memory = memfdCreate('client', MFD_CLOEXEC);
      ftruncateSync(memory, 4096);
      device.mapper.map({ address: 0n, fd: memory, sizeBytes: 4096 }, 0x1000n);
      await until(() => server.isFlooding, 'the flood');
      for (let i = 0; i < 10; i++) await delay(1);
      assert.ok(server.isFlooding, 'timers ran while it went on');
      server.stopFlooding();
      closeSync(memory);
    },
    {},
  );
});

client('of many commands that are there at once, others have their turn in between', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'barewire-'));
  const listener = ListeningSocket.listen(join(directory, 's'), 1);
  const connection = new Connection(
    await connectSocket(listener.path, Infinity),
    listener.path,
    60_000,
    60_000,
  );
  const server = new MessageSocket(acceptConnection(listener.fd), listener.path, 4096, 1);
  try {
    const read = protocol.encodeCommand(0, Command.DMA_READ, protocol.encodeDmaRange({ iova: 0n, count: 4 }));
    let asked = 0;
    while (asked < 200 && server.send(read) === read.length) asked++;
    let mostAtOnce = 0;
    let answered = 0;
    const countAnswers = (): void => {
      const before = answered;
      while (server.receive(true) !== undefined) answered++;
      mostAtOnce = Math.max(mostAtOnce, answered - before);
    };
    // It answers in turns of the event loop, and this looks between any two of them.
    for (let turns = 0; answered < asked && turns < 1e6; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      countAnswers();
    }
    assert.is(answered, asked);
    assert.ok(asked > 100 && mostAtOnce <= 64, `${mostAtOnce} of ${asked} in one turn`);
  } finally {
    connection.close();
    server.close();
    listener.close();
    rmSync(directory, { recursive: true, force: true });
  }
});

client(
  'one that does not take the answers to its commands does not stop the event loop',
  async ({ server }) => {
    await server.against(
      { flood: 'reads' },
      async (device) => {
        let gone = false;
        device.onGone(() => {
          gone = true;
        });
        const memory = memfdCreate('client', MFD_CLOEXEC);
        ftruncateSync(memory, 2 ** 20);
        device.mapper.map({ address: 0n, fd: memory, sizeBytes: 2 ** 20 }, 0x1000n);
        await until(() => server.isFlooding, 'the commands');
        for (let i = 0; i < 10; i++) await delay(1);
        assert.ok(server.isFlooding, 'timers ran while the answers waited');
        assert.not(gone, 'it may take them later');
        server.stopFlooding();
        closeSync(memory);
      },
      {},
    );
  },
);
client.run();

/** Accepts connections by the kernel alone: nobody ever answers. */
function silentServer(backlog: number): { path: string; close(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'barewire-'));
  const listener = ListeningSocket.listen(join(directory, 's'), backlog);
  return {
    path: listener.path,
    close: () => {
      listener.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const abort = fixtureSuite('vfio-user client: connecting ends when told', {
  start: () => ({}),
  enter: () => ({ server: silentServer(1), before: countFds() }),
  leave: async ({ server, before }) => {
    await until(() => countFds() <= before, 'no descriptor is left');
    server.close();
  },
  stop: () => {},
});

async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.unreachable('it connected');
}

abort('by its signal, while the server is silent', async ({ server }) => {
  const controller = new AbortController();
  const connecting = connectVfioUser(server.path, { timeoutMs: 60_000, signal: controller.signal });
  const ended = reasonOf(connecting);
  await delay(20);
  controller.abort('enough');
  assert.is(await ended, 'enough');
});

abort('by its signal, while the server’s queue is full', async ({ server }) => {
  const waiting: number[] = [];
  for (let full = false; !full; ) {
    try {
      waiting.push(connectRaw(server.path, 50));
    } catch {
      full = true;
    }
  }
  const controller = new AbortController();
  const ended = reasonOf(openVfio(`vfio-user:${server.path}`, controller.signal));
  await delay(20);
  controller.abort('enough');
  assert.is(await ended, 'enough');
  for (const fd of waiting) closeSync(fd);
});

abort('at once where the signal is aborted already', async ({ server }) => {
  const signal = AbortSignal.abort('before');
  assert.is(await reasonOf(connectVfioUser(server.path, { signal })), 'before');
  assert.is(await reasonOf(openVfio(`vfio-user:${server.path}`, signal)), 'before');
});

abort('by its deadline', async ({ server }) => {
  const error = await reasonOf(connectVfioUser(server.path, { timeoutMs: 50 }));
  assert.instance(error, NicError);
  assert.is((error as NicError).code, 'PEER_GONE');
  assert.match((error as NicError).message, /did not answer VERSION/);
});

abort('by a server that ends', async ({ server }) => {
  const ended = reasonOf(connectVfioUser(server.path, { timeoutMs: 60_000 }));
  await delay(20);
  server.close();
  const error = await ended;
  assert.instance(error, NicError);
  assert.is((error as NicError).code, 'PEER_GONE');
});
abort.run();
