/**
 * The program that runs in the kernel for each frame that arrives: a frame of a queue that has a socket goes to the
 * socket, any other takes its usual way. It is attached by a link that ends with its descriptor, so with the process.
 * Specification: linux/bpf.h; Documentation/bpf/standardization/instruction-set.rst.
 */
import { NicError } from '../../errors.js';
import { bpf } from '../../syscalls/bpf.js';
import { closeFd } from '../../syscalls/descriptors.js';
import { addressOf } from '../../syscalls/memory.js';

/** Commands of bpf(2). */
const MAP_CREATE = 0;
const MAP_UPDATE = 2;
const PROG_LOAD = 5;
const LINK_CREATE = 28;

const MAP_TYPE_XSKMAP = 17;
const PROG_TYPE_XDP = 6;
const ATTACH_XDP = 37;
const XDP_PASS = 2;
const HELPER_REDIRECT_MAP = 51;
/** Offset of `rx_queue_index` in `struct xdp_md`. */
const RX_QUEUE_INDEX = 16;

/** Flags of attaching: by the kernel's general code, by the interface's driver. */
const ATTACH_GENERIC = 2;
const ATTACH_NATIVE = 4;

const INSTRUCTION_BYTES = 8;
const LOG_BYTES = 64 * 1024;
const { EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EPERM, EACCES, ERANGE } = {
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  EOPNOTSUPP: 95,
  EPERM: 1,
  EACCES: 13,
  ERANGE: 34,
};

/** Opcodes (class, source and size in one byte). */
const LOAD_WORD = 0x61;
const LOAD_IMMEDIATE_64 = 0x18;
const MOVE_IMMEDIATE = 0xb7;
const CALL = 0x85;
const EXIT = 0x95;
/** Source register of LOAD_IMMEDIATE_64: the immediate is the descriptor of a map. */
const PSEUDO_MAP_FD = 1;

/** One instruction: opcode, destination and source register, offset, immediate. */
export function instruction(
  code: number,
  to: number,
  from: number,
  offset: number,
  immediate: number,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(INSTRUCTION_BYTES));
  view.setUint8(0, code);
  view.setUint8(1, (from << 4) | to);
  view.setInt16(2, offset, true);
  view.setInt32(4, immediate, true);
  return new Uint8Array(view.buffer);
}

