/** Loaded before the tests that have to notice a fault: properties try the same cases each time, so it is no matter of luck. */
import fc from 'fast-check';

fc.configureGlobal({ seed: 1 });
