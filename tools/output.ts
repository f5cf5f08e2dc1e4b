/**
 * What commands print: lines and tables on stdout, errors and warnings on stderr. An error is one line
 * `barewire: what went wrong` and, where there is something to do about it, one line `hint: what`. With DEBUG set (see
 * the `debug` package) the stack follows.
 */
import { NicError } from '../src/errors.js';

export const EXIT_FAILED = 1;

/** What a write fails with when the reader of a pipe has ended, or a terminal has gone. */
const NOBODY_READS: ReadonlySet<string | undefined> = new Set(['EPIPE', 'EIO']);

/** Prints an error in the form that all commands share. */
export function report(error: unknown, hint = error instanceof NicError ? error.hint : undefined): void {
  printError(error instanceof Error ? error.message : String(error), hint);
  if (process.env.DEBUG !== undefined && process.env.DEBUG !== '' && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
    if (error.cause !== undefined) process.stderr.write(`caused by ${describeCause(error.cause)}\n`);
  }
}

/** Prints `warning: ...` and a hint; the run goes on. */
export function warn(message: string, hint?: string): void {
  process.stderr.write(`warning: ${oneLine(message)}\n`);
  if (hint !== undefined) process.stderr.write(`hint: ${oneLine(hint)}\n`);
}

let lines: NodeJS.WriteStream = process.stdout;

/** Standard output has something else in it: lines go to standard error from now on. */
export function printToStderr(): void {
  lines = process.stderr;
}

/** Writes a line to stdout. */
export function print(line: string): void {
  lines.write(`${line}\n`);
}

/**
 * Ends the run where its output can no longer be written. A command that has a handler for SIGINT is stopped as by
 * Ctrl-C, so that it can stop its NICs; any other ends at once. That nobody reads any more (`barewire list | head -1`, a
 * terminal that was closed) is no failure; a full disk is, and is reported.
 * @returns whether output was lost; to be asked when the command has ended
 */
export function watchOutput(): { readonly failed: boolean } {
  const state = { failed: false };
  let told = false;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (told) return;
    told = true;
    state.failed = !NOBODY_READS.has(error.code);
    if (state.failed) {
      process.exitCode = EXIT_FAILED;
      printError(`standard output cannot be written: ${error.message}`, undefined);
    }
    if (process.listenerCount('SIGINT') > 0) process.emit('SIGINT');
    else process.exit();
  });
  // There is no other place to say it.
  process.stderr.on('error', () => {});
  return state;
}

/** Columns as wide as their widest cell, two blanks apart. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Prints an error and what to do about it, each on one line. */
export function printError(message: string, hint: string | undefined): void {
  process.stderr.write(`barewire: ${oneLine(message)}\n`);
  if (hint !== undefined) process.stderr.write(`hint: ${oneLine(hint)}\n`);
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}

function describeCause(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
