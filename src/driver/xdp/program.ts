/**
 * Loads the program of `redirect-program.ts` and attaches it to an interface, by a link that ends with its descriptor, so with
 * the process, also after SIGKILL. Nothing is pinned.
 * Specification: linux/bpf.h; Documentation/bpf/.
 */
import type { Filter } from '../../capture/filter/index.js';
import { NicError } from '../../errors.js';
import { bpf } from '../../syscalls/bpf.js';
import { closeFd } from '../../syscalls/descriptors.js';
import { INSTRUCTION_BYTES } from './bpf-assembler.js';
import { bpfAttributes, type Field, still } from './bpf-attributes.js';
import { programOwner } from './program-owner.js';
import { redirectProgram } from './redirect-program.js';

/** Commands of bpf(2). */
const MAP_CREATE = 0;
const MAP_UPDATE = 2;
const PROG_LOAD = 5;
const LINK_CREATE = 28;

const MAP_TYPE_XSKMAP = 17;
const PROG_TYPE_XDP = 6;
const ATTACH_XDP = 37;

/** Flags of attaching: by the kernel's general code, by the interface's driver. */
const ATTACH_GENERIC = 2;
const ATTACH_NATIVE = 4;

/** The verifier's words about a program that it refuses: of a long one they are long. */
const LOG_BYTES = 1 << 20;
/** Offset of the program's name in the attributes of PROG_LOAD. */
const PROGRAM_NAME = 48;
const { EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EPERM, EACCES, ERANGE } = {
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  EOPNOTSUPP: 95,
  EPERM: 1,
  EACCES: 13,
  ERANGE: 34,
};

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
   * @param only frames that go to the sockets; without it all of these queues
   * @throws NicError `NO_PERMISSION`, `ALREADY_OPEN` where the interface has a program, `UNSUPPORTED_DEVICE`, `SYSCALL`
   */
  constructor(name: string, interfaceIndex: number, queues: number, only?: Filter) {
    this.#name = name;
    this.#mapFd = createMap(name, queues);
    try {
      const programFd = loadProgram(name, redirectProgram(this.#mapFd, only));
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
    const key = still(Uint32Array.of(queue));
    const value = still(Uint32Array.of(socketFd));
    const attributes = bpfAttributes(
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

/** A map of sockets by queue. Returns its descriptor. @throws NicError as `XdpProgram` */
export function createMap(name: string, queues: number): number {
  const fields: Field[] = [
    [0, MAP_TYPE_XSKMAP],
    [4, 4],
    [8, 4],
    [12, queues],
  ];
  const fd = bpf(MAP_CREATE, bpfAttributes(48, fields, []));
  if (fd < 0) throw failedOn(name, 'bpf(BPF_MAP_CREATE)', fd);
  return fd;
}

/** Has the verifier look at a program. Returns its descriptor. @throws NicError `SYSCALL` with the verifier's words in the hint */
export function loadProgram(name: string, code: Uint8Array): number {
  const log = new Uint8Array(new ArrayBuffer(LOG_BYTES));
  const license = new Uint8Array(new ArrayBuffer(128));
  license.set(new TextEncoder().encode('MIT'));
  const instructions = still(code);
  const load = (logLevel: number): number => {
    const attributes = bpfAttributes(
      72,
      [
        [0, PROG_TYPE_XDP],
        [4, code.length / INSTRUCTION_BYTES],
        [24, logLevel],
        [28, logLevel * LOG_BYTES],
        [68, ATTACH_XDP],
      ],
      [[8, instructions], [16, license], ...(logLevel === 0 ? [] : ([[32, log]] as const))],
    );
    attributes.set(new TextEncoder().encode('barewire'), PROGRAM_NAME);
    return bpf(PROG_LOAD, attributes);
  };
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
      bpfAttributes(
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
      `${name} has an XDP program already: ${programOwner(index) ?? 'whose, this process may not ask'}`,
      {
        syscall: 'bpf(BPF_LINK_CREATE)',
        errno,
        path: name,
        hint: `"bpftool net" and "ip -details link show dev ${name}" tell more. An interface takes one program: end that one first.`,
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