/** `return bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS)`. */
export function redirectProgram(mapFd: number): Uint8Array {
  return Uint8Array.from(
    [
      instruction(LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
      instruction(LOAD_IMMEDIATE_64, 1, PSEUDO_MAP_FD, 0, mapFd),
      // The high half of the 64 bits.
      instruction(0, 0, 0, 0, 0),
      instruction(MOVE_IMMEDIATE, 3, 0, 0, XDP_PASS),
      instruction(CALL, 0, 0, 0, HELPER_REDIRECT_MAP),
      instruction(EXIT, 0, 0, 0, 0),
    ].flatMap((one) => [...one]),
  );
}

/** The program on an interface, and the map that it looks sockets up in. */
export class XdpProgram {
  /** `native`: run by the interface's driver. `generic`: by the kernel's general code, which costs a further copy. */
  readonly mode: 'native' | 'generic';
  readonly #name: string;
  readonly #mapFd: number;
  readonly #linkFd: number;
  #closed = false;

  /**
   * Loads the program and attaches it.
   * @param name of the interface, for messages
   * @param queues one more than the highest queue that gets a socket
   * @throws NicError `NO_PERMISSION`, `ALREADY_OPEN` where the interface has a program, `UNSUPPORTED_DEVICE`, `SYSCALL`
   */
  constructor(name: string, interfaceIndex: number, queues: number) {
    this.#name = name;
    this.#mapFd = createMap(name, queues);
    try {
      const programFd = loadProgram(name, redirectProgram(this.#mapFd));
      try {
        const attached = attach(name, programFd, interfaceIndex);
        this.#linkFd = attached.fd;
        this.mode = attached.mode;
      } finally {
        // The link holds the program.
        closeFd(programFd);
      }
    } catch (error) {
      closeFd(this.#mapFd);
      throw error;
    }
  }

  /** Has frames of a queue go to a socket. @throws NicError `SYSCALL` */
  direct(queue: number, socketFd: number): void {
    const key = fixed(Uint32Array.of(queue));
    const value = fixed(Uint32Array.of(socketFd));
    const attributes = attributesOf(
      32,
      [[0, this.#mapFd]],
      [
        [8, key],
        [16, value],
      ],
    );
    const result = bpf(MAP_UPDATE, attributes);
    if (result < 0) throw failedOn(this.#name, 'bpf(BPF_MAP_UPDATE_ELEM)', result);
  }

  /** Takes the program off the interface. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.#linkFd);
    closeFd(this.#mapFd);
  }
}

function createMap(name: string, queues: number): number {
  const fields: Field[] = [
    [0, MAP_TYPE_XSKMAP],
    [4, 4],
    [8, 4],
    [12, queues],
  ];
  const fd = bpf(MAP_CREATE, attributesOf(48, fields, []));
  if (fd < 0) throw failedOn(name, 'bpf(BPF_MAP_CREATE)', fd);
  return fd;
}

function loadProgram(name: string, code: Uint8Array): number {
  const log = new Uint8Array(new ArrayBuffer(LOG_BYTES));
  const license = new Uint8Array(new ArrayBuffer(128));
  license.set(new TextEncoder().encode('MIT'));
  const instructions = fixed(code);
  const load = (logLevel: number): number =>
    bpf(
      PROG_LOAD,
      attributesOf(
        72,
        [
          [0, PROG_TYPE_XDP],
          [4, code.length / INSTRUCTION_BYTES],
          [24, logLevel],
          [28, logLevel * LOG_BYTES],
          [68, ATTACH_XDP],
        ],
        [[8, instructions], [16, license], ...(logLevel === 0 ? [] : ([[32, log]] as const))],
        new TextEncoder().encode('barewire'),
      ),
    );
  const fd = load(0);
  if (fd >= 0) return fd;
  if (-fd === EPERM) throw failedOn(name, 'bpf(BPF_PROG_LOAD)', fd);
  // Once more, for the verifier's own words.
  const again = load(1);
  if (again >= 0) return again;
  const words = new TextDecoder().decode(log).replace(/\0.*$/s, '').trim();
  throw new NicError('SYSCALL', `The kernel refused the program for ${name}`, {
    syscall: 'bpf(BPF_PROG_LOAD)',
    errno: again,
    path: name,
    hint: words === '' ? 'The verifier gave no reason.' : `The verifier says: ${words}`,
  });
}

function attach(name: string, programFd: number, index: number): { fd: number; mode: 'native' | 'generic' } {
  let result = 0;
  for (const [mode, flag] of [
    ['native', ATTACH_NATIVE],
    ['generic', ATTACH_GENERIC],
  ] as const) {
    result = bpf(
      LINK_CREATE,
      attributesOf(
        48,
        [
          [0, programFd],
          [4, index],
          [8, ATTACH_XDP],
          [12, flag],
        ],
        [],
      ),
    );
    if (result >= 0) return { fd: result, mode };
    if (-result !== EOPNOTSUPP && -result !== EINVAL) break;
  }
  const errno = -result;
  if (errno === EBUSY || errno === EEXIST) {
    throw new NicError(
      'ALREADY_OPEN',
      `${name} has an XDP program already: of another Barewire, or of another tool`,
      {
        syscall: 'bpf(BPF_LINK_CREATE)',
        errno,
        path: name,
        hint: `"bpftool net" and "ip -details link show dev ${name}" tell whose it is. An interface takes one program: end the other one first.`,
      },
    );
  }
  if (errno === ERANGE) {
    throw new NicError('UNSUPPORTED_DEVICE', `The driver of ${name} runs no XDP program at this MTU`, {
      syscall: 'bpf(BPF_LINK_CREATE)',
      errno,
      path: name,
      hint: `Lower it: ip link set dev ${name} mtu 1500 (of a veth pair, both ends).`,
    });
  }
  throw failedOn(name, 'bpf(BPF_LINK_CREATE)', result);
}

type Field = readonly [offset: number, value: number];

/** `union bpf_attr`: fields of 32 bits, pointers, and a program's name. */
function attributesOf(
  sizeBytes: number,
  fields: readonly Field[],
  pointers: readonly (readonly [offset: number, bytes: Uint8Array])[],
  programName?: Uint8Array,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(Math.max(sizeBytes, 128)));
  for (const [offset, value] of fields) view.setUint32(offset, value, true);
  for (const [offset, bytes] of pointers) view.setBigUint64(offset, addressOf(bytes), true);
  const bytes = new Uint8Array(view.buffer);
  if (programName !== undefined) bytes.set(programName, 48);
  return bytes;
}

/** A copy whose memory does not move. */
function fixed(array: Uint8Array | Uint32Array): Uint8Array {
  const copy = new Uint8Array(new ArrayBuffer(Math.max(array.byteLength, 128)));
  copy.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return copy;
}

/** The error of a call about an interface; a lack of rights is named as what it is. */
export function failedOn(name: string, syscall: string, result: number): NicError {
  if (-result === EPERM || -result === EACCES) {
    return new NicError('NO_PERMISSION', `${syscall} for ${name} is not permitted`, {
      syscall,
      errno: result,
      path: name,
      hint: 'Run as root, or give node CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN (docs/xdp.md says how).',
    });
  }
  return new NicError('SYSCALL', `${syscall} for ${name} failed`, { syscall, errno: result, path: name });
}
