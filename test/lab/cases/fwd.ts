/** `barewire fwd` between two igb ports. */
import { runFwdSuites } from '../fwd-suites.js';

runFwdSuites('igb');
