/** Runs a command in this process, as `barewire` does. */
import { Command } from 'commander';
import { positiveInteger } from '../../tools/option-values.js';
import { prepareProgram, run } from '../../tools/run-command.js';

/** Runs a program with one command, and returns its exit status and what it wrote to stderr. */
export async function runAction(
  action: () => void | Promise<void>,
  args: readonly string[] = ['go'],
): Promise<[number, string]> {
  const program = prepareProgram(new Command('barewire'));
  program.command('go').option('-n <count>', 'a number', positiveInteger).action(action);
  const write = process.stderr.write;
  let text = '';
  process.stderr.write = (chunk: string | Uint8Array): boolean => {
    text += chunk;
    return true;
  };
  try {
    return [await run(program, args), text];
  } finally {
    process.stderr.write = write;
  }
}
