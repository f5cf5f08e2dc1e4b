/**
 * Loaded before `barewire fwd` and, since the environment is inherited, before the emulator that it starts: counts the
 * polls of both. The file named by BAREWIRE_BENCH_POLLS and the process ID has the counts when the process has ended.
 */
import module from 'node:module';
import { EmulatorHost } from '../../src/emulator/host.js';
import { emulator } from './counters.js';
import { SYNCHRONOUS } from './redirect.js';

// Node 22.15 and later; `register` is for the others.
const { registerHooks } = module as { registerHooks?: (hooks: typeof SYNCHRONOUS) => void };
if (registerHooks === undefined) module.register('./redirect.js', import.meta.url);
else registerHooks(SYNCHRONOUS);

EmulatorHost.prototype.pollOnce = emulator.wrap(EmulatorHost.prototype.pollOnce);
