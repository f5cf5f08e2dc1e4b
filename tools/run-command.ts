/**
 * Runs a command line: the glue to commander, and how a run ends. Exit status: 0 done; 1 failed at run time; 2 used
 * wrongly (nothing was touched).
 */
import { type Command, CommanderError } from 'commander';
import { NicError, type NicErrorCode } from '../src/errors.js';
import { EXIT_FAILED, printError, report } from './output.js';

export const EXIT_USAGE = 2;

/** Errors that are the caller's: the same command line can never work. */
const usageCodes: readonly NicErrorCode[] = ['BAD_ADDRESS', 'BAD_OPTION'];

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
    await program.parseAsync(helpForUnknown(program, args) ?? args, { from: 'user' });
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

/**
 * What stands for a `help` that commander has no answer to: `nosuch` for `help nosuch`, which is an unknown command and
 * not a question about the program; `help` for `help help`.
 */
function helpForUnknown(program: Command, [first, second, ...rest]: readonly string[]): string[] | undefined {
  if (first !== 'help' || second === undefined) return undefined;
  if (second === 'help') return [first];
  const known = program.commands.some((command) => command.name() === second);
  return known ? undefined : [second, ...rest];
}

function helpHint(program: Command, args: readonly string[]): string {
  const command = program.commands.find((candidate) => candidate.name() === args[0]);
  return command === undefined
    ? `"${program.name()} --help" lists the commands`
    : `"${program.name()} ${command.name()} --help" shows its arguments and options`;
}
