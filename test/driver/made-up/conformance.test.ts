import { conformance } from '../conformance.js';
import { madeUp } from '../conformance-made-up.js';

conformance(madeUp);
