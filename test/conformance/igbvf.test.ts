import { igbvf } from './igbvf.js';
import { conformance } from './suite.js';

conformance(igbvf);
