/** Puts `barewire extcap` where Wireshark looks for such programs. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NicError } from '../src/errors.js';

/** In the first lines of our file: what has it may be replaced. */
const MARK = '# Barewire for Wireshark';
const CLI = fileURLToPath(new URL('./barewire.js', import.meta.url));

/**
 * Writes a small program that runs this one.
 * @param folder where; by default the personal folder that tshark names, else the one of newer Wiresharks
 * @returns the path of the file
 * @throws NicError `BAD_OPTION` where something else is there, `NO_PERMISSION` where it cannot be written
 */
export function installExtcap(folder = personalFolder()): string {
  const path = join(folder, 'barewire');
  try {
    refuseForeign(path);
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      path,
      `#!/bin/sh\n${MARK}: written by "barewire extcap --install"\nexec ${quote(process.execPath)} --no-warnings ${quote(CLI)} extcap "$@"\n`,
    );
    chmodSync(path, 0o755);
  } catch (error) {
    if (error instanceof NicError) throw error;
    throw new NicError('NO_PERMISSION', `Cannot write ${path}: ${(error as Error).message}`, {
      path,
      cause: error,
      hint: 'Give another folder: --install-folder.',
    });
  }
  return path;
}

function refuseForeign(path: string): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (text.slice(0, 200).includes(MARK)) return;
  throw new NicError('BAD_OPTION', `${path} exists and is not ours`, { path, hint: 'Move it away first.' });
}

/** `Personal Extcap path: /home/me/.local/lib/wireshark/extcap` */
function personalFolder(): string {
  const { stdout } = spawnSync('tshark', ['-G', 'folders'], { encoding: 'utf8', timeout: 10_000 });
  const [, named] = /^Personal Extcap path:\s*(\S.*)$/m.exec(stdout ?? '') ?? [];
  return named ?? join(homedir(), '.local/lib/wireshark/extcap');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
