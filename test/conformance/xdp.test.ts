import { conformance } from './suite.js';
import { xdp } from './xdp.js';

conformance(xdp);
