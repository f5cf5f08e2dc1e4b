/**
 * Whose program an interface has: the program's name and the process that holds its link. Asks as much as this process may:
 * without CAP_SYS_ADMIN links cannot be listed, and of other users' processes nothing is known.
 * Specification: linux/bpf.h (`struct bpf_link_info`, `struct bpf_prog_info`); proc(5) for fdinfo.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bpf } from '../../syscalls/bpf.js';
import { closeFd } from '../../syscalls/descriptors.js';
import { bpfAttributes } from './bpf-attributes.js';

/** Commands of bpf(2). */
const PROG_GET_FD_BY_ID = 13;
const OBJ_GET_INFO = 15;
const LINK_GET_FD_BY_ID = 30;
const LINK_GET_NEXT_ID = 31;

const LINK_TYPE_XDP = 6;
const INFO_BYTES = 256;
const NAME_OFFSET = 64;
const NAME_BYTES = 16;
/** Links and processes that are looked at: an error must not take long. */
const MOST = 4096;

/** `program "barewire" (id 7) of process 4711 (node barewire.js fwd)`; undefined where nothing is known. */
export function programOwner(interfaceIndex: number, procRoot = '/proc'): string | undefined {
  const link = findLink(interfaceIndex);
  if (link === undefined) return undefined;
  const name = programName(link.programId);
  const holder = linkHolder(link.linkId, procRoot);
  return `program ${name === undefined ? '' : `"${name}" `}(id ${link.programId})${holder === undefined ? '' : ` of ${holder}`}`;
}

function findLink(interfaceIndex: number): { linkId: number; programId: number } | undefined {
  let linkId = 0;
  for (let looked = 0; looked < MOST; looked++) {
    const next = bpfAttributes(12, [[0, linkId]]);
    if (bpf(LINK_GET_NEXT_ID, next) < 0) return undefined;
    linkId = new DataView(next.buffer).getUint32(4, true);
    const info = infoOf(LINK_GET_FD_BY_ID, linkId);
    if (info?.getUint32(0, true) === LINK_TYPE_XDP && info.getUint32(16, true) === interfaceIndex)
      return { linkId, programId: info.getUint32(8, true) };
  }
  return undefined;
}

function programName(id: number): string | undefined {
  const info = infoOf(PROG_GET_FD_BY_ID, id);
  if (info === undefined) return undefined;
  const bytes = new Uint8Array(info.buffer, NAME_OFFSET, NAME_BYTES);
  return new TextDecoder().decode(bytes).replace(/\0.*$/s, '') || undefined;
}

/** What the kernel says of a program or link by its number. */
function infoOf(command: number, id: number): DataView | undefined {
  const fd = bpf(command, bpfAttributes(12, [[0, id]]));
  if (fd < 0) return undefined;
  try {
    const info = new DataView(new ArrayBuffer(INFO_BYTES));
    const fields = [
      [0, fd],
      [4, INFO_BYTES],
    ] as const;
    const result = bpf(OBJ_GET_INFO, bpfAttributes(16, fields, [[8, new Uint8Array(info.buffer)]]));
    return result < 0 ? undefined : info;
  } finally {
    closeFd(fd);
  }
}

/** `process 4711 (node barewire.js fwd)`: the one with a descriptor of the link. */
function linkHolder(linkId: number, procRoot: string): string | undefined {
  const holds = new RegExp(`^link_id:\\s*${linkId}$`, 'm');
  for (const pid of entries(procRoot)
    .filter((name) => /^[0-9]+$/.test(name))
    .slice(0, MOST)) {
    const folder = join(procRoot, pid, 'fdinfo');
    if (!entries(folder).some((fd) => holds.test(text(join(folder, fd))))) continue;
    const command = text(join(procRoot, pid, 'cmdline'))
      .split('\0')
      .filter(Boolean)
      .join(' ');
    return `process ${pid}${command === '' ? '' : ` (${command.slice(0, 200)})`}`;
  }
  return undefined;
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // The process has ended, or is somebody else's.
    return [];
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
