/** The server against clients that send anything: it answers or hangs up, and serves the next client as before. */
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { eventfd } from '../../../src/syscalls/descriptors.js';
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, memfdCreate } from '../../../src/syscalls/memory.js';
import { unixSocket } from '../../../src/syscalls/unix-sockets.js';
import * as protocol from '../../../src/vfio/user/protocol.js';
import { countFds, fixtureSuite, hostFixture, RawClient, type TestHost, until } from './support/harness.js';
import { Op, Register } from './support/test-device.js';

const { Command } = protocol;

const test = fixtureSuite('vfio-user server: hostile client', hostFixture());

const byte = fc.nat(255);
const u32 = fc.oneof(fc.nat(8), fc.constantFrom(0x7fffffff, 0x80000000, 0xffffffff), fc.nat(0xffff));
const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 16n }).map((page) => page * 4096n),
  fc.constantFrom(2n ** 53n - 4096n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

/** Bodies that are nearly right. */
const plausible: fc.Arbitrary<[number, Uint8Array]> = fc.oneof(
  fc
    .record({ flags: u32, offset: u64, iova: u64, sizeBytes: u64 })
    .map((map): [number, Uint8Array] => [Command.DMA_MAP, protocol.encodeDmaMap(map)]),
  fc
    .record({ flags: fc.oneof(fc.nat(3), u32), iova: u64, sizeBytes: u64 })
    .map((unmap): [number, Uint8Array] => [Command.DMA_UNMAP, protocol.encodeDmaUnmap(unmap)]),
  fc
    .tuple(u32, u32)
    .map(([index, argsz]): [number, Uint8Array] => [
      Command.DEVICE_GET_REGION_INFO,
      protocol.encodeRegionInfoRequest(index, argsz),
    ]),
  fc
    .record({
      flags: fc.oneof(fc.constantFrom(0x21, 0x22, 0x24, 0x09, 0x11, 0x0a, 0x12, 0x0c, 0x14), u32),
      index: fc.nat(6),
      start: u32,
      count: u32,
      data: fc.uint8Array({ maxLength: 8 }),
    })
    .map((set): [number, Uint8Array] => [Command.DEVICE_SET_IRQS, protocol.encodeSetIrqs(set)]),
  fc
    .tuple(fc.nat(9), fc.oneof(fc.nat(0x100), fc.nat(0x11000), fc.nat(2 ** 51)), u32)
    .map(([index, offset, count]): [number, Uint8Array] => [
      Command.REGION_READ,
      protocol.encodeRegionRange({ index, offset, count }),
    ]),
  fc
    .tuple(fc.nat(9), fc.oneof(fc.nat(0x40), fc.nat(0x11000)), fc.uint8Array({ maxLength: 20 }))
    // SLEEP would only cost time
    .filter(
      ([index, offset, data]) => index !== 0 || offset + data.length <= Register.OP || offset > Register.OP,
    )
    .map(([index, offset, data]): [number, Uint8Array] => [
      Command.REGION_WRITE,
      protocol.encodeRegionRange({ index, offset, count: data.length }, data),
    ]),
  fc
    .constantFrom(Op.FILL, Op.SUM, Op.RAISE, Op.THROW, Op.REMAINING)
    .map((op): [number, Uint8Array] => [
      Command.REGION_WRITE,
      protocol.encodeRegionRange(
        { index: 0, offset: Register.OP, count: 4 },
        new Uint8Array(Uint32Array.of(op).buffer),
      ),
    ]),
  fc.constant<[number, Uint8Array]>([Command.DEVICE_RESET, protocol.NO_BODY]),
  fc.tuple(fc.nat(20), fc.uint8Array({ maxLength: 64 })),
);

/** Kinds of descriptors to send: a memfd, an eventfd, and others. */
const KINDS = 6;
const MEMORY = 0;
const EVENT = 1;

/** Messages that are right, so that there is something to leave behind; with the kinds of descriptors they need. */
const good: fc.Arbitrary<{ message: [number, Uint8Array]; fds: number[] }> = fc.oneof(
  fc.tuple(fc.nat(1000), fc.integer({ min: 1, max: 16 })).map(([page, pages]) => ({
    message: [
      Command.DMA_MAP,
      protocol.encodeDmaMap({
        flags: 3,
        offset: 0n,
        iova: BigInt(page) * 0x10000n,
        sizeBytes: BigInt(pages) * 4096n,
      }),
    ] as [number, Uint8Array],
    fds: [MEMORY],
  })),
  fc
    .record({
      flags: fc.constantFrom(0x24, 0x24, 0x0c, 0x14),
      index: fc.constantFrom(1, 2),
      start: fc.nat(1),
      count: fc.integer({ min: 1, max: 3 }),
      data: fc.constant(protocol.NO_BODY),
    })
    .map((set) => ({
      message: [Command.DEVICE_SET_IRQS, protocol.encodeSetIrqs(set)] as [number, Uint8Array],
      fds: new Array<number>(set.count).fill(EVENT),
    })),
);

/** Others, with any descriptors. */
const bad = fc.record({
  message: plausible,
  fds: fc.oneof(
    { weight: 3, arbitrary: fc.constant<number[]>([]) },
    { weight: 3, arbitrary: fc.array(fc.nat(KINDS - 1), { maxLength: 4 }) },
    { weight: 1, arbitrary: fc.array(fc.nat(KINDS - 1), { maxLength: 40 }) },
  ),
});
const anyMessage = fc.record({
  content: fc.oneof(good, bad),
  noReply: fc.boolean(),
  patch: fc.option(fc.tuple(fc.nat(60), byte), { freq: 10 }),
});

/** Sends until the server hangs up; reads nothing. */
function send(client: RawClient, bytes: Uint8Array, fds: readonly number[]): boolean {
  try {
    client.sendBytes(bytes, fds);
    return true;
  } catch {
    return false;
  }
}

function mappings(pid: number): number {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .filter((line) => line.includes('memfd:fuzz')).length;
}

/** A new client finds the server as it should be, and as bare as before. */
async function assertHealthy(host: TestHost, fds: number): Promise<void> {
  assert.is(host.child.exitCode, null);
  assert.is(host.child.signalCode, null);
  const client = await RawClient.admitted(host.path);
  const range = { index: 0, offset: Register.SCRATCH, count: 4 };
  const { body } = client.ask(Command.REGION_READ, protocol.encodeRegionRange(range));
  assert.equal([...protocol.decodeRegionData(body).data], [0x34, 0x12, 0, 0]);
  await until(() => countFds(host.pid) === fds, 'all descriptors are closed');
  assert.is(mappings(host.pid), 0);
  client.close();
}

/** Descriptors of the server with one client that has given it none. */
async function baseline(host: TestHost): Promise<number> {
  const client = RawClient.negotiated(host.path);
  client.errnoOf(Command.DEVICE_RESET);
  const fds = countFds(host.pid);
  client.close();
  await assertHealthy(host, fds);
  return fds;
}

test('random bytes', async ({ host }) => {
  const fds = await baseline(host);
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }),
      async (hello, chunks) => {
        let client: RawClient | undefined;
        await until(() => {
          try {
            client = hello ? RawClient.negotiated(host.path) : new RawClient(host.path);
            return true;
          } catch {
            return false;
          }
        }, 'a connection');
        for (const chunk of chunks) if (!send(client!, chunk, [])) break;
        client!.close();
        await assertHealthy(host, fds);
      },
    ),
    { numRuns: 60, endOnFailure: true },
  );
});

