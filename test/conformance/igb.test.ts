import { igb } from './igb.js';
import { conformance } from './suite.js';

conformance(igb);
