/**
 * The C parts of the benchmark: compiled by gcc when their sources have changed, loaded through koffi. The benchmark is
 * not shipped, so it may import koffi beside src/syscalls/.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';

/** Of the package: this file is dist/bench/native.js. */
export const ROOT = join(import.meta.dirname, '..', '..');
export const CACHE = join(ROOT, '.cache');
const SOURCES = join(ROOT, 'bench', 'native');
const FILES = [
  'lockstep.h',
  'device.c',
  'ixy-peer.c',
  'pipe-peer.c',
  'generator-peer.c',
  'virtio.h',
  'virtio-device.c',
  'virtio-peer.c',
];
const FLAGS = ['-O2', '-march=native', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];

/** An address in C memory. */
export type Pointer = bigint;

/** @throws Error where there is no gcc or it fails */
function build(): string {
  const hash = createHash('sha256').update(FLAGS.join(' '));
  for (const file of FILES) hash.update(readFileSync(join(SOURCES, file)));
  const library = join(CACHE, `bench-${hash.digest('hex').slice(0, 16)}.so`);
  if (existsSync(library)) return library;
  mkdirSync(CACHE, { recursive: true });
  // Under a name of its own first: several processes may build at a time.
  const built = `${library}.${process.pid}`;
  const sources = FILES.filter((file) => file.endsWith('.c')).map((file) => join(SOURCES, file));
  execFileSync('gcc', [...FLAGS, '-o', built, ...sources], { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(built, library);
  return library;
}

export function compilerVersion(): string {
  return execFileSync('gcc', ['--version'], { encoding: 'utf8' }).split('\n')[0]!;
}

export const COMPILER_FLAGS: string = FLAGS.slice(0, 2).join(' ');

const library = koffi.load(build());

/** See native/*.c. */
export const native = {
  labNew: library.func(
    'void *lab_new(uint64_t memory, uint64_t iova, uint32_t buffers, uint32_t bufferBytes, uint32_t dataOffset, uint32_t ringSize)',
  ) as (
    memory: bigint,
    iova: bigint,
    buffers: number,
    bufferBytes: number,
    dataOffset: number,
    ringSize: number,
  ) => Pointer,
  labPort: library.func(
    'void lab_port(void *lab, uint32_t port, uint64_t rx, uint64_t tx, uint64_t rdt, uint64_t tdt)',
  ) as (lab: Pointer, port: number, rx: bigint, tx: bigint, rdt: bigint, tdt: bigint) => void,
  labFree: library.func('void lab_free(void *lab)') as (lab: Pointer) => void,
  labFault: library.func('void lab_fault(void *lab, int32_t fault)') as (lab: Pointer, fault: number) => void,
  labFrameBytes: library.func('void lab_frame_bytes(void *lab, uint32_t bytes)') as (
    lab: Pointer,
    bytes: number,
  ) => void,
  labShuffled: library.func('void lab_shuffled(void *lab)') as (lab: Pointer) => void,
  labWalk: library.func('uint32_t lab_walk(uint64_t memory, uint32_t bytes)') as (
    memory: bigint,
    bytes: number,
  ) => number,
  labError: library.func('const char *lab_error(void *lab)') as (lab: Pointer) => string,
  labForwarded: library.func('double lab_forwarded(void *lab)') as (lab: Pointer) => number,
  labReceived: library.func('double lab_received(void *lab)') as (lab: Pointer) => number,
  labMissed: library.func('double lab_missed(void *lab)') as (lab: Pointer) => number,
  labStep: library.func('int32_t lab_step(void *lab, int32_t send, int32_t count)') as (
    lab: Pointer,
    send: number,
    count: number,
  ) => number,
  labCheckArmed: library.func('int32_t lab_check_armed(void *lab)') as (lab: Pointer) => number,
  peerNew: library.func('void *peer_new(void *lab)') as (lab: Pointer) => Pointer,
  peerFree: library.func('void peer_free(void *peer)') as (peer: Pointer) => void,
  peerRun: library.func('double peer_run(void *peer, int32_t polls, int32_t batch)') as (
    peer: Pointer,
    polls: number,
    batch: number,
  ) => number,
  peerLookRun: library.func('double peer_look_run(void *peer, int32_t polls, int32_t batch)') as (
    peer: Pointer,
    polls: number,
    batch: number,
  ) => number,
  cPipeNew: library.func('void *c_pipe_new(void *lab)') as (lab: Pointer) => Pointer,
  cPipeFree: library.func('void c_pipe_free(void *pipe)') as (pipe: Pointer) => void,
  cPipeRun: library.func('double c_pipe_run(void *pipe, int32_t polls, int32_t batch)') as (
    pipe: Pointer,
    polls: number,
    batch: number,
  ) => number,
  cPipeLookRun: library.func('double c_pipe_look_run(void *pipe, int32_t polls, int32_t batch)') as (
    pipe: Pointer,
    polls: number,
    batch: number,
  ) => number,
  generatorNew: library.func(
    'void *generator_new(uint64_t ring, uint64_t tail, uint64_t memory, uint32_t buffers, uint32_t bufferBytes, uint32_t entries)',
  ) as (
    ring: bigint,
    tail: bigint,
    memory: bigint,
    buffers: number,
    bufferBytes: number,
    entries: number,
  ) => Pointer,
  generatorFree: library.func('void generator_free(void *generator)') as (generator: Pointer) => void,
  generatorRun: library.func(
    'double generator_run(void *generator, int32_t polls, int32_t batch, int32_t fields)',
  ) as (generator: Pointer, polls: number, batch: number, fields: number) => number,
  generatorComplete: library.func(
    'int32_t generator_complete(uint64_t ring, uint64_t tail, uint64_t memory, uint64_t iova, uint32_t entries, uint32_t head)',
  ) as (ring: bigint, tail: bigint, memory: bigint, iova: bigint, entries: number, head: number) => number,
  checkerNew: library.func('void *checker_new()') as () => Pointer,
  checkerFree: library.func('void checker_free(void *checker)') as (checker: Pointer) => void,
  checkerRun: library.func(
    'double checker_run(void *checker, uint64_t memory, uint32_t bufferBytes, uint32_t frames, uint32_t bytes)',
  ) as (checker: Pointer, memory: bigint, bufferBytes: number, frames: number, bytes: number) => number,
  virtioLabNew: library.func(
    'void *virtio_lab_new(uint64_t memory, uint64_t iova, uint32_t buffers, uint32_t bufferBytes, uint32_t dataOffset, uint32_t ringSize, int32_t packed)',
  ) as (
    memory: bigint,
    iova: bigint,
    buffers: number,
    bufferBytes: number,
    dataOffset: number,
    ringSize: number,
    packed: number,
  ) => Pointer,
  virtioLabQueue: library.func(
    'void virtio_lab_queue(void *lab, uint32_t port, uint32_t queue, uint64_t descriptors, uint64_t driver, uint64_t device, uint64_t doorbell)',
  ) as (
    lab: Pointer,
    port: number,
    queue: number,
    descriptors: bigint,
    driver: bigint,
    device: bigint,
    doorbell: bigint,
  ) => void,
  virtioLabStep: library.func('int32_t virtio_lab_step(void *lab, int32_t send, int32_t count)') as (
    lab: Pointer,
    send: number,
    count: number,
  ) => number,
  virtioLabCheckArmed: library.func('int32_t virtio_lab_check_armed(void *lab)') as (lab: Pointer) => number,
  virtioPeerNew: library.func('void *virtio_peer_new(void *lab, int32_t stack)') as (
    lab: Pointer,
    stack: number,
  ) => Pointer,
  virtioPeerFree: library.func('void virtio_peer_free(void *peer)') as (peer: Pointer) => void,
  virtioPeerRun: library.func('double virtio_peer_run(void *peer, int32_t polls, int32_t batch)') as (
    peer: Pointer,
    polls: number,
    batch: number,
  ) => number,
};
