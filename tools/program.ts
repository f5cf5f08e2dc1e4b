/** The program behind `barewire`. Each subcommand is a file in `commands/`: one import and one line here. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import * as bind from './commands/bind.js';
import * as capture from './commands/capture.js';
import * as emulate from './commands/emulate.js';
import * as extcap from './commands/extcap.js';
import * as fwd from './commands/fwd.js';
import * as list from './commands/list.js';
import * as pktgen from './commands/pktgen.js';
import * as replay from './commands/replay.js';
import * as rfc2544 from './commands/rfc2544.js';
import * as sink from './commands/sink.js';
import * as stats from './commands/stats.js';
import * as unbind from './commands/unbind.js';
import { EXIT_FAILED, watchOutput } from './output.js';
import { prepareProgram, run } from './run-command.js';

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

  list.register(program);
  bind.register(program);
  unbind.register(program);
  fwd.register(program);
  pktgen.register(program);
  capture.register(program);
  replay.register(program);
  sink.register(program);
  rfc2544.register(program);
  stats.register(program);
  emulate.register(program);
  extcap.register(program);

  const output = watchOutput();
  const status = await run(program, args);
  return status === 0 && output.failed ? EXIT_FAILED : status;
}
