/** The `barewire` command, started by bin/barewire.js. Each subcommand is a file in `commands/`: one import and one line here. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import * as bind from './commands/bind.js';
import * as emulate from './commands/emulate.js';
import * as fwd from './commands/fwd.js';
import * as list from './commands/list.js';
import * as pktgen from './commands/pktgen.js';
import * as unbind from './commands/unbind.js';
import { tolerateClosedOutput } from './output.js';
import { prepareProgram, run } from './run-command.js';

const manifest: { version: string } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

const program = prepareProgram(new Command('barewire'))
  .description('Userspace network drivers: forward, generate and capture packets without the kernel')
  .version(manifest.version);

list.register(program);
bind.register(program);
unbind.register(program);
fwd.register(program);
pktgen.register(program);
emulate.register(program);

tolerateClosedOutput();
const status = await run(program, process.argv.slice(2));
// After a failure something may still hold the event loop open. After success nothing should.
if (status !== 0) process.exit(status);