test('sequences of messages that are nearly right', async ({ host }) => {
  const fds = await baseline(host);
  const memory = memfdCreate('fuzz', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(memory, 16 * 4096);
  const kinds = [
    memory,
    eventfd(),
    openSync('/dev/null', 'r+'),
    openSync('/', 'r'),
    memfdCreate('fuzz', MFD_CLOEXEC),
    unixSocket(),
  ];
  await fc.assert(
    fc.asyncProperty(fc.array(anyMessage, { minLength: 1, maxLength: 30 }), async (messages) => {
      let client: RawClient | undefined;
      await until(() => {
        try {
          client = RawClient.negotiated(host.path);
          return true;
        } catch {
          return false;
        }
      }, 'a connection');
      messages.forEach(({ content, noReply, patch }, id) => {
        const [command, body] = content.message;
        const bytes = protocol.encodeCommand(id, command, body, noReply);
        if (patch !== null) bytes[patch[0] % bytes.length] = patch[1];
        send(
          client!,
          bytes,
          content.fds.map((kind) => kinds[kind]!),
        );
      });
      client!.close();
      await assertHealthy(host, fds);
    }),
    { numRuns: 100, endOnFailure: true },
  );
  for (const fd of new Set(kinds)) closeSync(fd);
});

test('a client that leaves at any byte of a conversation', async ({ host }) => {
  const fds = await baseline(host);
  const memory = memfdCreate('fuzz', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(memory, 4096);
  const capabilities = protocol.DEFAULT_CAPABILITIES;
  const version = protocol.encodeCommand(
    1,
    Command.VERSION,
    protocol.encodeVersion({ major: 0, minor: 0, capabilities }),
  );
  const map = protocol.encodeCommand(
    2,
    Command.DMA_MAP,
    protocol.encodeDmaMap({ flags: 3, offset: 0n, iova: 0n, sizeBytes: 4096n }),
  );
  const total = version.length + map.length;
  for (const at of [...Array.from({ length: Math.ceil(total / 7) }, (_, i) => 7 * i), total]) {
    const client = new RawClient(host.path);
    const sent =
      send(client, version.subarray(0, at), []) &&
      (at <= version.length || send(client, map.subarray(0, at - version.length), [memory]));
    assert.ok(sent);
    client.close();
    await assertHealthy(host, fds);
    await until(() => {
      try {
        RawClient.negotiated(host.path).close();
        return true;
      } catch {
        return false;
      }
    }, 'the server is free');
  }
  closeSync(memory);
});

test.run();
