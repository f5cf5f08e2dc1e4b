/**
 * Checks, before anything is opened or made, that the names in a description do not get in each other's way: two
 * recordings in one file, a recording over a file that is played, two sockets at one path. Names are compared by what
 * they lead to, not by their letters.
 */
import { statSync } from 'node:fs';
import { checkWritable } from '../../capture/output-file.js';
import { pathKey } from '../../capture/path-key.js';
import { NicError } from '../../errors.js';
import type { EmulatorDescription } from '../topology.js';

type Use = 'play' | 'record' | 'socket' | 'tap';

interface Claim {
  readonly use: Use;
  readonly name: string;
  /** For messages: `port 0`, `the capture of link 1`. */
  readonly by: string;
}

/** @throws NicError `BAD_OPTION` */
export function checkPaths(description: EmulatorDescription): void {
  const taken = new Map<string, Claim>();
  for (const claim of claimsOf(description)) {
    const key = claim.use === 'tap' ? `tap ${claim.name}` : pathKey(claim.name);
    const other = taken.get(key);
    if (other === undefined) taken.set(key, claim);
    else if (claim.use !== 'play' || other.use !== 'play') throw conflict(other, claim);
  }
  for (const { use, name } of taken.values())
    if (use === 'record') checkWritable(name, description.overwrite ?? false);
}

function claimsOf({ nics, links }: EmulatorDescription): Claim[] {
  const claims: Claim[] = nics.map(({ path }, i) => ({ use: 'socket', name: path, by: `port ${i}` }));
  for (const [i, { ends, capture }] of links.entries()) {
    const nic = ends.find((end) => 'nic' in end);
    const by = nic === undefined || !('nic' in nic) ? `link ${i}` : `port ${nic.nic}`;
    for (const end of ends) {
      if ('play' in end) claims.push({ use: 'play', name: end.play, by });
      else if ('record' in end) claims.push({ use: 'record', name: end.record, by });
      else if ('tap' in end) claims.push({ use: 'tap', name: end.tap, by });
      else if ('stream' in end && end.connect !== true) claims.push({ use: 'socket', name: end.stream, by });
    }
    if (capture !== undefined) claims.push({ use: 'record', name: capture, by: `the capture of link ${i}` });
  }
  return claims.filter((claim) => !canBeShared(claim));
}

/** Terminals and /dev/null take from many; the kernel makes a new interface of each name with a `%d`. */
function canBeShared({ use, name }: Claim): boolean {
  return (use === 'record' && isDevice(name)) || (use === 'tap' && name.includes('%d'));
}

function isDevice(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isCharacterDevice() === true;
  } catch {
    return false;
  }
}

function conflict(first: Claim, second: Claim): NicError {
  const path = second.name;
  const same = first.name === second.name ? path : `${first.name} and ${second.name}, which are the same,`;
  const hint = 'Give each its own; %d in a name becomes the number of the port or link.';
  if (first.use !== second.use && (first.use === 'play' || second.use === 'play')) {
    const [played, written] = first.use === 'play' ? [first, second] : [second, first];
    return new NicError('BAD_OPTION', `${same} is played by ${played.by} and written by ${written.by}`, {
      path,
      hint: 'Give the recording another name.',
    });
  }
  const what = { record: 'file', socket: 'socket', tap: 'TAP interface', play: 'file' }[second.use];
  return new NicError(
    'BAD_OPTION',
    `${first.by} and ${second.by} have one ${what}: ${same.replace(/,$/, '')}`,
    {
      path,
      hint,
    },
  );
}
