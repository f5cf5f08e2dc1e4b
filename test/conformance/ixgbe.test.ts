import { ixgbe } from './ixgbe.js';
import { conformance } from './suite.js';

conformance(ixgbe);
