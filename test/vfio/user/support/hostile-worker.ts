/**
 * A server in a worker thread that answers like a real one, but for one reply, which it spoils as told. One script a
 * connection; the main thread blocks in its client meanwhile.
 */
import { ftruncateSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { closeFd } from '../../../../src/syscalls/descriptors.js';
import { ListeningSocket } from '../../../../src/syscalls/listening-socket.js';
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, memfdCreate } from '../../../../src/syscalls/memory.js';
import { acceptConnection } from '../../../../src/syscalls/unix-sockets.js';
import { createSharedMemory } from '../../../../src/vfio/user/memory.js';
import * as protocol from '../../../../src/vfio/user/protocol.js';
import { closeFds, type Message, MessageSocket } from '../../../../src/vfio/user/socket.js';
import { KINDS } from './descriptor-kinds.js';

/** What to do with the reply to the command number `at` of a connection. */
export interface Script {
  readonly at: number;
  /** Bytes of the reply to replace: offset (modulo its length), value. */
  readonly patches: readonly (readonly [number, number])[];
  /** Cut this many bytes off its end, without telling in its header. */
  readonly cutBytes: number;
  /** Sent before the reply. */
  readonly before: readonly number[];
  /** Descriptors sent with it beside its own: BAR0's memory again, or of this kind (descriptor-kinds.ts). */
  readonly extraFds: number;
  readonly extraKind: string | undefined;
  /** Hang up after it, or else when the client does. */
  readonly hangUp: boolean;
  /** Wait this long before each reply. */
  readonly delayMs: number;
  /**
   * After the last reply that sets the device up: send commands that want no answer, or reads of a MiB at 0x1000 whose
   * answers stay where they are, for as long as `control[2]` is 1, which the worker sets and ends itself after a while.
   */
  readonly flood: 'none' | 'commands' | 'reads';
  /** The memory of BAR0: sealed, not sealed, or shorter than the areas say; or a descriptor of some kind. */
  readonly memory: string;
}

export interface HostileData {
  readonly path: string;
  /**
   * [0]: 1 while a script is to be played, 2 to end; [1]: length of the script's JSON in `text`; [2]: 1 while it floods.
   */
  readonly control: Int32Array;
  readonly text: Uint8Array;
}

const REGION_BYTES = 0x4000;
const AREA = { offset: 0x1000, sizeBytes: 0x2000 };

function memory(kind: Script['memory']): { fd: number; close(): void } {
  if (kind === 'sealed') return createSharedMemory('hostile', REGION_BYTES);
  const make = KINDS[kind];
  if (make !== undefined) {
    const fd = make();
    return { fd, close: () => closeFd(fd) };
  }
  const fd = memfdCreate('hostile', kind === 'open' ? MFD_CLOEXEC : MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(fd, kind === 'open' ? REGION_BYTES : AREA.offset + 0x1000);
  return { fd, close: () => closeFd(fd) };
}

function answer({ header, body }: Message, shared: number): { body: Uint8Array; fds: number[] } {
  const { Command } = protocol;
  const only = (reply: Uint8Array) => ({ body: reply, fds: [] });
  switch (header.command) {
    case Command.VERSION:
      return only(
        protocol.encodeVersion({ major: 0, minor: 0, capabilities: protocol.DEFAULT_CAPABILITIES }),
      );
    case Command.DEVICE_GET_INFO:
      return only(protocol.encodeDeviceInfo({ flags: 3, regionCount: 9, irqCount: 5 }));
    case Command.DEVICE_GET_REGION_INFO: {
      const { index, argsz } = protocol.decodeRegionInfoRequest(body);
      const areas = index === 0 ? [AREA] : undefined;
      const flags = index === 0 ? 7 : 3;
      const info = { flags, index, sizeBytes: REGION_BYTES, offset: 0, areas };
      return { body: protocol.encodeRegionInfo(info, argsz), fds: index === 0 ? [shared] : [] };
    }
    case Command.DEVICE_GET_IRQ_INFO:
      return only(protocol.encodeIrqInfo({ flags: 1, index: protocol.decodeIrqInfo(body).index, count: 4 }));
    case Command.REGION_READ: {
      const range = protocol.decodeRegionRange(body);
      return only(protocol.encodeRegionRange(range, new Uint8Array(range.count)));
    }
    case Command.REGION_WRITE: {
      const { data: _, ...range } = protocol.decodeRegionData(body);
      return only(protocol.encodeRegionRange(range));
    }
    case Command.DMA_UNMAP:
      return only(protocol.encodeDmaUnmap(protocol.decodeDmaUnmap(body)));
    default:
      return only(protocol.NO_BODY);
  }
}

function play(listener: ListeningSocket, script: Script, control: Int32Array): void {
  let fd = acceptConnection(listener.fd);
  for (; fd < 0; fd = acceptConnection(listener.fd)) Atomics.wait(control, 1, -1, 1);
  const socket = new MessageSocket(fd, 'hostile', 2 ** 21, 64);
  const shared = memory(script.memory);
  try {
    for (let number = 0; ; ) {
      const message = socket.receive(true);
      if (message === undefined) {
        Atomics.wait(control, 0, 1, 1);
        continue;
      }
      const reply = message.header.type === 0 ? answer(message, shared.fd) : undefined;
      closeFds(message.fds);
      if (reply === undefined) continue;
      if (script.delayMs > 0) Atomics.wait(control, 0, 1, script.delayMs);
      const bytes = protocol.encodeReply(message.header.id, message.header.command, reply.body);
      if (number++ !== script.at) {
        socket.send(bytes, reply.fds);
        if (message.header.command === protocol.Command.DMA_MAP && script.flood !== 'none') {
          flood(socket, script.flood, control);
        }
        continue;
      }
      for (const [at, value] of script.patches) bytes[at % bytes.length] = value;
      if (script.before.length > 0) socket.send(Uint8Array.from(script.before));
      const end = Math.max(1, bytes.length - script.cutBytes);
      const make = KINDS[script.extraKind ?? ''];
      const extra = make === undefined ? shared.fd : make();
      socket.send(bytes.subarray(0, end), [...reply.fds, ...new Array(script.extraFds).fill(extra)]);
      if (make !== undefined) closeFd(extra);
      if (script.hangUp) return;
    }
  } catch {
    // the client hung up
  } finally {
    socket.close();
    shared.close();
  }
}

const FLOOD_MS = 3000;
const MIB = 2 ** 20;

function flood(socket: MessageSocket, kind: 'commands' | 'reads', control: Int32Array): void {
  const read = protocol.encodeDmaRange({ iova: 0x1000n, count: kind === 'reads' ? MIB : 4 });
  const command = protocol.encodeCommand(7, protocol.Command.DMA_READ, read, kind === 'commands');
  const endMs = performance.now() + FLOOD_MS;
  let sent = 0;
  Atomics.store(control, 2, 1);
  while (performance.now() < endMs && control[2] === 1) {
    const isEnough = kind === 'reads' && sent >= 8;
    if (isEnough || socket.send(command) === 0) Atomics.wait(control, 0, 1, 1);
    else sent++;
  }
  Atomics.store(control, 2, 0);
}

const { path, control, text } = workerData as HostileData;
const listener = ListeningSocket.listen(path, 4);
parentPort?.postMessage('ready');
for (;;) {
  Atomics.wait(control, 0, 0);
  if (control[0] === 2) break;
  play(listener, JSON.parse(new TextDecoder().decode(text.slice(0, control[1]))), control);
  Atomics.store(control, 0, 0);
  Atomics.notify(control, 0);
}
listener.close();
