import { madeUp } from './made-up.js';
import { conformance } from './suite.js';

conformance(madeUp);
