/**
 * What the subcommands share: how a run ends, how errors look, and how option values are read.
 *
 * Exit status: 0 done; 1 failed at run time; 2 used wrongly (nothing was touched). An error is one line
 * `barewire: what went wrong` and, where there is something to do about it, one line `hint: what`, on stderr.
 * With DEBUG set (see the `debug` package) the stack follows.
 */
import { type Command, CommanderError, InvalidArgumentError } from 'commander';
import { NicError, type NicErrorCode } from '../src/errors.js';
import { type DeviceAddress, formatDeviceAddress, parseDeviceAddress } from '../src/pci/address.js';

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;

/** Errors that are the caller's: the same command line can never work. */
const usageCodes: readonly NicErrorCode[] = ['BAD_ADDRESS', 'BAD_OPTION'];

/** Longest time that a timer can be set to; a longer one would fire at once (Node.js, timers). */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Ends a command whose failures have been reported one by one. */
export class AlreadyReported extends Error {
  constructor() {
    super('failures were reported already');
  }
}

/** Makes commander throw instead of exiting and printing. To be called before subcommands are registered. */
export function prepareProgram(program: Command): Command {
  return program.exitOverride().configureOutput({ outputError: () => {} });
}

/**
 * Runs the command line and waits for the command to end. Returns the exit status, having printed what went wrong.
 * @param args the arguments without node and script
 */
export async function run(program: Command, args: readonly string[]): Promise<number> {
  try {
    if (args.length === 0) throw new NicError('BAD_OPTION', 'no command given');
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof AlreadyReported) return EXIT_FAILED;
    if (error instanceof CommanderError) return commanderExit(error, program, args);
    if (error instanceof NicError && usageCodes.includes(error.code)) {
      report(error, error.hint ?? helpHint(program, args));
      return EXIT_USAGE;
    }
    report(error);
    return EXIT_FAILED;
  }
}

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

/** Writes a line to stdout. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/**
 * Lets the run survive that nobody reads its output any more (`barewire list | head -1`): a command that has a
 * handler for SIGINT is stopped as by Ctrl-C, so that it can stop its NICs; any other ends at once.
 */
export function tolerateClosedOutput(): void {
  let told = false;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    if (told) return;
    told = true;
    if (process.listenerCount('SIGINT') > 0) process.emit('SIGINT');
    else process.exit(0);
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

/** Option value: a whole number from 1. */
export function positiveInteger(text: string): number {
  return integerBetween(1, Number.MAX_SAFE_INTEGER)(text);
}

/** Option value: a whole number in a range, both ends included. */
export function integerBetween(min: number, max: number): (text: string) => number {
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `from ${min} to ${max}`;
  return (text) => {
    const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`It must be a whole number ${range}.`);
    return value;
  };
}

/** Option value: a power of two in a range, both ends included. */
export function powerOfTwoBetween(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max && Number.isInteger(Math.log2(value))))
      throw new InvalidArgumentError(`It must be a power of two from ${min} to ${max}.`);
    return value;
  };
}

/** Option value: a rate per second above 0, with an optional suffix k, M or G (powers of 1000): `14.88M`. */
export function rate(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([kKMG]?)$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * (scales[match[2]!] ?? 1);
  if (!(value > 0 && value <= Number.MAX_SAFE_INTEGER)) {
    throw new InvalidArgumentError('It must be a number above 0, such as 1000, 250k or 14.88M.');
  }
  // 1.1 * 1e6 is 1100000.0000000002.
  return Number(value.toPrecision(12));
}

const scales: Readonly<Record<string, number>> = { k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/** Option value: a time above 0 in seconds, or with the unit ms, s or m: `10`, `0.5`, `250ms`. In milliseconds. */
export function durationMs(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m)?$/.exec(text);
  const unitMs = match?.[2] === 'ms' ? 1 : match?.[2] === 'm' ? 60_000 : 1000;
  const value =
    match === null
      ? Number.NaN
      : Math.max(Number(match[1]) > 0 ? 1 : 0, Math.round(Number(match[1]) * unitMs));
  if (!(value > 0 && value <= MAX_TIMER_MS)) {
    throw new InvalidArgumentError(
      'It must be a time above 0 and up to 24 days, such as 10 (seconds), 250ms or 5m.',
    );
  }
  return value;
}

/** Argument: any address of a device, in its normal spelling. @throws NicError `BAD_ADDRESS` */
export function deviceAddress(text: string): string {
  return formatDeviceAddress(parseDeviceAddress(text));
}

/** Arguments `<address...>` of a command that is about PCI devices only. @throws NicError `BAD_ADDRESS` */
export function pciAddresses(texts: readonly string[]): string[] {
  const addresses = texts.map((text) => {
    const address: DeviceAddress = parseDeviceAddress(text);
    if (address.kind === 'pci') return address.bdf;
    throw new NicError('BAD_ADDRESS', `${text} is not a PCI device`, {
      hint: 'a vfio-user socket needs no binding: give it to fwd or pktgen as it is',
    });
  });
  return [...new Set(addresses)];
}

/**
 * Does the same to each device, whatever becomes of the others, and reports each failure as it happens.
 * @throws AlreadyReported where any failed
 */
export function forEachAddress(addresses: readonly string[], action: (address: string) => void): void {
  let failed = false;
  for (const address of addresses) {
    try {
      action(address);
    } catch (error) {
      report(error);
      failed = true;
    }
  }
  if (failed) throw new AlreadyReported();
}

/** Root of sysfs: BAREWIRE_SYSFS where the host's is mounted elsewhere (in a container, in tests). */
export function sysfsRoot(): string {
  return process.env.BAREWIRE_SYSFS || '/sys';
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

function commanderExit(error: CommanderError, program: Command, args: readonly string[]): number {
  // Help and version come as errors too.
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help') return EXIT_USAGE;
  // Commander puts its suggestion on a second line: "(Did you mean --json?)".
  const [message, ...suggestions] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = suggestions
    .join(' ')
    .trim()
    .replace(/^\(|\)$/g, '');
  printError(message!, suggestion === '' ? helpHint(program, args) : suggestion);
  return EXIT_USAGE;
}

function helpHint(program: Command, args: readonly string[]): string {
  const command = program.commands.find((candidate) => candidate.name() === args[0]);
  return command === undefined
    ? `"${program.name()} --help" lists the commands`
    : `"${program.name()} ${command.name()} --help" shows its arguments and options`;
}

function printError(message: string, hint: string | undefined): void {
  process.stderr.write(`barewire: ${oneLine(message)}\n`);
  if (hint !== undefined) process.stderr.write(`hint: ${oneLine(hint)}\n`);
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}

function describeCause(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
