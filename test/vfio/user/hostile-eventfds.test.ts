/**
 * Event counters that both sides hold, and what else may come in their place: whatever the other side does to one,
 * nobody waits for it.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { eventfd, setBlocking } from '../../../src/syscalls/descriptors.js';
import { MFD_CLOEXEC, memfdCreate } from '../../../src/syscalls/memory.js';
import { unixSocket } from '../../../src/syscalls/unix-sockets.js';
import { PciIrq } from '../../../src/vfio/types.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { DIST, runScript } from '../../support/child.js';
import { suite } from '../../support/suite.js';
import { fixtureSuite, RawClient, startHost, type TestHost, until } from './support/harness.js';
import { Op, Register } from './support/test-device.js';

const { EINVAL } = constants.errno;
const { Command } = protocol;
/** The most that a counter holds: one more, and a write waits. */
const FULL = new BigUint64Array([0xfffffffffffffffen]);
const ONE = new BigUint64Array([1n]);
const GET_INFO = protocol.encodeDeviceInfo({ flags: 0, regionCount: 0, irqCount: 0 });
const TRIGGER = protocol.IRQ_DATA_EVENTFD | protocol.IRQ_ACTION_TRIGGER;
const UNMASK = protocol.IRQ_DATA_EVENTFD | protocol.IRQ_ACTION_UNMASK;

function setIrqs(flags: number): Uint8Array {
  return protocol.encodeSetIrqs({ flags, index: PciIrq.MSIX, start: 0, count: 1, data: protocol.NO_BODY });
}

function writeRegister(offset: number, value: number): Uint8Array {
  const data = new Uint8Array(Uint32Array.of(value).buffer);
  return protocol.encodeRegionRange({ index: 0, offset, count: 4 }, data);
}

/** What a client sends to have the device wait: the process does nothing else meanwhile. */
function sleepMs(ms: number): Uint8Array {
  const messages = [writeRegister(Register.VALUE, ms), writeRegister(Register.OP, Op.SLEEP)];
  return Buffer.concat(messages.map((body) => protocol.encodeCommand(1, Command.REGION_WRITE, body, true)));
}

function drain(fd: number): bigint {
  const count = new BigUint64Array(1);
  try {
    readSync(fd, count);
  } catch {
    return 0n;
  }
  return count[0]!;
}

/** Another client is served once this one has gone. Fails, and ends the host, where it hangs. */
async function assertServes(host: TestHost): Promise<void> {
  await until(() => {
    try {
      RawClient.negotiated(host.path).close();
      return true;
    } catch {
      return false;
    }
  }, 'the server takes the next client').catch((error) => {
    host.child.kill('SIGKILL');
    throw error;
  });
}

const server = fixtureSuite('vfio-user server: eventfds of a hostile client', {
  start: async () => ({}),
  enter: async () => ({ host: await startHost() }),
  leave: ({ host }) => host.stop(),
  stop: () => {},
});

server('a full counter in blocking mode does not stop an interrupt', async ({ host }) => {
  const client = RawClient.negotiated(host.path);
  const fd = eventfd();
  assert.is(client.errnoOf(Command.DEVICE_SET_IRQS, setIrqs(TRIGGER), [fd]), 0);
  writeSync(fd, FULL);
  setBlocking(fd, true);
  const trigger = setIrqs(protocol.IRQ_DATA_NONE | protocol.IRQ_ACTION_TRIGGER);
  for (let id = 0; id < 3; id++) {
    client.sendBytes(protocol.encodeCommand(id, Command.DEVICE_SET_IRQS, trigger, true));
  }
  client.close();
  await assertServes(host);
  assert.is(drain(fd), 0xffffffffffffffffn, 'full, and left so');
  closeSync(fd);
});

server('the device’s own interrupts do not stop it either', async ({ host }) => {
  const client = RawClient.negotiated(host.path);
  const fd = eventfd();
  assert.is(client.errnoOf(Command.DEVICE_SET_IRQS, setIrqs(TRIGGER), [fd]), 0);
  writeSync(fd, FULL);
  setBlocking(fd, true);
  for (const [offset, value] of [
    [Register.LENGTH, PciIrq.MSIX],
    [Register.VALUE, 0],
    [Register.OP, Op.RAISE],
    [Register.OP, Op.RAISE],
  ] as const) {
    client.sendBytes(protocol.encodeCommand(1, Command.REGION_WRITE, writeRegister(offset, value), true));
  }
  client.close();
  await assertServes(host);
  closeSync(fd);
});

server('a counter that is drained before the server reads it, in blocking mode', async ({ host }) => {
  const client = RawClient.negotiated(host.path);
  const fd = eventfd();
  assert.is(client.errnoOf(Command.DEVICE_SET_IRQS, setIrqs(UNMASK), [fd]), 0);
  // While the device waits, a message and the counter become ready; the message is handled first, and the device waits
  // again. Now the counter is taken away.
  const nothing = protocol.encodeCommand(1, Command.DEVICE_GET_INFO, GET_INFO, true);
  client.sendBytes(Buffer.concat([sleepMs(500), ...new Array<Uint8Array>(64).fill(nothing), sleepMs(1000)]));
  await delay(100);
  writeSync(fd, ONE);
  await delay(800);
  drain(fd);
  setBlocking(fd, true);
  // the second is only answered where the server has come past the counter
  for (let i = 0; i < 2; i++) assert.is(client.errnoOf(Command.DEVICE_GET_INFO, GET_INFO), 0);
  client.close();
  await assertServes(host);
  closeSync(fd);
});
server.run();

const kinds = fixtureSuite('vfio-user server: what is no eventfd', {
  start: async () => ({ host: await startHost() }),
  enter: ({ host }) => ({ client: RawClient.negotiated(host.path) }),
  leave: async ({ client, host }) => {
    client.close();
    await assertServes(host);
  },
  stop: ({ host }) => host.stop(),
});

kinds('is refused, as counter to signal and as counter to watch', ({ client }) => {
  const fds = [
    openSync('/dev/null', 'r+'),
    openSync('/dev/ptmx', 'r+'),
    openSync('/', 'r'),
    openSync('/proc/self/maps', 'r'),
    memfdCreate('no-counter', MFD_CLOEXEC),
    unixSocket(),
  ];
  for (const fd of fds) {
    for (const flags of [TRIGGER, UNMASK]) {
      assert.is(client.errnoOf(Command.DEVICE_SET_IRQS, setIrqs(flags), [fd]), EINVAL);
    }
  }
  const mixed = protocol.encodeSetIrqs({
    flags: TRIGGER,
    index: PciIrq.MSIX,
    start: 0,
    count: 2,
    data: protocol.NO_BODY,
  });
  const counter = eventfd();
  assert.is(client.errnoOf(Command.DEVICE_SET_IRQS, mixed, [counter, fds[0]!]), EINVAL);
  for (const fd of [...fds, counter]) closeSync(fd);
});
kinds.run();

const reader = suite('vfio-user client: eventfds that a hostile server holds as well');

reader('an empty counter in blocking mode does not stop its reader', () => {
  const { status, stderr } = runScript(`
    const { eventfd, setBlocking } = await import('${DIST}/src/syscalls/descriptors.js');
    const { realKernel } = await import('${DIST}/src/vfio/kernel-api.js');
    const fd = eventfd();
    setBlocking(fd, true);
    if (realKernel.readEventfd(fd) !== 0) throw new Error('counted');`);
  assert.is(status, 0, stderr);
});
reader.run();
