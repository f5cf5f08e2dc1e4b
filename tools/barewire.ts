/**
 * Where `barewire` starts (bin/barewire.js imports this file). The program takes a while to load; a signal that comes
 * meanwhile ends a command that runs until a signal as it would later: with status 0, since nothing has begun yet.
 */
import { exitOnSignals } from './stop-signals.js';

const UNTIL_SIGNAL: readonly (string | undefined)[] = [
  'fwd',
  'pktgen',
  'capture',
  'replay',
  'sink',
  'rfc2544',
  'stats',
  'emulate',
  'extcap',
];

const args = process.argv.slice(2);
if (UNTIL_SIGNAL.includes(args[0])) exitOnSignals();
const { main } = await import('./program.js');
const status = await main(args);
// After a failure something may still hold the event loop open. After success nothing should.
if (status !== 0) process.exit(status);
