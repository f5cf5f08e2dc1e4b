import { e1000e } from './e1000e.js';
import { conformance } from './suite.js';

conformance(e1000e);
