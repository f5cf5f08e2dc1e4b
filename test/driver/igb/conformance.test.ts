import { conformance } from '../conformance.js';
import { igb } from '../conformance-igb.js';

conformance(igb);
