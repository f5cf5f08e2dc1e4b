/** The program behind `barewire`. Each subcommand is a file in `commands/` and one line here. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { EXIT_FAILED, watchOutput } from './output.js';
import { prepareProgram, run } from './run-command.js';

/** In the order of the help. Only the one that is run is loaded: all of them take longer than most do. */
const COMMANDS = {
  list: () => import('./commands/list.js'),
  bind: () => import('./commands/bind.js'),
  unbind: () => import('./commands/unbind.js'),
  fwd: () => import('./commands/fwd.js'),
  pktgen: () => import('./commands/pktgen.js'),
  capture: () => import('./commands/capture.js'),
  replay: () => import('./commands/replay.js'),
  sink: () => import('./commands/sink.js'),
  rfc2544: () => import('./commands/rfc2544.js'),
  stats: () => import('./commands/stats.js'),
  emulate: () => import('./commands/emulate.js'),
  extcap: () => import('./commands/extcap.js'),
};

type CommandName = keyof typeof COMMANDS;

const manifest: { version: string } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

/**
 * Runs a command line to its end, and returns the exit status.
 * @param args the arguments without node and script
 */
export async function main(args: readonly string[]): Promise<number> {
  const program = prepareProgram(new Command('barewire'))
    .description('Userspace network drivers: forward, generate and capture packets without the kernel')
    .version(manifest.version);

  for (const name of commandsFor(args)) (await COMMANDS[name]()).register(program);

  const output = watchOutput();
  const status = await run(program, args);
  return status === 0 && output.failed ? EXIT_FAILED : status;
}

/** Those that have to be known: all, where the answer is about all, or the first argument is no command's name. */
function commandsFor([first]: readonly string[]): CommandName[] {
  if (first === '--version' || first === '-V') return [];
  const names = Object.keys(COMMANDS) as CommandName[];
  const named = names.filter((name) => name === first);
  return named.length > 0 ? named : names;
}
