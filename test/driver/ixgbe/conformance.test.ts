import { conformance } from '../conformance.js';
import { ixgbe } from '../conformance-ixgbe.js';

conformance(ixgbe);
