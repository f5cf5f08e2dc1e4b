import { conformance } from '../conformance.js';
import { e1000e } from '../conformance-e1000e.js';

conformance(e1000e);
